"""A gateway is drained under clients that talk all the time: for how long is a client silent, and is a session lost?

Two gateways with one key, one service address and PostgreSQL. All clients talk through one gateway. It is drained by
`wgjit drain`; --shift seconds later, which stand for what a health check and routing take, the service address leads
to the other gateway. The draining gateway keeps its sessions, and the other one calls each client whose data arrives.
The same is done without `takeover.addresses`, where clients knock by themselves.

Goals, for the clients that are called: no client is silent for more than 1 s, the drain ends by itself with no client
left, and no session is lost. Ends with status 1 otherwise.

`./dev bench drain` runs in a guest with kernel WireGuard. With `--backend go` it runs on this kernel, with
wireguard-go.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
import time
from typing import NamedTuple

import bench.plot
from bench.failover import LONGEST, PATIENCE, SHARED, connected, parser_for, percentile, prepared
from bench.report import Report, section_for
from lab.fleet.engine import Engine
from lab.fleet.site import Fleet
from lab.netns import Lab
from lab.registry_service import wait_until
from lab.wireguard import Backend

MOST = 1.0
"""Seconds of silence."""


class Drained(NamedTuple):
    """What clients and operator see of a drain. Times in seconds."""

    silent: list[float]
    """The longest pause between two replies, of each client, in order."""
    took: float
    """From `wgjit drain` to its end."""
    status: int
    """Of `wgjit drain`: 0 if no client was left."""
    lost: int
    """Clients that had no reply at the end."""
    knocks: int
    """Clients that have knocked by themselves."""


def drained(fleet: Fleet, count: int, every: float, shift: float, *, takes_over: bool) -> Drained:
    """Drain a gateway, lead the service address to the other one, and see how clients fare."""
    a, b = fleet.members
    fleet.up(takeover=SHARED if takes_over else {}, gateway={"source_rate": 1e5})
    with prepared(fleet, count, every) as talkers:
        connected(fleet, talkers, a, b, takes_over=takes_over)
        talkers.lag = 0.0
        knocked = talkers.knocks()
        began = time.monotonic()
        with a.draining("--over", f"{PATIENCE:.0f}s") as command:
            time.sleep(max(0.0, began + shift - time.monotonic()))
            fleet.serve_by(b)
            moved = time.monotonic()
            with contextlib.suppress(AssertionError):  # the silence goes on, and shows so
                wait_until(lambda: talkers.all_talk(moved), LONGEST)
            status = command.wait(PATIENCE)
        took = time.monotonic() - began
        since = time.monotonic()
        with contextlib.suppress(AssertionError):  # those that do not talk are counted
            wait_until(lambda: talkers.all_talk(since), LONGEST)
        end = time.monotonic()
        silent = sorted(talker.silence(began, end) for talker in talkers.talkers)
        lost = sum(not talker.replies or talker.replies[-1] <= since for talker in talkers.talkers)
        print(f"{count} clients: {b.status().get('takeovers', {})}{talkers.lateness()}", file=sys.stderr)
        return Drained(silent, took, status, lost, talkers.knocked_since(knocked))


def main() -> int:
    options = parser_for("drain", __doc__, [200, 1000], 2000.0).parse_args()
    backend: Backend = options.backend
    report = Report("drain", options.write, section=section_for("drain", backend))
    report.head()
    began = time.monotonic()
    missed: list[str] = []
    rows: list[tuple[str, ...]] = []
    series: dict[str, list[tuple[float, float]]] = {}
    with Lab() as lab, Engine(lab) as engine:
        for count in options.clients:
            every = max(options.every, count / options.most)
            for takes_over, what in ((True, "called"), (False, "own knock")):
                with Lab() as own, Fleet(own, engine, backend) as fleet:
                    found = drained(fleet, count, every, options.shift, takes_over=takes_over)
                times = statistics.median(found.silent), percentile(found.silent, 0.99), found.silent[-1]
                ended = f"{found.took:.1f} s" if not found.status else f"status {found.status}"
                rows.append(
                    (
                        *(str(count), what, f"{every * 1000:.0f} ms"),
                        *(f"{each:.2f}" for each in times),
                        *(ended, str(found.lost), str(found.knocks)),
                    )
                )
                series[f"{count}, {what}"] = [
                    (at, 100 * number / count) for at, number in bench.plot.cumulative(found.silent)
                ]
                if found.lost:
                    missed.append(f"{count} clients, {what}: {found.lost} sessions lost")
                if takes_over and found.status:
                    missed.append(f"{count} clients: wgjit drain ended with status {found.status}")
                if takes_over and times[-1] > MOST:
                    missed.append(f"{count} clients: one was silent for {times[-1]:.2f} s, goal {MOST:g}")
        report.table(
            (
                *("clients", "how they come", "each sends every", "silent for s, p50", "p99", "max"),
                *("the drain took", "sessions lost", "knocked"),
            ),
            rows,
        )
        title = "Longest silence of each client of a gateway that is drained"
        plot = bench.plot.lines(title, series, "seconds", "clients, %", log_x=True)
        report.plot("drain" if backend == "kernel" else "drain-go", plot, title)
    print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)
    return report.conclude(missed)


if __name__ == "__main__":
    sys.exit(main())

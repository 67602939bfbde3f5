"""A fleet without its engine: sessions that go on, clients that connect, and how long the gateways take to say it all.

Two gateways with one key, PostgreSQL, and clients. The engine is stopped for --seconds. Meanwhile sessions are pinged,
and registered clients that have never connected come evenly, by turns at one gateway and the other. When the engine is
back, the time is measured until the registry of record has a holding for each of them.

Goals: no session is lost; no registered client is refused or has to try again; all holdings are in the registry of
record within 5 s of the engine's return. Ends with status 1 otherwise.

`./dev bench outage` runs in a guest with kernel WireGuard. With `--backend go` it runs on this kernel, with
wireguard-go.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections import Counter

from bench.report import Report, add_option, check_above_zero, section_for
from bench.roamer import Roamer
from lab.fleet.engine import Engine
from lab.fleet.site import Fleet
from lab.netns import Lab
from lab.wireguard import Backend

WITHIN = 5.0
"""Seconds from the engine's return to the last holding."""
EVERY = 5.0
"""Seconds between two pings of a session."""
PATIENCE = 60.0


def outage(report: Report, fleet: Fleet, seconds: float, coming: int, sessions: int) -> list[str]:
    """Stop the engine for so long; gives what was missed."""
    machine = fleet.machine()
    roamers = [Roamer(fleet, machine) for _ in range(coming)]
    fleet.registry.add(roamer.peer for roamer in roamers)
    fleet.spread(roamers[-1].peer)
    clients = [fleet.client(fleet.members[number % 2], machine=machine) for number in range(sessions)]
    for number, client in enumerate(clients):
        if client.first_ping(fleet.members[number % 2].inside, PATIENCE) is None:
            return [f"session {number} did not come up"]

    primary = fleet.engine.primary
    primary.stop()
    began = time.monotonic()
    waits: list[float | None] = []
    pings: Counter[bool] = Counter()
    looked = began
    for number, roamer in enumerate(roamers):
        due = began + seconds * (number + 1) / (coming + 1)
        while (left := due - time.monotonic()) > 0:
            if time.monotonic() - looked >= EVERY:
                looked = time.monotonic()
                for place, client in enumerate(clients):
                    pings[client.ping(fleet.members[place % 2].inside, 4.8) is not None] += 1
            else:
                time.sleep(min(left, 0.1))
        waits.append(roamer.connect(fleet.members[number % 2]))
    time.sleep(max(0.0, began + seconds - time.monotonic()))
    primary.start()
    back = time.monotonic()
    fleet.reopen()
    missing = {roamer: fleet.members[number % 2].name for number, roamer in enumerate(roamers)}
    while missing and time.monotonic() < back + PATIENCE:
        missing = {r: name for r, name in missing.items() if (h := fleet.holding(r)) is None or h.gateway != name}
    said = time.monotonic() - back
    lost = sum(client.ping(fleet.members[place % 2].inside, 4.8) is None for place, client in enumerate(clients))
    residents = sum(len(member.residents()) for member in fleet.members)

    refused = waits.count(None)
    there = sorted(wait for wait in waits if wait is not None)
    rows = [
        ("sessions up before", str(sessions)),
        ("of their pings, lost", f"{pings[False]} of {pings.total()}"),
        ("of them lost at the end", str(lost)),
        ("registered clients that came", str(coming)),
        ("of them refused, or answered only after 4.8 s", str(refused)),
        ("first ping, p50", f"{statistics.median(there or [float('nan')]) * 1000:.1f} ms"),
        ("residents at the end", str(residents)),
        ("all holdings in the registry of record after", f"{said:.1f} s"),
    ]
    report.table((f"the engine stopped for {seconds:.0f} s", "result"), rows)
    missed = []
    if lost or pings[False]:
        missed.append(f"{pings[False]} pings and {lost} sessions were lost")
    if refused:
        missed.append(f"{refused} registered clients were refused")
    if missing:
        missed.append(f"{len(missing)} holdings were not in the registry of record after {PATIENCE:g} s")
    elif said > WITHIN:
        missed.append(f"the holdings came {said:.1f} s after the engine, goal {WITHIN:g} s")
    return missed


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev bench outage", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--backend", choices=("kernel", "go"), default="kernel", help="go: on this kernel")
    parser.add_argument("--seconds", type=float, default=600.0, help="for which the engine is stopped (600)")
    parser.add_argument("--coming", type=int, default=300, help="clients that come meanwhile (300)")
    parser.add_argument("--sessions", type=int, default=10, help="sessions that are up before (10)")
    add_option(parser)
    options = parser.parse_args()
    check_above_zero(parser, options, "seconds", "coming", "sessions")
    backend: Backend = options.backend
    report = Report("outage", options.write, section=section_for("outage", backend))
    report.head()
    with Lab() as lab, Engine(lab) as engine, Fleet(lab, engine, backend) as fleet:
        fleet.up()
        missed = outage(report, fleet, options.seconds, options.coming, options.sessions)
    return report.conclude(missed)


if __name__ == "__main__":
    sys.exit(main())

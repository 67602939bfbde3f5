"""What people wait for in a fleet: a new gateway, a peer that was just added, and a revocation.

Two gateways with one key, PostgreSQL with --peers peers, and real clients. Three parts, in this order:

start    The first gateway starts without a replica. Clients connect that its copy has not reached: their keys are the
         last ones in the order of keys.
added    A peer is registered, and its client connects at once.
revoked  Peers that are up at both gateways are deleted by psql. Measured until they are off both interfaces.

Goals: the gateway is ready within 1 s (in a guest, within twice the time that it takes with 1,000 peers); no client has
to try again; a revocation has reached both interfaces within 1 s (p99). Ends with status 1 otherwise.

`./dev bench ready` runs in a guest with kernel WireGuard. With `--backend go` it runs on this kernel, with
wireguard-go.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time

from bench.report import Report, add_option, check_above_zero, section_for
from bench.roamer import Roamer
from lab.demo import Demo
from lab.fleet.engine import Engine
from lab.fleet.site import Fleet
from lab.netns import Lab
from lab.wireguard import Backend
from wgjit.model import PrivateKey

READY, WITHIN = 1.0, 1.0
"""Seconds."""
RETRY = 4.8
"""Seconds after which a client has tried a second time."""
PATIENCE = 60.0
LAST = 0xF8
"""The first byte of a key that comes late in the order of keys."""


def late_key() -> PrivateKey:
    """A key that a copy has among its last ones."""
    while (key := PrivateKey.generate()).public()[0] < LAST:
        pass
    return key


def start(fleet: Fleet, count: int) -> tuple[float, list[float | None], int, float]:
    """Start the first gateway. Gives seconds until it was ready, first pings, how many of these clients had to be asked
    for, and seconds until the copy was whole."""
    a, _ = fleet.members
    machine = fleet.machine()
    clients = [fleet.client(a, machine=machine, private_key=late_key()) for _ in range(count)]
    began = time.monotonic()
    a.up()
    ready = time.monotonic() - began
    asked, pings = 0, []
    with a.running.feed() as feed:
        for client in clients:
            pings.append(client.first_ping(a.inside, PATIENCE))
            asked += "ask" in feed.next(public_key=str(client.public_key))["stages"]
    while not a.is_complete():
        if time.monotonic() > began + 20 * PATIENCE:
            raise TimeoutError("the copy was never whole")
        time.sleep(0.05)
    return ready, pings, asked, time.monotonic() - began


def added(fleet: Fleet, rounds: int) -> list[float | None]:
    """First pings of clients that were just registered."""
    machine, pings = fleet.machine(), []
    for number in range(rounds):
        roamer = Roamer(fleet, machine)
        fleet.registry.add([roamer.peer])
        pings.append(roamer.connect(fleet.members[number % 2], PATIENCE))
    return pings


def revoked(fleet: Fleet, rounds: int) -> list[float | None]:
    """Seconds until a peer is off its interface; in each round one of each gateway is deleted."""
    machine, found = fleet.machine(), []
    pairs = [[Roamer(fleet, machine) for _ in fleet.members] for _ in range(rounds)]
    fleet.registry.add(roamer.peer for pair in pairs for roamer in pair)
    fleet.spread(pairs[-1][-1].peer)
    with fleet.engine.serving.shell(fleet.engine.serving.url(fleet.database)) as shell:
        for pair in pairs:
            for roamer, member in zip(pair, fleet.members, strict=True):
                roamer.connect(member, PATIENCE)
            time.sleep(0.5)
            shell.execute("DELETE FROM wgjit.peers WHERE public_key = ANY(%s)", ([bytes(r.public_key) for r in pair],))
            began = time.monotonic()
            for roamer, member in zip(pair, fleet.members, strict=True):
                gone = member.let_go(roamer.public_key, PATIENCE)
                found.append(None if gone is None else gone - began)
    return found


def row(what: str, times: list[float | None]) -> tuple[str, ...]:
    """A row of the table."""
    there = [seconds for seconds in times if seconds is not None] or [math.nan]
    spread = (statistics.median(there), percentile(times), max(there))
    return (what, str(len(times)), str(times.count(None)), *(f"{seconds * 1000:.1f}" for seconds in spread))


def percentile(times: list[float | None], share: float = 0.99) -> float:
    """Of the times that there are."""
    there = sorted(seconds for seconds in times if seconds is not None)
    return there[math.ceil(len(there) * share) - 1] if there else math.nan


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev bench ready", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--backend", choices=("kernel", "go"), default="kernel", help="go: on this kernel")
    parser.add_argument("--peers", type=int, default=1_000_000, help="registered (1,000,000)")
    parser.add_argument("--rounds", type=int, default=50, help="of additions, and of revocations (50)")
    add_option(parser)
    options = parser.parse_args()
    check_above_zero(parser, options, "peers", "rounds")
    backend: Backend = options.backend
    report = Report("ready", options.write, section=section_for("ready", backend))
    report.head()
    with Lab() as lab, Engine(lab) as engine:
        with Lab() as own, Fleet(own, engine, backend) as small:
            small.registry.fill(Demo.crowd(1000))
            base, *_ = start(small, 1)
        with Lab() as own, Fleet(own, engine, backend) as fleet:
            fleet.registry.fill(Demo.crowd(options.peers))
            ready, pings, asked, whole = start(fleet, 3)
            fleet.up()
            while not fleet.members[1].is_complete():
                time.sleep(0.1)
            fresh, gone = added(fleet, options.rounds), revoked(fleet, options.rounds)
    report.table(
        ("a gateway that starts without a replica", "1,000 peers", f"{options.peers:,} peers"),
        [
            ("ready after", f"{base:.2f} s", f"{ready:.2f} s"),
            ("clients that connected before the copy had reached them", "", f"{asked} of {len(pings)}"),
            ("the copy was whole after", "", f"{whole:.1f} s"),
        ],
    )
    head = ("what", "times", "never", "p50 ms", "p99 ms", "max ms")
    rows = [row("first ping during the copy", pings), row("first ping of a peer that was just added", fresh)]
    report.table(head, [*rows, row("revocation until off the interface", gone)])
    missed = []
    if ready > (READY if backend == "go" else 2 * base):
        missed.append(f"start: ready after {ready:.2f} s")
    late = [seconds for seconds in (*pings, *fresh) if seconds is None or seconds > RETRY]
    if late:
        missed.append(f"{len(late)} clients had to try again")
    if None in gone or not percentile(gone) <= WITHIN:
        missed.append(f"revocation: p99 {percentile(gone):.2f} s, goal {WITHIN:g} s")
    return report.conclude(missed)


if __name__ == "__main__":
    sys.exit(main())

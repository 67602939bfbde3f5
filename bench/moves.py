"""A client of a fleet moves from one gateway to the other: what it waits for, and when the first gateway lets it go.

Two gateways with one key, PostgreSQL, and real clients. Four parts, each in a fleet of its own:

moves  In each round a fresh client sends one packet by one gateway, `first`, and a moment later one by the other,
       `moved`. Both are a first ping. The time from sending the second until the first gateway has removed the peer is
       `let go`. Rounds take the two gateways by turns.
far    The same with 150 ms of round trip to the engine. Needs netem.
stay   Half of the clients move as after a DNS change, and the others by a route, of which nobody tells them. The first
       gateway sends to all of them from inside, all the time; but to half of those whose route has moved only once they
       are there. A client is pulled back if the first gateway has its peer again, or if it follows an answer of the
       first gateway.
old    Somebody sends recorded initiations to the second gateway, of clients that the first one serves. All are older
       than what the fleet knows, but for one of each client, which is newer.

Goals: `moved` is at most 1.1 times `first` (p50); the first gateway lets go within 1 s (p99), and within 2 s with an
engine that is far away; no client is pulled back; no recorded initiation takes a peer over. Ends with status 1
otherwise.

Run it in a guest that has kernel WireGuard and netem: `./dev bench moves`. With `--backend go` it runs on this kernel,
with wireguard-go on all sides.
"""

from __future__ import annotations

import argparse
import ipaddress
import math
import statistics
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from bench.report import Report, add_option, section_for
from lab.fleet.engine import Engine
from lab.fleet.member import INSIDE, Member
from lab.fleet.site import Fleet, Traveller
from lab.fleet.traffic import Traffic
from lab.netns import Lab
from lab.registry_service import wait_until
from lab.wireguard import Backend, Client
from wgjit.model import Peer, PrivateKey, Tai64n
from wgjit.wire.noise import Initiator

RATIO = 1.1
LET_GO = {0.0: 1.0, 0.15: 2.0}
"""Seconds (p99) by seconds of round trip to the engine."""
PATIENCE = 30.0
"""Seconds for what should take one."""
CLIENT_PORT = 20000
"""Of the first round."""
PART_OF_RUN = ("moves", "far", "stay", "old")


@dataclass
class Moves:
    """What the rounds took, in seconds. None: no reply, or never."""

    first: list[float | None] = field(default_factory=list)
    moved: list[float | None] = field(default_factory=list)
    let_go: list[float | None] = field(default_factory=list)


def moves(fleet: Fleet, rounds: int, pause: float) -> Moves:
    """Run the rounds. `pause`: seconds between a client's two packets."""
    hosts = [f"10.8.{1 + number // 250}.{1 + number % 250}" for number in range(rounds)]
    keys = [PrivateKey.generate() for _ in range(rounds)]
    peers = [Peer(key.public(), (ipaddress.ip_network(host),)) for key, host in zip(keys, hosts, strict=True)]
    fleet.registry.add(peers)
    fleet.spread(peers[-1])
    machine = fleet.machine()
    client = Client(
        machine,
        fleet.key.public(),
        fleet.members[0].endpoint,
        [f"{host}/32" for host in hosts],
        ["10.8.0.0/16"],
        backend=fleet.backend,
    )
    seen = Moves()
    for number, (key, host) in enumerate(zip(keys, hosts, strict=True)):
        here, there = fleet.members if number % 2 else reversed(fleet.members)
        port = CLIENT_PORT + number
        client.redirect(here.endpoint)
        client.begin_anew(key, port)
        seen.first.append(machine.ping(here.inside, PATIENCE, host))
        time.sleep(pause)
        client.redirect(there.endpoint)
        client.begin_anew(key, port)
        sent = time.monotonic()
        seen.moved.append(machine.ping(there.inside, PATIENCE, host))
        gone = here.let_go(key.public(), PATIENCE)
        seen.let_go.append(None if gone is None else gone - sent)
    return seen


HEAD = ("RTT to the engine", "what", "rounds", "lost", "p50 ms", "p99 ms", "max ms", "p50 over first")


def tell(report: Report, found: dict[float, Moves]) -> list[str]:
    """Tell the table; gives what was missed."""
    rows, missed = [], []
    for rtt, seen in found.items():
        base = statistics.median(arrived(seen.first) or [math.nan])
        for what, times in (("first", seen.first), ("moved", seen.moved), ("let go", seen.let_go)):
            there = arrived(times)
            lost = len(times) - len(there)
            if lost:
                missed.append(f"{what}: {lost} of {len(times)} never came")
            middle, p99 = statistics.median(there or [math.nan]), percentile(there, 0.99)
            spread = [f"{seconds * 1000:.1f}" for seconds in (middle, p99, max(there, default=math.nan))]
            ratio = f"{middle / base:.2f}" if what == "moved" else ""
            rows.append((f"{rtt * 1000:.0f} ms", what, str(len(times)), str(lost), *spread, ratio))
            if what == "moved" and not rtt and not middle <= RATIO * base:
                missed.append(f"moved: p50 {middle / base:.2f} times first, goal {RATIO}")
            if what == "let go" and not p99 <= LET_GO[rtt]:
                missed.append(f"let go: p99 {p99:.2f} s at {rtt * 1000:.0f} ms to the engine, goal {LET_GO[rtt]:g} s")
    report.table(HEAD, rows)
    return missed


def arrived(times: Sequence[float | None]) -> list[float]:
    """Those that came, in order of length."""
    return sorted(seconds for seconds in times if seconds is not None)


def percentile(times: Sequence[float], share: float) -> float:
    """Of times in order."""
    return times[math.ceil(len(times) * share) - 1] if times else math.nan


# --- stay -------------------------------------------------------------------------------------------------------


def stay(report: Report, fleet: Fleet, count: int, seconds: float) -> list[str]:
    """Move the clients, and watch them for so long."""
    a, b = fleet.members
    machine = fleet.machine()
    told = [fleet.client(a, machine=machine) for _ in range(count // 2)]
    carried = [fleet.client(machine=machine) for _ in range(count - len(told))]
    quiet, busy = carried[::2], carried[1::2]
    both = told + carried
    lost = sum(client.first_ping(a.inside, PATIENCE) is None for client in both)
    arrivals: dict[Traveller, float] = {}
    with ExitStack() as stack:
        stack.enter_context(Traffic(a.namespace, [(a.inside, client.host) for client in told + busy]))
        for client in told:
            client.move(b)
            began = time.monotonic()
            if client.first_ping(b.inside, PATIENCE) is not None:
                arrivals[client] = time.monotonic() - began
        stack.enter_context(Traffic(machine, [(client.host, INSIDE) for client in carried]))
        fleet.serve_by(b)
        moved = time.monotonic()
        while len(arrivals) < count and time.monotonic() < moved + 2 * PATIENCE:
            residents = b.residents()
            for client in carried:
                is_new = client not in arrivals and client.public_key in residents
                if is_new and client.ping(b.inside, 0.5) is not None:
                    arrivals[client] = time.monotonic() - moved
        stack.enter_context(Traffic(a.namespace, [(a.inside, client.host) for client in quiet]))
        deadline = time.monotonic() + PATIENCE
        gone = {client for client in both if a.let_go(client.public_key, deadline - time.monotonic()) is not None}
        unanswered: Counter[Traveller] = Counter()
        pulled: set[Traveller] = set()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for client in both:
                residents = a.residents()
                pulled |= {each for each in gone if each.public_key in residents}
                unanswered[client] += int(client.ping(b.inside, 2.0) is None)
                if client in told and not client.is_at(b):
                    pulled.add(client)
    rows = []
    for what, some in (("another endpoint", told), ("another route", quiet), ("the same, with data from inside", busy)):
        times = sorted(arrivals[client] for client in some if client in arrivals)
        rows.append(
            (
                what,
                str(len(some)),
                f"{statistics.median(times or [math.nan]):.2f}",
                f"{max(times, default=math.nan):.2f}",
                str(sum(unanswered[client] for client in some)),
                f"{sum(client in pulled for client in some)} of {len(some)}",
            )
        )
    head = (
        "moved by",
        "clients",
        "there after s, p50",
        "max",
        "pings lost since",
        f"pulled back in {seconds:.0f} s",
    )
    report.table(head, rows)
    missed = [f"stay: {len(pulled)} of {count} clients were pulled back"] if pulled else []
    if len(gone) < count:
        missed.append(f"stay: the first gateway kept {count - len(gone)} of {count} clients")
    if lost or len(arrivals) < count:
        missed.append(f"stay: {lost} clients never came, {count - len(arrivals)} never moved")
    return missed


# --- old --------------------------------------------------------------------------------------------------------


def old(report: Report, fleet: Fleet, count: int, clients: int = 50) -> list[str]:
    """Send recorded initiations to the second gateway."""
    a, b = fleet.members
    machine = fleet.machine()
    keys = [PrivateKey.generate() for _ in range(clients)]
    hosts = [f"10.8.200.{number + 1}" for number in range(clients)]
    peers = [Peer(key.public(), (ipaddress.ip_network(host),)) for key, host in zip(keys, hosts, strict=True)]
    fleet.registry.add(peers)
    fleet.spread(peers[-1])
    client = Client(
        machine, fleet.key.public(), a.endpoint, [f"{h}/32" for h in hosts], ["10.8.0.0/16"], backend=fleet.backend
    )
    began = time.time()
    for number, (key, host) in enumerate(zip(keys, hosts, strict=True)):
        client.begin_anew(key, CLIENT_PORT + number)
        if machine.ping(a.inside, PATIENCE, host) is None:
            return [f"old: client {number} did not come"]
    public = {key.public() for key in keys}
    wait_until(lambda: all(b.claim(key) is not None for key in public), PATIENCE)
    initiators = [Initiator(key, fleet.key.public()) for key in keys]
    recorded = [
        initiators[number % clients].initiate(1, Tai64n.from_unix(began - 1 - (count - number) * 0.02))
        for number in range(count)
    ]
    most = 0
    with machine.socket() as udp:
        for start in range(0, count, 500):
            for message in recorded[start : start + 500]:
                udp.sendto(message, (b.address, int(b.endpoint.rpartition(":")[2])))
            want = min(start + 500, count)
            wait_until(lambda want=want: handled(b) >= want, 120)  # type: ignore[misc]
            most = max(most, len(b.residents()))
        status = b.status()
        for initiator in initiators:
            udp.sendto(initiator.initiate(1, Tai64n.from_unix(time.time())), (b.address, 51820))
        wait_until(lambda: len(b.residents()) == clients, PATIENCE)
    wait_until(lambda: not b.residents(), 120)
    taken = sum(1 for peer in peers if (holding := fleet.holding(peer)) is None or holding.gateway != a.name)
    rows = [
        ("older than what the fleet knows", f"{count:,}", counted(status["refusals"]), str(most), str(taken)),
        ("newer, one of each client", str(clients), "installed, never confirmed", str(clients), str(taken)),
    ]
    report.table(("recorded initiations", "sent", "answered by", "entries at most", "takeovers"), rows)
    missed = [f"old: {taken} peers were taken over"] if taken else []
    if most:
        missed.append(f"old: {most} peers were installed for old initiations")
    if public - a.residents():
        missed.append(f"old: the first gateway has lost {len(public - a.residents())} peers")
    return missed


def handled(member: Member) -> int:
    """Initiations that a gateway has refused, or that its capture has lost."""
    status = member.status()
    return int(sum(status["refusals"].values()) + status["capture_dropped"])


def counted(refusals: dict[str, int]) -> str:
    """Refusals for people."""
    return ", ".join(f"{count:,} {name}" for name, count in refusals.items() if count)


# --- all of it --------------------------------------------------------------------------------------------------


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev bench moves", description=__doc__.splitlines()[0])
    parser.add_argument("--backend", choices=("kernel", "go"), default="kernel", help="go: on this kernel")
    parser.add_argument("--parts", nargs="*", choices=PART_OF_RUN, help="default: all that this kernel can do")
    parser.add_argument("--rounds", type=int, default=200, help="of moves; a quarter of it far from the engine (200)")
    parser.add_argument("--pause", type=float, default=0.7, help="seconds between a client's two packets (0.7)")
    parser.add_argument("--stay", type=int, default=50, help="clients that move and are watched (50)")
    parser.add_argument("--seconds", type=float, default=60.0, help="for which they are watched (60)")
    parser.add_argument("--old", type=int, default=100_000, help="recorded initiations (100,000)")
    add_option(parser)
    options = parser.parse_args()
    backend: Backend = options.backend
    parts = options.parts or [part for part in PART_OF_RUN if part != "far" or backend == "kernel"]
    report = Report("moves", options.write, section=section_for("moves", backend))
    report.head()
    began = time.monotonic()
    missed: list[str] = []
    with Lab() as lab, Engine(lab) as engine:
        found: dict[float, Moves] = {}
        for part, rtt, rounds in (("moves", 0.0, options.rounds), ("far", 0.15, options.rounds // 4)):
            if part in parts:
                with Lab() as own, Fleet(own, engine, backend) as fleet:
                    fleet.up()
                    for member in fleet.members if rtt else ():
                        member.link.delay(rtt)
                    found[rtt] = moves(fleet, rounds, options.pause + 4 * rtt)
        if found:
            missed += tell(report, found)
        if "stay" in parts:
            with Lab() as own, Fleet(own, engine, backend) as fleet:
                fleet.up()
                missed += stay(report, fleet, options.stay, options.seconds)
        if "old" in parts:
            with Lab() as own, Fleet(own, engine, backend) as fleet:
                fleet.up(gateway={"source_rate": 1e6, "exchange_rate": 1e6})
                missed += old(report, fleet, options.old)
    print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)
    return report.conclude(missed)


if __name__ == "__main__":
    sys.exit(main())

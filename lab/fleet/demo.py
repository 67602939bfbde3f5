"""`./dev demo fleet`: three gateways share a registry in PostgreSQL, and clients move from one to another.

At the end one of them dies, with clients that download through it by the service address.

The picture in the head of this package shows the networks. WireGuard is the kernel's if the kernel has it, else
wireguard-go. The gateways are the real `wgjit up`, the database is a real PostgreSQL server. Each time shown is the
time from one ICMP echo request, sent into a new tunnel, until its reply. No request is sent twice.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Console

from lab.demo import Broken, Demo, milliseconds, perform
from lab.fleet.engine import Engine
from lab.fleet.member import SERVICE, Member
from lab.fleet.site import NAMES, Fleet, Traveller
from lab.fleet.streams import Streams
from lab.netns import Lab
from lab.wireguard import kernel_has_wireguard

PATIENCE = 20.0
"""Seconds to wait for a first ping."""
LONG = 60.0
"""Seconds for anything else."""
SHIFT = 0.3
"""Seconds that routing takes to notice that a gateway is dead, as BFD or VRRP do."""
ROW = "  {:10}{:>18}{:>20}{:>16}{:>17}"


@dataclass
class Move:
    """A client's way from a gateway to another. Seconds."""

    first: float
    second: float
    let_go: float
    lookups: tuple[float, float]


def wait(condition: Callable[[], bool], what: str) -> None:
    """Wait until a condition holds. Raises Broken if it does not come about."""
    end = time.monotonic() + LONG
    while not condition():
        if time.monotonic() > end:
            raise Broken(f"waited {LONG:g} s for {what}")
        time.sleep(0.02)


class FleetDemo:
    """The fleet and what is measured."""

    def __init__(self, console: Console, fleet: Fleet) -> None:
        self.console, self.fleet = console, fleet
        self.moves: list[Move] = []
        self.machines = [fleet.machine() for _ in range(3)]

    def clients(self, count: int) -> list[Traveller]:
        """New registered clients that have not sent anything."""
        return [self.fleet.client(machine=self.machines[number % len(self.machines)]) for number in range(count)]

    def start(self) -> None:
        """Start the gateways; each is ready before its copy is."""
        for member in self.fleet.members:
            began = time.monotonic()
            member.up(takeover={"addresses": [SERVICE]})
            ready = time.monotonic() - began
            self.say(
                f"gateway {member.name} is ready after {ready:.2f} s; its copy of the registry is still being made"
            )
        began = time.monotonic()
        count = self.fleet.registry.count()
        for member in self.fleet.members:
            wait(member.is_complete, f"the copy of gateway {member.name} to be made")
        self.say(f"each gateway has a copy of all {count:,} peers, {time.monotonic() - began:.1f} s later")

    def visit(self, client: Traveller, member: Member) -> tuple[float, float]:
        """A first ping by a gateway. Returns its seconds, and the seconds that the lookup took."""
        with member.running.feed() as feed:
            client.move(member)
            seconds = client.first_ping(member.inside, PATIENCE)
            if seconds is None:
                raise Broken(f"a client got no answer from gateway {member.name} within {PATIENCE:g} s")
            record = feed.next(public_key=str(client.public_key))
        if record["decision"] != "installed":
            raise Broken(f"gateway {member.name} did not install a client that came: {record['decision']}")
        if "ask" in record["stages"]:
            raise Broken(f"gateway {member.name} had to ask the registry of record for a client")
        return seconds, record["stages"]["lookup"] / 1e6

    def move(self, client: Traveller, here: Member, there: Member) -> None:
        """Let a client connect to one gateway, and then to another."""
        first, looked = self.visit(client, here)
        wait(lambda: self.holder(client) == here.name, f"gateway {here.name} to hold a client")
        second, looked_again = self.visit(client, there)
        began = time.monotonic()
        gone = here.let_go(client.public_key, LONG)
        if gone is None:
            raise Broken(f"gateway {here.name} did not let go of a client that had moved to {there.name}")
        move = Move(first, second, gone - began + second, (looked, looked_again))
        if not self.moves:
            head = ("client", "first ping", "first ping", "the first", "lookups took")
            self.console.print("\n[bold]" + ROW.format("", *head[1:]) + "[/]", highlight=False)
            head = ("", "at one gateway", "at another", "let go after", "")
            self.console.print("[bold]" + ROW.format(*head) + "[/]", highlight=False)
        self.moves.append(move)
        microseconds = ", ".join(f"{seconds * 1e6:.0f}" for seconds in move.lookups)
        line = ROW.format(
            f"{here.name} → {there.name}",
            milliseconds(first),
            milliseconds(second),
            milliseconds(move.let_go),
            f"{microseconds} µs",
        )
        self.console.print(line, highlight=False)

    def medians(self) -> None:
        """The last line of the table."""
        columns = ([move.first for move in self.moves], [move.second for move in self.moves])
        middle = [milliseconds(statistics.median(times)) for times in (*columns, [move.let_go for move in self.moves])]
        self.console.print(f"[bold]{ROW.format('median', *middle, '')}[/]", highlight=False)

    def holder(self, client: Traveller) -> str | None:
        """Who holds a client, by the registry of record."""
        holding = self.fleet.holding(client)
        return None if holding is None or holding.until is not None else holding.gateway

    def without_the_engine(self, count: int) -> None:
        """Stop PostgreSQL. Clients connect and move all the same, and the gateways say so later."""
        a, b, c = self.fleet.members
        new, mover = self.clients(count), self.clients(1)[0]
        self.visit(mover, a)
        wait(lambda: self.holder(mover) == "a", "gateway a to hold a client")
        self.fleet.engine.primary.stop()
        self.console.print("\n  [bold]PostgreSQL is stopped[/]", highlight=False)
        times = [self.visit(client, c)[0] for client in new]
        self.say(
            f"{count} new clients connect to gateway c: first ping {milliseconds(statistics.median(times))} (median)"
        )
        self.say(f"a client moves from a to b: first ping {milliseconds(self.visit(mover, b)[0])}")
        for client in new:
            if client.ping(c.inside) is None:
                raise Broken("a session was lost while PostgreSQL was stopped")
        self.fleet.engine.primary.start()
        began = time.monotonic()
        self.console.print("  [bold]PostgreSQL is back[/]", highlight=False)
        self.fleet.reopen()
        wait(lambda: {self.holder(client) for client in new} == {"c"} and self.holder(mover) == "b", "the claims")
        said = time.monotonic() - began
        if a.let_go(mover.public_key, LONG) is None:
            raise Broken("gateway a did not let go of the client that had moved")
        self.say(f"all claims are in it after {said:.1f} s, and a has let go after {time.monotonic() - began:.1f} s")

    def a_gateway_dies(self, count: int) -> None:
        """Kill a gateway under downloads. Routing moves its address to another one, which calls the clients."""
        a, b, _ = self.fleet.members
        self.fleet.serve_by(a)
        clients = self.clients(count)
        with Streams(self.fleet.members, clients) as streams:
            wait(lambda: streams.all_since(time.monotonic() - 1.0), f"{count} clients to download through gateway a")
            wait(lambda: all(b.holder(client.public_key) == "a" for client in clients), "gateway b to know them")
            wait(lambda: b.status()["takeover"]["off"] is None, "gateway b to know its clock")
            before = dict(b.status()["decisions"])
            self.console.print(
                f"\n  [bold]gateway a dies[/], while {count} clients download through it", highlight=False
            )
            died = time.monotonic()
            a.die()
            time.sleep(max(0.0, died + SHIFT - time.monotonic()))
            self.fleet.serve_by(b)
            moved = time.monotonic()
            wait(lambda: streams.all_since(moved), "the downloads to go on through gateway b")
            time.sleep(0.5)
            silences = streams.silences(died)
            after = b.status()["decisions"]
        called, knocks = (after.get(one, 0) - before.get(one, 0) for one in ("called", "installed"))
        self.say(
            f"routing leads them to gateway b after {moved - died:.2f} s; it calls {called}, {knocks} have to knock"
        )
        row = "  {:>14}" + 4 * "{:>12}"
        self.console.print(
            "[bold]" + row.format("without data", "least", "median", "90 %", "most") + "[/]", highlight=False
        )
        shown = (silences[0], statistics.median(silences), silences[int(0.9 * (count - 1))], silences[-1])
        self.console.print(row.format("seconds", *(f"{seconds:.2f}" for seconds in shown)), highlight=False)
        if knocks:
            raise Broken(f"{knocks} of {count} clients had to knock at gateway b by themselves")

    def say(self, text: str) -> None:
        self.console.print(f"[green]✓[/] {text}", highlight=False)


def show(console: Console, lab: Lab, options: argparse.Namespace) -> None:
    """All stages, in order. Raises Broken, and what the lab raises."""
    with Engine(lab) as engine, Fleet(lab, engine, "auto", NAMES) as fleet:
        demo = FleetDemo(console, fleet)
        kind = "kernel WireGuard" if kernel_has_wireguard() else "wireguard-go (this kernel has no WireGuard)"
        demo.say(f"PostgreSQL, and three gateways with one private key: {kind}")
        with console.status(f"registering {options.peers:,} peers"):
            began = time.monotonic()
            fleet.registry.fill(Demo.crowd(options.peers))
            seconds = time.monotonic() - began
        demo.say(f"registered {options.peers:,} peers in PostgreSQL in {seconds:.1f} s")
        with console.status("the gateways start"):
            demo.start()
        clients = demo.clients(options.clients)
        for number, client in enumerate(clients):
            here = fleet.members[number % 3]
            demo.move(client, here, fleet.members[(number + 1) % 3])
        demo.medians()
        demo.say(f"{2 * len(clients)} lookups in the gateways' own copies; the registry of record was asked 0 times")
        demo.without_the_engine(options.new)
        demo.a_gateway_dies(options.downloads)
        for member in fleet.members[1:]:
            if faults := member.status()["faults"]:
                console.print(f"  gateway {member.name} counts as troubles: {faults}", highlight=False)


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev demo fleet", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--peers", type=int, default=100_000, help="how many are registered (100,000)")
    parser.add_argument("--clients", type=int, default=6, help="how many move (6)")
    parser.add_argument("--new", type=int, default=4, help="how many connect while PostgreSQL is stopped (4)")
    parser.add_argument("--downloads", type=int, default=50, help="how many download when a gateway dies (50)")
    options = parser.parse_args()
    if not (1 <= options.peers <= 1_000_000 and 1 <= options.clients <= 100 and 1 <= options.new <= 100):
        parser.error("--peers is 1 to 1,000,000, --clients and --new 1 to 100")
    if not 1 <= options.downloads <= 200:
        parser.error("--downloads is 1 to 200")
    console = Console(width=None if sys.stdout.isatty() else 100)
    console.print(
        f"[bold]wgjit demo fleet[/]: {options.peers:,} peers are registered in PostgreSQL, for three gateways.\n"
        f"{options.clients} clients connect to one gateway and move to another. Then PostgreSQL is stopped.\n"
        f"At last a gateway dies, through which {options.downloads} clients download.\n"
        "All in network namespaces of its own, in about two minutes; nothing is left behind.\n",
        highlight=False,
    )
    return perform(console, lambda lab: show(console, lab, options))


if __name__ == "__main__":
    sys.exit(main())

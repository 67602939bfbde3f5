"""`./dev demo`: 100,000 peers are registered, none is installed, and clients connect to the gateway.

                                      ┌── outside 1 … n        each is a machine with its own WireGuard client
    gateway ──── 203.0.113.0/24 ── internet
    203.0.113.1                       └── home router (NAT) ── home 1 … n
    10.64.0.1 inside the tunnels

WireGuard is the kernel's if the kernel has it, else wireguard-go. The gateway is the real `wgjit up`. Each time shown
is the time from one ICMP echo request, sent into a new tunnel, until its reply. No request is sent twice.
"""

from __future__ import annotations

import argparse
import ipaddress
import itertools
import secrets
import signal
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import FrameType

from rich.console import Console
from rich.table import Table

from lab.gateway import Gateway, GatewayFailed
from lab.netns import CommandFailed, Lab, Namespace
from lab.registry import LabRegistry
from lab.wireguard import Client, WireGuard, peer_section
from wgjit.errors import WgjitError
from wgjit.model import Peer, PublicKey

PORT = 51820
ENDPOINT = f"203.0.113.1:{PORT}"
TUNNEL = ipaddress.IPv4Network("10.64.0.0/10")
INSIDE = "10.64.0.1"
USERSPACE_LIMIT = 65_536
"""Peers that one interface of wireguard-go can hold (its MaxPeers). The kernel holds 2^20."""
PATIENCE = 20.0
"""Seconds to wait for a first ping. This is long enough for three retries of the client."""


INSTALLED, RETRY, ONE_BY_ONE, AT_ONCE = "pre-installed", "plain retry", "one by one", "all at once"


NEXT = """
Now on this machine, as root:
  ./dev wgjit doctor                  what it can do
  ./dev wgjit adopt wg0 --dry-run     if it has an interface with peers: which of them wgjit would take over
README.md (Start) makes a gateway and a first client, in six commands."""


class Broken(Exception):
    """A stage of the demo could not show its result."""


@dataclass
class Knock:
    """One client's first ping."""

    client: Client
    where: str
    how: str
    seconds: float | None = None


class Demo:
    """The network, the registry and the measurements."""

    def __init__(self, lab: Lab, console: Console, registered: int) -> None:
        self.lab, self.console, self.registered = lab, console, registered
        self.knocks: list[Knock] = []
        self._hosts = map(ipaddress.IPv4Address, itertools.count(int(TUNNEL.network_address) + (1 << 21)))
        self._machines = 0
        self.gateway, self.internet, self.router = (lab.namespace(name) for name in ("gateway", "internet", "router"))
        lab.link(self.gateway, self.internet, ["203.0.113.1/24"], ["203.0.113.254/24"])
        self.gateway.ip("route add default via 203.0.113.254")
        self.internet.forward()
        home = lab.link(self.internet, self.router, ["198.51.100.254/24"], ["198.51.100.1/24"])
        self.router.ip("route add default via 198.51.100.254")
        self.router.masquerade(home.b)
        self.server = WireGuard(self.gateway, [f"{INSIDE}/{TUNNEL.prefixlen}"], listen_port=PORT)
        self.registry = LabRegistry(lab.folder / "registry.db")

    def machine(self, home: bool) -> Namespace:
        """A new machine, behind the NAT or outside of it."""
        self._machines += 1
        number = self._machines
        machine = self.lab.namespace(f"m{number}")
        near, net = (self.router, "192.168") if home else (self.internet, "172.16")
        self.lab.link(near, machine, [f"{net}.{number}.1/24"], [f"{net}.{number}.2/24"])
        machine.ip(f"route add default via {net}.{number}.1")
        return machine

    def client(self, home: bool, how: str, registered: bool = True) -> Knock:
        """A new machine with a WireGuard client that has not sent anything yet."""
        client = Client(
            self.machine(home), self.server.public_key, ENDPOINT, [f"{next(self._hosts)}/32"], [str(TUNNEL)]
        )
        if registered:
            self.registry.add([client.registration])
        return Knock(client, "behind NAT" if home else "outside", how)

    # --- the stages -----------------------------------------------------------------------------------------

    def fill_registry(self) -> None:
        """Register peers that never connect. Their keys are random bytes, which look like real keys."""
        started = time.monotonic()
        count = self.registry.add(self.crowd(self.registered))
        size = sum(path.stat().st_size for path in self.lab.folder.glob("registry.db*")) / 1e6
        self.say(f"registered {count:,} peers in SQLite in {time.monotonic() - started:.1f} s ({size:.0f} MB)")

    @staticmethod
    def crowd(count: int) -> Iterator[Peer]:
        """Peers, each with one address."""
        first = int(TUNNEL.network_address) + 256
        for number in range(count):
            address = ipaddress.IPv4Network((first + number, 32))
            yield Peer(PublicKey(secrets.token_bytes(32)), (address,), name=f"peer-{number}")

    def baseline(self, count: int = 3) -> None:
        """Measure peers that are installed beforehand, without wgjit. Remove them afterwards."""
        installed = [self.client(home=False, how=INSTALLED, registered=False) for _ in range(count)]
        for knock in installed:
            self.server.add_peer(knock.client.public_key, map(str, knock.client.registration.allowed_ips))
        for knock in installed:
            self.measure(knock)
            self.server.remove_peer(knock.client.public_key)

    def plain_retry(self) -> None:
        """Measure a client whose peer the gateway only installs, so that the client's own retry gets it in.

        Now and then the peer is installed before WireGuard looks at the packet, and no retry is needed. That is not the
        case to show, so another client tries.
        """
        with self.up("none"):
            for _ in range(10):
                knock = self.client(home=False, how=RETRY)
                knock.seconds = knock.client.first_ping(INSIDE, PATIENCE)
                if knock.seconds is None or knock.seconds > 1:
                    return self.note(knock)
        raise Broken("ten clients in a row needed no retry with --delivery none")

    def one_by_one(self, count: int) -> None:
        for number in range(count):
            self.measure(self.client(home=number % 2 == 1, how=ONE_BY_ONE))

    def at_once(self, count: int) -> None:
        """Let all clients send their packet within about a millisecond."""
        crowd = [self.client(home=number % 2 == 1, how=AT_ONCE) for number in range(count)]
        start = threading.Barrier(count)

        def go(knock: Knock) -> None:
            start.wait()
            knock.seconds = knock.client.ping(INSIDE, PATIENCE)

        with ThreadPoolExecutor(count) as threads:
            list(threads.map(go, crowd))
        for knock in crowd:
            self.note(knock)

    def up(self, delivery: str) -> Gateway:
        return Gateway(self.gateway, self.server.name, store=self.registry.path, delivery=delivery)

    def setconf(self) -> str:
        """Time `wg setconf` of the registry's peers on a separate interface. Returns the result as a sentence."""
        count = self.registered if self.server.backend == "kernel" else min(self.registered, USERSPACE_LIMIT)
        peers = itertools.islice(self.registry.peers.every(), count)
        crowd = "".join(peer_section(peer.public_key, map(str, peer.allowed_ips)) for peer in peers)
        other = WireGuard(self.lab.namespace("all"))
        started = time.monotonic()
        other.configure(crowd)
        seconds = time.monotonic() - started
        if (found := len(other.peers())) != count:
            raise Broken(f"wg setconf installed {found:,} of {count:,} peers")
        other.clear()
        limit = "" if count == self.registered else f" (more than {count:,} do not fit into wireguard-go)"
        return f"{seconds:.1f} s for {count:,} peers{limit}"

    # --- telling --------------------------------------------------------------------------------------------

    def say(self, text: str) -> None:
        self.console.print(f"[green]✓[/] {text}", highlight=False)

    def measure(self, knock: Knock) -> None:
        knock.seconds = knock.client.first_ping(INSIDE, PATIENCE)
        self.note(knock)

    def note(self, knock: Knock) -> None:
        """Print a client's line of the table."""
        if not self.knocks:
            self.console.print(f"\n  [bold]{'client':30}{'first ping':>14}[/]")
        self.knocks.append(knock)
        took = f"{'no answer':>14}" if knock.seconds is None else f"{milliseconds(knock.seconds):>14}"
        style = "red" if knock.seconds is None else "default" if knock.how in (INSTALLED, RETRY) else "bold"
        self.console.print(f"  {knock.how:18}{knock.where:12}[{style}]{took}[/]", highlight=False)

    def times(self, how: str) -> list[float]:
        """The seconds of all clients of a kind, sorted. Raises Broken if a client had no answer."""
        found = [knock for knock in self.knocks if knock.how == how]
        for knock in found:
            if knock.seconds is None:
                raise Broken(f"a client got no answer within {PATIENCE:g} s: {how}, {knock.where}")
        return sorted(knock.seconds for knock in found if knock.seconds is not None)

    def median(self, how: str) -> float:
        return statistics.median(self.times(how))

    def summary(self, delivery: str) -> Table:
        table = Table(title="Time to first ping, in short", title_justify="left")
        for column in ("", "clients", "fastest", "median", "slowest", "over pre-installed"):
            table.add_column(column, justify="right" if column else "left", no_wrap=True)
        for how in dict.fromkeys(knock.how for knock in self.knocks):
            times, median = self.times(how), self.median(how)
            name = how if how in (INSTALLED, RETRY) else f"wgjit {how}, by {delivery}"
            cells = [milliseconds(value) for value in (times[0], median, times[-1])]
            over = median - self.median(INSTALLED)
            table.add_row(name, str(len(times)), *cells, "" if how == INSTALLED else f"+{milliseconds(over)}")
        return table


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:,.1f} ms"


def show(console: Console, lab: Lab, options: argparse.Namespace) -> None:
    """All stages, in order. Raises Broken, and what the lab raises."""
    with console.status("a gateway, an internet, a home router with NAT"):
        demo = Demo(lab, console, options.peers)
    kind = "kernel WireGuard" if demo.server.backend == "kernel" else "wireguard-go (this kernel has no WireGuard)"
    demo.say(f"a gateway with {kind}, the internet, a home router with NAT")
    with console.status(f"registering {options.peers:,} peers"):
        demo.fill_registry()

    with console.status("what plain WireGuard takes"):
        demo.baseline()
    with console.status("a client whose first packet nobody completes: it tries again by itself after 5 s"):
        demo.plain_retry()
    demo.server.clear()

    with demo.up("auto") as gateway:
        delivery = str(gateway.about["delivery"])
        console.print(
            f"  [green]wgjit up {demo.server.name}[/]: delivery {delivery}, {len(demo.server.peers())} peers installed",
            highlight=False,
        )
        with console.status("clients connect, one after the other"):
            demo.one_by_one(options.clients)
        with console.status(f"{options.at_once} clients at once"):
            demo.at_once(options.at_once)
        residents, connected = len(demo.server.peers()), options.clients + options.at_once
        decisions = gateway.status()["decisions"]

    console.print()
    console.print(demo.summary(delivery))
    console.print(
        f"installed now: [bold]{residents}[/] of {demo.registry.peers.count():,} registered peers", highlight=False
    )
    console.print(f"the gateway's decisions: {', '.join(f'{count} {name}' for name, count in decisions.items())}")
    if residents != connected:
        raise Broken(f"{connected} clients connected, but {residents} peers are installed")
    with console.status(f"in comparison, `wg setconf` of the same {options.peers:,} peers, on another interface"):
        console.print(f"in comparison, wg setconf takes [bold]{demo.setconf()}[/]", highlight=False)
    console.print(NEXT, markup=False, highlight=False)
    demo.registry.close()


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev demo", description=__doc__.splitlines()[0])
    parser.add_argument("--peers", type=int, default=100_000, help="how many are registered (100,000)")
    parser.add_argument("--clients", type=int, default=6, help="how many connect one after the other (6)")
    parser.add_argument("--at-once", type=int, default=20, help="how many connect at once (20)")
    options = parser.parse_args()
    if not (1 <= options.peers <= 1_000_000 and options.clients >= 1 and 1 <= options.at_once <= 100):
        parser.error("--peers is 1 to 1,000,000, --clients at least 1, --at-once 1 to 100")

    console = Console(width=None if sys.stdout.isatty() else 100)
    console.print(
        f"[bold]wgjit demo[/]: {options.peers:,} peers are registered with a gateway, and none is installed.\n"
        f"{options.clients} clients connect one after the other, then {options.at_once} at once.\n"
        "All in network namespaces of its own, in about a minute; nothing is left behind.\n",
        highlight=False,
    )
    return perform(console, lambda lab: show(console, lab, options))


def perform(console: Console, demo: Callable[[Lab], None]) -> int:
    """Show a demo in a lab of its own, and take the lab back. Returns the exit status."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    started = time.monotonic()
    try:
        with Lab() as lab:
            demo(lab)
    except KeyboardInterrupt:
        console.print("\n[red]interrupted[/]; all is taken back")
        return 130
    except (Broken, CommandFailed, GatewayFailed, WgjitError, OSError) as error:
        console.print(f"\n[bold red]the demo failed:[/] {type(error).__name__}: ", end="")
        console.print(str(error), markup=False, highlight=False)
        return 1
    console.print(f"\n{time.monotonic() - started:.0f} s in all; the namespaces are gone.", highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())

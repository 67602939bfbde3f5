"""A network behind the gateways of a fleet: a router that learns by BGP where each client is, and a host.

    gateway a  10.7.0.1 ──┐
                          ├── lan ── router 10.7.0.254 ── 10.8.254.1 │ 10.8.254.2 host
    gateway b  10.7.0.2 ──┘

Each machine runs BIRD, or FRR, with the configurations of docs/ROUTING.md. The host has an address inside the tunnels'
prefix, so clients send to it without more routes.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable
from typing import Literal, Self

from lab.fleet.member import Member
from lab.fleet.site import Fleet, Traveller
from lab.netns import Namespace
from lab.recipes import configuration
from lab.registry_service import wait_until
from lab.routing.bird import Bird
from lab.routing.frr import Frr

Daemon = Literal["bird", "frr"]
HOST, HOSTS, ROUTER = "10.8.254.2", "10.8.254.0/24", "10.7.0.254"
PATIENCE = 60.0
TITLES = {
    "bird": ("/etc/bird/bird.conf on each gateway", "/etc/bird/bird.conf on the router behind them"),
    "frr": ("/etc/frr/frr.conf on each gateway", "/etc/frr/frr.conf on the router behind them"),
}

PATIENT = {
    "bird": {"multiplier 5": "multiplier 50"},
    "frr": {"detect-multiplier 5": "detect-multiplier 50"},
}


class Inside:
    """The network behind a fleet of two. A context manager, which ends the routing daemons."""

    def __init__(self, fleet: Fleet, daemon: Daemon, *, patient: bool = False) -> None:
        """`patient`: BFD waits for ten seconds and not for one, so that a busy machine does not count as a dead one."""
        self._patience = PATIENT[daemon] if patient else {}
        self.fleet, self.kind = fleet, daemon
        lab = fleet.lab
        self.router, self.host = lab.namespace("router"), lab.namespace("host")
        self.router.forward()
        self.router.ip(
            "link add lan type bridge", "link set lan up", f"address add {ROUTER}/24 dev lan",
            "address add fd07::fe/64 dev lan nodad",
        )  # fmt: skip
        lab.link(self.router, self.host, ["10.8.254.1/24"], [f"{HOST}/24"])
        self.host.ip("route add default via 10.8.254.1")
        self.links: dict[Member, str] = {}
        """The router's end of each gateway's link."""
        for number, member in enumerate(fleet.members, start=1):
            self._join(member, number)
        self.daemons: dict[Member, Bird | Frr] = {}
        self.at_router: Bird | Frr | None = None

    def _join(self, member: Member, number: int) -> None:
        machine = member.namespace
        machine.forward()
        link = self.fleet.lab.link(self.router, machine, [], [f"10.7.0.{number}/24"])
        self.router.ip(f"link set {link.a} master lan")
        machine.ip(
            f"link set {link.b} down", f"link set {link.b} name eth1", "link set eth1 up",
            f"address add fd07::{number}/64 dev eth1 nodad", f"route add {HOSTS} via {ROUTER}",
        )  # fmt: skip
        self.links[member] = link.a

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.callback(self.close)
            gateway, router = TITLES[self.kind]
            change = {'"eth1"': '"lan"'} if self.kind == "bird" else {}
            self.at_router = self._start(self.router, configuration("ROUTING.md", router, {**change, **self._patience}))
            for number, member in enumerate(self.fleet.members, start=1):
                text = configuration("ROUTING.md", gateway, {"10.7.0.1": f"10.7.0.{number}", **self._patience})
                self.daemons[member] = self._start(member.namespace, text)
            wait_until(self._are_joined, PATIENCE)
            stack.pop_all()
        return self

    def _start(self, machine: Namespace, text: str) -> Bird | Frr:
        return Bird(machine, text) if self.kind == "bird" else Frr(machine, text)

    def _are_joined(self) -> bool:
        if isinstance(self.at_router, Bird):
            return all(map(self.at_router.is_established, ("gateway_a", "gateway_b")))
        assert self.at_router is not None
        return all(map(self.at_router.is_established, ("10.7.0.1", "10.7.0.2")))

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the routing daemons."""
        for daemon in (*self.daemons.values(), self.at_router):
            if daemon is not None:
                daemon.close()

    # --- looking ------------------------------------------------------------------------------------------------

    def leads_to(self, host: str) -> Member | None:
        """The gateway to which the router's kernel sends what is for a client; None without a route of its own."""
        text = self.router.run("ip", "route", "show", f"{host}/32")
        match = re.search(r"via 10\.7\.0\.(\d+)", text)
        return None if match is None else self.fleet.members[int(match[1]) - 1]

    def until_it_leads_to(self, host: str, member: Member | None, timeout: float = PATIENCE) -> float:
        """Wait until the router sends a client's packets to this gateway; the seconds that it took."""
        began = time.monotonic()
        wait_until(lambda: self.leads_to(host) is member, timeout)
        return time.monotonic() - began

    def reaches(self, client: Traveller, timeout: float = 1.0) -> float | None:
        """Seconds of one ping from the host to a client."""
        with contextlib.suppress(OSError):
            return self.host.ping(client.host, timeout)
        return None

    def until_reached(self, client: Traveller, timeout: float = PATIENCE) -> float:
        """Ping a client from the host again and again; the seconds until the first reply."""
        began = time.monotonic()
        _until(lambda: self.reaches(client, 0.2) is not None, timeout)
        return time.monotonic() - began

    def die(self, member: Member) -> None:
        """A gateway's machine loses its link inside and its routing daemon, as when it dies. Nobody is told."""
        self.daemons[member].kill()
        self.router.ip(f"link set {self.links[member]} down")


def routes(member: Member, protocol: int = 87) -> dict[str, int]:
    """The routes of wgjit on a gateway, with their metrics."""
    text = member.namespace.run("ip", "route", "show", "proto", str(protocol), "table", "all")
    return {line.split()[0]: int(line.partition("metric ")[2].split()[0]) for line in text.splitlines()}


def _until(condition: Callable[[], bool], timeout: float) -> None:
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"it did not come about within {timeout} s")

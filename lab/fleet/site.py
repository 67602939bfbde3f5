"""All of a fleet: its machines and networks, and clients that move from gateway to gateway."""

from __future__ import annotations

import contextlib
import ipaddress
import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, Self

from lab.fleet.engine import Engine
from lab.fleet.member import INSIDE, PORT, SERVICE, Member
from lab.netns import Lab, Namespace
from lab.registry_service import wait_until
from lab.wireguard import Backend, Client
from wgjit.model import Holding, Peer, PrivateKey, PublicKey

TUNNEL = ipaddress.IPv4Network("10.8.0.0/16")
NAMES = ("a", "b", "c")


class _Keyed(Protocol):
    @property
    def public_key(self) -> PublicKey: ...


class Traveller(Client):
    """A client of a fleet. It knows one endpoint at a time, as a client that resolves a name does."""

    machine_address: str
    """The address of its machine on the internet."""

    @property
    def host(self) -> str:
        """Its address inside the tunnel."""
        return str(self.addresses[0].ip)

    def ping(self, host: str, timeout: float = 5.0) -> float | None:
        """As `Client.ping`, from its own address: a machine may have several clients."""
        return self.namespace.ping(host, timeout, self.host)

    def first_ping(self, host: str, timeout: float = 10.0) -> float | None:
        """As `Client.first_ping`, from its own address."""
        if self.latest_handshake():
            raise RuntimeError(f"{self.name} has a session already: forget() first")
        return self.ping(host, timeout)

    def move(self, to: Member) -> None:
        """Have another gateway's address from now on, and no session, as a client that starts anew after a DNS change.

        The next packet is a first ping.
        """
        self.redirect(to.endpoint)
        self.forget()

    def is_at(self, member: Member) -> bool:
        """Whether its endpoint is this gateway now. WireGuard follows whoever answers from elsewhere."""
        endpoint = self.peer(self.server).endpoint
        return endpoint is not None and str(endpoint) == member.endpoint


class Fleet:
    """The topology of this package's head with a registry of its own. A context manager.

    The lab is not closed by it, and the engine may serve many fleets, one after the other or at once.
    """

    def __init__(self, lab: Lab, engine: Engine, backend: Backend, names: Sequence[str] = NAMES[:2]) -> None:
        self.lab, self.engine, self.backend = lab, engine, backend
        self._names = names
        self._stack = contextlib.ExitStack()
        self._hosts = map(ipaddress.IPv4Address, itertools.count(int(TUNNEL.network_address) + 256))
        self._machines, self._tables = itertools.count(), itertools.count()
        self._addresses: dict[str, str] = {}
        self.key = PrivateKey.generate()
        self.internet = lab.namespace("internet")
        self.internet.forward()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self.database = stack.enter_context(self.engine.database())
            self.members = [
                Member(name, number, self.internet, self.engine, self.database, self.key, self.backend)
                for number, name in enumerate(self._names, start=1)
            ]
            self.registry = self.engine.registry(self.database)
            stack.callback(lambda: self.registry.close())
            stack.callback(self.down)
            self.serve_by(self.members[0])
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        for member in self.members:
            if self.engine.password in member.log():
                raise AssertionError(f"the log of {member.name} has the password of the engine")

    def reopen(self) -> None:
        """Open the registry anew, after the engine was away or another server has taken its place."""
        self.registry.close()
        self.registry = self.engine.registry(self.database)

    def cut(self) -> None:
        """Cut all links to the engine."""
        for member in self.members:
            member.link.cut()

    def mend(self) -> None:
        """Mend all links to the engine."""
        for member in self.members:
            member.link.mend()

    # --- gateways -------------------------------------------------------------------------------------------

    def up(self, **settings: Any) -> None:
        """Start the daemons that do not run, side by side, as `Member.up` does."""
        waiting = [member for member in self.members if member.daemon is None]
        with ThreadPoolExecutor(len(waiting) or 1) as threads:
            list(threads.map(lambda member: member.up(**settings), waiting))

    def down(self) -> None:
        """End all daemons."""
        for member in self.members:
            member.down()

    def serve_by(self, member: Member) -> None:
        """Route the service address to this gateway from now on, as anycast does. No client is told."""
        self.internet.ip(f"route replace {SERVICE}/32 via {member.address}")

    # --- clients --------------------------------------------------------------------------------------------

    def machine(self, prefix: str | None = None) -> Namespace:
        """A new machine on the internet. All addresses of `prefix` are its own, too."""
        number = next(self._machines)
        net = f"172.{16 + number // 250}.{number % 250}"
        machine = self.lab.namespace(f"m{number}")
        self.lab.link(self.internet, machine, [f"{net}.1/24"], [f"{net}.2/24"])
        self._addresses[machine.name] = f"{net}.2"
        machine.ip(f"route add default via {net}.1")
        if prefix is not None:
            machine.ip(f"route add local {prefix} dev lo")
            self.internet.ip(f"route add {prefix} via {net}.2")
        return machine

    def client(
        self,
        at: Member | None = None,
        *,
        machine: Namespace | None = None,
        private_key: PrivateKey | None = None,
        registered: bool = True,
        known: bool = True,
    ) -> Traveller:
        """A new client that has not knocked yet. It has a gateway's endpoint, or by default the service address.

        `machine`: where it runs, by default on a machine of its own. Clients of one machine do not disturb each other.
        `registered`: in the registry of record. `known`: wait until the replicas of the daemons that run have it.
        """
        place = machine or self.machine()
        traveller = Traveller(
            place,
            self.key.public(),
            f"{SERVICE}:{PORT}" if at is None else at.endpoint,
            [f"{next(self._hosts)}/32"],
            [str(TUNNEL)],
            private_key=private_key,
            backend=self.backend,
        )
        traveller.machine_address = self._addresses[place.name]
        if machine is not None:  # what comes from its address goes through its own tunnel
            table = 1000 + next(self._tables)
            place.ip(
                f"rule add from {traveller.host} table {table}",
                f"route add {TUNNEL} dev {traveller.name} table {table}",
            )
        if registered:
            self.registry.add([traveller.registration])
            if known:
                self.spread(traveller.registration)
        return traveller

    def holding(self, client: _Keyed) -> Holding | None:
        """What the registry of record has as this client's holding."""
        found = self.registry.lookup(client.public_key)
        return None if found is None else found.holding

    def spread(self, peer: Peer) -> None:
        """Wait until the replica of each daemon that runs has a peer."""
        for member in self.members:
            if member.daemon is not None:
                wait_until(_has(member, peer), 60.0)


def _has(member: Member, peer: Peer) -> Callable[[], bool]:
    return lambda: member.knows(peer.public_key)


__all__ = ["INSIDE", "NAMES", "PORT", "SERVICE", "TUNNEL", "Fleet", "Traveller"]

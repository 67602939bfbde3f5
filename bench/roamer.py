"""Clients of a fleet without an interface. They are cheap, have clocks of their own, and are anywhere in no time."""

from __future__ import annotations

import ipaddress
import itertools
import os
import socket
import time
from collections.abc import Callable

from bench.load.tunnel import open_data
from lab.echo import Echo
from lab.fleet.member import PORT, Member
from lab.fleet.site import Fleet
from lab.netns import Namespace
from wgjit.model import Peer, PrivateKey, Tai64n
from wgjit.refusal import Refusal
from wgjit.wire.messages import RESPONSE
from wgjit.wire.noise import Initiator, SessionKeys

_ADDRESSES = map(ipaddress.IPv4Address, itertools.count(int(ipaddress.IPv4Address("10.8.128.0"))))


class Roamer:
    """A client that speaks the protocol by itself. Register it by `peer`, or with `register`."""

    def __init__(
        self, fleet: Fleet, machine: Namespace, clock: Callable[[], float] = time.time, expires_at: int | None = None
    ) -> None:
        """`machine`: from where it sends. `clock`: its own idea of Unix time, seconds."""
        self._fleet, self._machine, self.clock = fleet, machine, clock
        self._private_key = PrivateKey.generate()
        self.public_key = self._private_key.public()
        self.address = next(_ADDRESSES)
        self.peer = Peer(self.public_key, (ipaddress.ip_network(self.address),), expires_at=expires_at)

    def register(self) -> Roamer:
        """Register it in the registry of record, and wait until the replicas have it."""
        self._fleet.registry.add([self.peer])
        self._fleet.spread(self.peer)
        return self

    def initiation(self, at: float | None = None) -> bytes:
        """An initiation of this Unix time, by default of now. The same one serves at each gateway of the fleet."""
        return self._initiator().initiate(1, Tai64n.from_unix(self.clock() if at is None else at))

    def connect(self, to: Member, timeout: float = 4.8) -> float | None:
        """Knock once and send an echo through the session. Returns the seconds until its reply; None if none came."""
        session = self.session(to, timeout)
        if session is None:
            return None
        udp, keys, started = session
        with udp:
            echo = Echo(self.address, ipaddress.IPv4Address(to.inside), os.urandom(8))
            udp.sendto(keys.seal(0, echo.request), (to.address, PORT))
            while (message := _receive(udp, started + timeout - time.monotonic())) is not None:
                packet = open_data(keys, message)
                if packet is not None and echo.is_reply(packet):
                    return time.monotonic() - started
        return None

    def talk(self, to: Member, until: Callable[[], bool], timeout: float = 60.0) -> bool:
        """Knock once, and send through the session until something is so. Returns False if it was not so in time."""
        session = self.session(to)
        if session is None:
            return False
        udp, keys, started = session
        with udp:
            for number in itertools.count():
                echo = Echo(self.address, ipaddress.IPv4Address(to.inside), os.urandom(8))
                udp.sendto(keys.seal(number, echo.request), (to.address, PORT))
                if until():
                    return True
                if time.monotonic() > started + timeout:
                    return False
                time.sleep(0.1)
        raise AssertionError("the counter has no end")

    def session(self, to: Member, timeout: float = 4.8) -> tuple[socket.socket, SessionKeys, float] | None:
        """Knock once. Returns the socket, the keys of the session and when it knocked; None without an answer.

        The session is not confirmed before something is sent in it.
        """
        initiator, started = self._initiator(), time.monotonic()
        udp = self._machine.socket()
        udp.sendto(initiator.initiate(1, Tai64n.from_unix(self.clock())), (to.address, PORT))
        while (message := _receive(udp, started + timeout - time.monotonic())) is not None:
            if message[0] == RESPONSE and not isinstance(keys := initiator.consume_response(message), Refusal):
                return udp, keys, started
        udp.close()
        return None

    def _initiator(self) -> Initiator:
        return Initiator(self._private_key, self._fleet.key.public())


def send(machine: Namespace, to: Member, *messages: bytes) -> None:
    """Send datagrams to a gateway's port, as somebody who has recorded them."""
    with machine.socket() as udp:
        for message in messages:
            udp.sendto(message, (to.address, PORT))


def _receive(udp: socket.socket, timeout: float) -> bytes | None:
    udp.settimeout(max(timeout, 0.001))
    try:
        return udp.recv(2048)
    except TimeoutError:
        return None

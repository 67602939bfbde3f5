"""The gateway's clock is stepped while it serves: by hours, forward and back. Only a guest's clock may be used so."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from lab.gateway import Gateway
from lab.netns import Lab
from tests.contracts.gateway_site import INSIDE, PORT, Site, seamless, wait_for
from tests.contracts.gateway_witness import steady
from wgjit.model import Peer, PrivateKey, Tai64n
from wgjit.wire.messages import RESPONSE
from wgjit.wire.noise import Initiator, SessionKeys

HOUR = 3600.0


class Heart:
    """Hears the daemon's signs of life, as a supervisor does: before each it has looked at the clock anew."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.through = ("env", f"NOTIFY_SOCKET={path}")

    def beat(self, times: int) -> None:
        """Wait until it has beaten so often from now on."""
        self.socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                self.socket.recv(4096)
        self.socket.settimeout(60)
        while times:
            times -= self.socket.recv(4096).startswith(b"WATCHDOG=1")


class Clock:
    """The guest's clock, which lies, and the true time."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def true(self) -> float:
        """Unix seconds by a clock that nobody steps."""
        return self._offset + time.monotonic()

    def lie(self, seconds: float, heart: Heart) -> None:
        """Be so far ahead of the true time, until the daemon has noticed it."""
        time.clock_settime(time.CLOCK_REALTIME, self.true() + seconds)
        assert abs(time.time() - self.true() - seconds) < 1
        heart.beat(2)  # the first may have been under way


class Roamer:
    """A registered client whose own clock is right, whatever the guest's says: it shares no kernel with the gateway."""

    def __init__(self, site: Site, number: int, clock: Clock, expires_at: int | None = None) -> None:
        self._site, self._clock = site, clock
        self._private_key = PrivateKey.generate()
        self.public_key = self._private_key.public()
        address = ipaddress.ip_network(f"10.8.1.{number}/32")
        site.registry.add([Peer(self.public_key, (address,), expires_at=expires_at)])

    def connects(self, timeout: float = 60.0) -> bool:
        """Knock once; whether a session came of it."""
        initiator = Initiator(self._private_key, self._site.server.public_key)
        with self._site.direct.socket() as udp:
            udp.settimeout(timeout)
            udp.sendto(initiator.initiate(1, Tai64n.from_unix(self._clock.true())), ("10.9.0.1", PORT))
            try:
                answer = udp.recv(2048)
            except TimeoutError:
                return False
        return answer[0] == RESPONSE and isinstance(initiator.consume_response(answer), SessionKeys)


@pytest.fixture
def clock() -> Iterator[Clock]:
    clock = Clock()
    yield clock
    time.clock_settime(time.CLOCK_REALTIME, clock.true())


def test_a_stepped_clock_drops_no_session_and_lets_nobody_in_who_may_not(lab: Lab, clock: Clock) -> None:
    site = Site(lab, "kernel")
    bystander = site.client()
    resident, new, newer = (Roamer(site, number, clock) for number in range(1, 4))
    expiring = Roamer(site, 4, clock, expires_at=int(clock.true() + HOUR / 2))
    heart = Heart(lab.folder / "notify")
    with (
        closing(heart.socket),
        Gateway(site.gateway, site.server.name, store=site.path, delivery="hold", through=heart.through) as gateway,
        gateway.feed() as feed,
    ):
        assert seamless(bystander.first_ping(INSIDE[0]))
        assert resident.connects()
        assert expiring.connects()
        with steady(bystander):
            clock.lie(HOUR, heart)
            assert resident.connects()
            assert new.connects()
            wait_for(lambda: expiring.public_key not in site.server.peers())  # by this clock its time has come
            assert not expiring.connects(timeout=0.5)
            assert feed.next(public_key=str(expiring.public_key), refusal="expired")

            clock.lie(-2 * HOUR, heart)  # further than a client may be ahead
            assert resident.connects(), "the kernel's own business"
            assert not newer.connects(timeout=0.5)
            assert feed.next(public_key=str(newer.public_key))["refusal"] == "future"
            assert newer.public_key not in site.server.peers()

            clock.lie(0, heart)
            assert newer.connects()
        assert set(site.server.peers()) == {one.public_key for one in (bystander, resident, new, newer)}
        status = gateway.status()
        assert status["departures"] == {"revoked": 1}
        assert status["faults"] == {}
    site.registry.close()

"""The gateway's clock is stepped while it serves: by hours, forward and back. Only a guest's clock may be used so."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Iterator

import pytest

from lab.netns import Lab
from tests.contracts.gateway_site import INSIDE, PORT, Site, seamless, wait_for
from tests.contracts.gateway_witness import steady
from wgjit.model import Peer, PrivateKey, Tai64n
from wgjit.wire.messages import RESPONSE
from wgjit.wire.noise import Initiator, SessionKeys

HOUR = 3600.0
NOTICED = 1.5
"""Seconds until the daemon has looked at the clock anew: a heartbeat and some."""


class Clock:
    """The guest's clock, which lies, and the true time."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def true(self) -> float:
        """Unix seconds by a clock that nobody steps."""
        return self._offset + time.monotonic()

    def lie(self, seconds: float) -> None:
        """Be so far ahead of the true time; what runs has a moment to notice."""
        time.clock_settime(time.CLOCK_REALTIME, self.true() + seconds)
        assert abs(time.time() - self.true() - seconds) < 1
        time.sleep(NOTICED)


class Roamer:
    """A registered client whose own clock is right, whatever the guest's says: it shares no kernel with the gateway."""

    def __init__(self, site: Site, number: int, clock: Clock, expires_at: int | None = None) -> None:
        self._site, self._clock = site, clock
        self._private_key = PrivateKey.generate()
        self.public_key = self._private_key.public()
        address = ipaddress.ip_network(f"10.8.1.{number}/32")
        site.registry.add([Peer(self.public_key, (address,), expires_at=expires_at)])

    def connects(self, timeout: float = 3.0) -> bool:
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
    with site.up("hold") as gateway, gateway.feed() as feed:
        assert seamless(bystander.first_ping(INSIDE[0]))
        assert resident.connects()
        assert expiring.connects()
        with steady(bystander):
            clock.lie(HOUR)
            assert resident.connects()
            assert new.connects()
            wait_for(lambda: expiring.public_key not in site.server.peers())  # by this clock its time has come
            assert not expiring.connects(timeout=0.5)
            assert feed.next(public_key=str(expiring.public_key), refusal="expired")

            clock.lie(-2 * HOUR)  # further than a client may be ahead
            assert resident.connects(), "the kernel's own business"
            assert not newer.connects(timeout=0.5)
            assert feed.next(public_key=str(newer.public_key))["refusal"] == "future"
            assert newer.public_key not in site.server.peers()

            clock.lie(0)
            assert newer.connects()
        assert set(site.server.peers()) == {one.public_key for one in (bystander, resident, new, newer)}
        status = gateway.status()
        assert status["departures"] == {"revoked": 1}
        assert status["faults"] == {}
    site.registry.close()

"""Floating peers with kernel WireGuard, and what only a guest has: a long way to the engine, and a clock to step."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from bench.roamer import Roamer, send
from lab.fleet.site import Fleet
from tests.contracts.fleet_engine import fleet as fleet
from tests.contracts.floating import FloatingContract, holder
from tests.contracts.gateway_site import LONG, seamless, wait_for

HOUR = 3600.0


class TestFloatingOnKernelWireGuard(FloatingContract):
    def test_the_engine_is_far_away(self, fleet: Fleet) -> None:
        a, b = fleet.members
        client = fleet.client(a)
        for member in fleet.members:
            member.link.delay(0.15)
        try:
            assert seamless(client.first_ping(a.inside))
            wait_for(lambda: holder(fleet, client) == "a")
            client.move(b)
            assert seamless(client.first_ping(b.inside))
            assert a.let_go(client.public_key, LONG) is not None
            new = fleet.client(b, known=False)
            assert seamless(new.first_ping(b.inside)), "the registry of record is asked within the hold deadline"
        finally:
            for member in fleet.members:
                member.link.delay(0.0)


class Clocks:
    """The guest's clock. The gateways share it, so it is stepped before a gateway's turn: that is when it counts."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def true(self) -> float:
        """Unix seconds by a clock that nobody steps: the clients'."""
        return self._offset + time.monotonic()

    def step(self, ahead: float) -> None:
        """Be so far ahead of the true time."""
        time.clock_settime(time.CLOCK_REALTIME, self.true() + ahead)


@pytest.fixture
def clocks() -> Iterator[Clocks]:
    clocks = Clocks()
    yield clocks
    clocks.step(0.0)


@pytest.mark.parametrize("apart", [5.0, -5.0, HOUR, -HOUR], ids=["5 s ahead", "5 s behind", "1 h ahead", "1 h behind"])
def test_a_client_moves_between_gateways_whose_clocks_are_apart(fleet: Fleet, clocks: Clocks, apart: float) -> None:
    """The second gateway's clock is that far ahead of the first one's; the client's own is right."""
    (a, b), machine = fleet.members, fleet.machine()
    roamer = Roamer(fleet, machine, clocks.true).register()
    recorded = roamer.initiation()
    time.sleep(0.05)
    assert seamless(roamer.connect(a))
    wait_for(lambda: holder(fleet, roamer) == "a")
    wait_for(lambda: b.claim(roamer.public_key) is not None)
    clocks.step(apart)
    with b.running.feed() as feed:
        send(machine, b, recorded)
        assert feed.next(public_key=str(roamer.public_key))["refusal"] == "stale"
    assert seamless(roamer.connect(b))
    assert a.let_go(roamer.public_key, LONG) is not None
    wait_for(lambda: holder(fleet, roamer) == "b")
    clocks.step(0.0)
    assert seamless(roamer.connect(a)), "and back"
    assert b.let_go(roamer.public_key, LONG) is not None
    wait_for(lambda: holder(fleet, roamer) == "a")

"""Floating peers with kernel WireGuard, and what only a guest has: a long way to the engine, and a clock to step."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from bench.roamer import Roamer, send
from lab.fleet.site import Fleet
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


@pytest.fixture
def true_time() -> Iterator[Callable[[], float]]:
    """A clock that nobody steps: Unix seconds. At the end the guest's clock shows them again."""
    offset = time.time() - time.monotonic()
    yield lambda: offset + time.monotonic()
    time.clock_settime(time.CLOCK_REALTIME, offset + time.monotonic())


@pytest.mark.parametrize("ahead", [5.0, HOUR], ids=["5 s", "1 h"])
def test_the_fleets_clock_is_stepped(fleet: Fleet, true_time: Callable[[], float], ahead: float) -> None:
    """Engine and gateways have one clock here, and it jumps ahead of the clients' between two knocks.

    Now each knock looks like an old recording. A client that is there tries again after 5 s, and so shows that it is.
    """
    a, b = fleet.members
    machine = fleet.machine()
    roamer = Roamer(fleet, machine, true_time).register()
    recorded = roamer.initiation()
    time.sleep(0.05)  # so that the next timestamp is greater
    assert seamless(roamer.connect(a))
    wait_for(lambda: holder(fleet, roamer) == "a")
    wait_for(lambda: b.claim(roamer.public_key) is not None)
    time.clock_settime(time.CLOCK_REALTIME, true_time() + ahead)
    with b.running.feed() as feed:
        send(machine, b, recorded)
        assert feed.next(public_key=str(roamer.public_key))["refusal"] == "stale"
    assert any(roamer.connect(b, timeout=5.0) is not None for _ in range(5))
    assert a.let_go(roamer.public_key, LONG) is not None
    wait_for(lambda: holder(fleet, roamer) == "b")

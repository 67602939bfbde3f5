"""Clients that the network leads to another gateway, with kernel WireGuard; and a clock that is a little behind."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from lab.fleet.engine import Engine
from lab.fleet.member import INSIDE
from lab.fleet.site import Fleet
from lab.fleet.traffic import Traffic
from lab.netns import Lab
from tests.contracts.floating import holder
from tests.contracts.gateway_site import wait_for
from tests.contracts.takeover import TakeoverContract, connect, start, takeovers


class TestTakeoverOnKernelWireGuard(TakeoverContract):
    pass


@pytest.fixture
def true_time() -> Iterator[Callable[[], float]]:
    """A clock that nobody steps: Unix seconds. At the end the guest's clock shows them again."""
    offset = time.time() - time.monotonic()
    yield lambda: offset + time.monotonic()
    time.clock_settime(time.CLOCK_REALTIME, offset + time.monotonic())


def test_the_next_gateways_clock_is_a_little_behind(lab: Lab, engine: Engine, true_time: Callable[[], float]) -> None:
    """By 100 ms. A client takes a call only if it seems newer than the one before, of whichever gateway."""
    with Fleet(lab, engine, "kernel") as pair:
        start(pair)
        a, b = pair.members
        client = pair.client()
        with Traffic(client.namespace, [(client.host, INSIDE)], every=0.05):
            connect(pair, [client])
            pair.serve_by(b)
            wait_for(lambda: holder(pair, client) == "b")
            time.clock_settime(time.CLOCK_REALTIME, time.time() - 0.1)
            pair.serve_by(a)
            wait_for(lambda: holder(pair, client) == "a")
        assert takeovers(a) == {"called": 1, "completed": 1}

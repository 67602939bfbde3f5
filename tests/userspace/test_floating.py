"""Floating peers with wireguard-go, and what has nothing to do with WireGuard: registry and clocks."""

from __future__ import annotations

import time

import pytest

from bench.roamer import Roamer, send
from lab.fleet.engine import Engine
from lab.fleet.site import Fleet
from lab.gateway import WGJIT
from lab.netns import Lab, run
from tests.contracts.floating import FloatingContract, holder
from tests.contracts.floating_registry import FloatingRegistryContract
from tests.contracts.gateway_site import LONG, seamless, wait_for

HOUR = 3600.0


class TestFloatingOnWireguardGo(FloatingContract):
    pass


class TestFloatingRegistry(FloatingRegistryContract):
    pass


@pytest.mark.parametrize("apart", [-5.0, HOUR, -HOUR], ids=["5 s behind", "1 h ahead", "1 h behind"])
def test_a_client_moves_between_gateways_whose_clocks_are_apart(lab: Lab, engine: Engine, apart: float) -> None:
    """The second gateway's clock is wrong, the engine's and the client's are right.

    Here the device's clock is right, too, so its last handshake confirms nothing, and the client must go on sending:
    a busy gateway may begin to await its packets after the first one.
    """
    with Fleet(lab, engine, "go") as fleet:
        a, b = fleet.members
        a.up()
        b.up(clock=apart)
        machine = fleet.machine()
        roamer = Roamer(fleet, machine).register()
        wait_for(lambda: abs((b.status()["registry"]["clock_offset"] or 0.0) + apart) < 1)
        recorded = roamer.initiation()
        time.sleep(0.05)  # so that the next timestamp is greater
        assert seamless(roamer.connect(a))
        wait_for(lambda: holder(fleet, roamer) == "a")
        wait_for(lambda: b.claim(roamer.public_key) is not None)
        with b.running.feed() as feed:
            send(machine, b, recorded)
            assert feed.next(public_key=str(roamer.public_key))["refusal"] == "stale"
        assert roamer.talk(b, lambda: holder(fleet, roamer) == "b")
        assert a.let_go(roamer.public_key, LONG) is not None
        holding = fleet.holding(roamer)
        assert holding is not None
        assert abs(holding.since - time.time()) < LONG, "the engine's time counts"
        assert seamless(roamer.connect(a)), "and back"
        assert b.let_go(roamer.public_key, LONG) is not None
        wait_for(lambda: holder(fleet, roamer) == "a")
        new = Roamer(fleet, machine).register()
        assert seamless(new.connect(b)), "one that no gateway has seen"
        wait_for(lambda: f"{apart:+.0f}." in row(engine, fleet, "b"))  # its second heartbeat tells


def row(engine: Engine, fleet: Fleet, name: str) -> str:
    """What `wgjit gateways` shows of one gateway."""
    table = run(*WGJIT, "gateways", env={"WGJIT_STORE_URL": engine.serving.url(fleet.database)})
    (line,) = [line for line in table.splitlines() if line.startswith(f"{name} ")]
    return line

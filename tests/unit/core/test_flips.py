"""The watch over flips: the gateway initiates, sets its keepalive back, and mends a race that both sides lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.unit.core.conftest import Client, Stage
from wgjit.core.delivery.flips import FRESH, KEEPALIVE, LOOKS, REPEAT
from wgjit.core.vocabulary.commands import Command, Configure, Install, ReadDevice
from wgjit.core.vocabulary.events import DeviceRead, Installed, RegistryChanged, Tick
from wgjit.core.vocabulary.told import FlipOutcome, Flipped, Vanished
from wgjit.model import Delivery, DevicePeer, PeerChange, Registration


@pytest.fixture
def stage(make_stage: Callable[..., Stage]) -> Stage:
    return make_stage(Delivery.FLIP)


def flip(stage: Stage, client: Client, keepalive: int = 0) -> None:
    peer = replace(client.peer, keepalive=keepalive)
    stage.arrive(client.packet(stage.wall))
    expected = PeerChange.install(peer, client.endpoint, keepalive or KEEPALIVE)
    assert stage.answer(Registration(peer)) == [Install(expected)]
    stage.hear(Installed(client.key))


def is_over(stage: Stage) -> bool:
    """No flip is watched any more."""
    deadline = stage.gateway.next_deadline()
    return deadline is None or deadline > stage.monotonic + 5


def look(stage: Stage, client: Client, last_handshake: float) -> list[Command]:
    """The next look at the device that the watch asks for, and what it makes of it."""
    deadline = stage.gateway.next_deadline()
    assert deadline is not None
    stage.wait(deadline - stage.monotonic)
    assert stage.hear(Tick()) == [ReadDevice()]
    assert stage.gateway.next_deadline() is None, "no second reading while the first is under way"
    seen = DevicePeer(client.key, client.peer.allowed_ips, last_handshake=last_handshake)
    return stage.hear(DeviceRead(stage.monotonic, [seen]))


def test_after_the_handshake_the_keepalive_is_set_back(stage: Stage, client: Client) -> None:
    flip(stage, client)
    assert look(stage, client, last_handshake=stage.wall) == [
        Configure((PeerChange(client.key, update_only=True, keepalive=0),)),
        Flipped(client.key, FlipOutcome.COMPLETED),
    ]
    assert is_over(stage)


def test_a_peer_with_a_keepalive_of_its_own_keeps_it(stage: Stage, client: Client) -> None:
    flip(stage, client, keepalive=KEEPALIVE)
    assert look(stage, client, last_handshake=stage.wall) == [Flipped(client.key, FlipOutcome.COMPLETED)]


def test_a_lost_race_is_run_again_and_then_left_to_the_client(stage: Stage, client: Client) -> None:
    flip(stage, client)
    started = stage.monotonic
    initiate = PeerChange.install(client.peer, client.endpoint, KEEPALIVE)
    for after in LOOKS[:-1]:
        again = (Configure((PeerChange(client.key, remove=True), initiate)), Flipped(client.key, FlipOutcome.REPEATED))
        assert look(stage, client, last_handshake=0.0) == (list(again) if after == REPEAT else [])
    assert look(stage, client, last_handshake=0.0) == [
        Configure((PeerChange(client.key, remove=True), PeerChange.install(client.peer))),
        Flipped(client.key, FlipOutcome.GIVEN_UP),
    ]
    assert stage.monotonic - started < 5
    assert is_over(stage)
    assert client.key in stage.gateway.residency


def test_the_second_try_completes(stage: Stage, client: Client) -> None:
    flip(stage, client)
    said = [command for after in LOOKS if after <= REPEAT for command in look(stage, client, last_handshake=0.0)]
    assert Flipped(client.key, FlipOutcome.REPEATED) in said
    assert look(stage, client, last_handshake=stage.wall) == [
        Configure((PeerChange(client.key, update_only=True, keepalive=0),)),
        Flipped(client.key, FlipOutcome.COMPLETED),
    ]
    assert is_over(stage)


def test_an_old_reading_is_no_reason_for_a_second_try(stage: Stage, client: Client) -> None:
    flip(stage, client)
    stage.wait(REPEAT)
    stage.hear(Tick())
    began = stage.monotonic
    stage.wait(FRESH * 2)  # what it did not see may be there by now
    before = DevicePeer(client.key, client.peer.allowed_ips, last_handshake=0.0)
    assert stage.hear(DeviceRead(began, [before])) == []
    assert Flipped(client.key, FlipOutcome.REPEATED) in look(stage, client, last_handshake=0.0)


def test_a_device_that_cannot_be_read_is_looked_at_until_it_can(stage: Stage, client: Client) -> None:
    flip(stage, client)
    for _ in range(20):
        deadline = stage.gateway.next_deadline()
        assert deadline is not None
        assert deadline > stage.monotonic, "no spinning"
        stage.wait(deadline - stage.monotonic)
        assert stage.hear(Tick()) == [ReadDevice()]
        assert stage.hear(DeviceRead(float("-inf"), [])) == []
    assert Flipped(client.key, FlipOutcome.GIVEN_UP) in look(stage, client, last_handshake=0.0)


def test_a_slow_reading_never_takes_a_session_that_came_up_meanwhile(stage: Stage, client: Client) -> None:
    flip(stage, client)
    stage.wait(LOOKS[3])
    stage.hear(Tick())
    began = stage.monotonic
    stage.wait(3)  # the reading ends long after the deadline, with what was true at its beginning
    before = DevicePeer(client.key, client.peer.allowed_ips, last_handshake=0.0)
    assert stage.hear(DeviceRead(began, [before])) == []
    assert Flipped(client.key, FlipOutcome.COMPLETED) in look(stage, client, last_handshake=1.0)


def test_a_peer_removed_meanwhile_is_not_put_back(stage: Stage, client: Client) -> None:
    flip(stage, client)
    stage.hear(RegistryChanged({client.key: None}))
    assert is_over(stage)


def test_a_peer_that_somebody_removed_is_watched_no_more(stage: Stage, client: Client) -> None:
    flip(stage, client)
    stage.wait(LOOKS[0])
    stage.hear(Tick())
    assert stage.hear(DeviceRead(stage.monotonic, [])) == [Vanished(1, ((client.key, client.peer.name),))]
    assert is_over(stage)


def test_a_peer_that_was_not_read_whole_is_looked_at_again(stage: Stage, client: Client) -> None:
    flip(stage, client)
    for _ in range(20):
        deadline = stage.gateway.next_deadline()
        assert deadline is not None
        stage.wait(deadline - stage.monotonic)
        assert stage.hear(Tick()) == [ReadDevice()]
        assert stage.hear(DeviceRead(stage.monotonic, [DevicePeer(client.key, is_whole=False)])) == []
    assert Flipped(client.key, FlipOutcome.COMPLETED) in look(stage, client, last_handshake=stage.wall)

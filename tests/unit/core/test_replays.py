"""The watch over replays: one of which no session came is followed by a flip, once, and nobody else is disturbed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.unit.core.conftest import START, Client, Stage
from wgjit.core.delivery.flips import KEEPALIVE, LOOKS
from wgjit.core.delivery.replays import AT_ONCE, CONFIRMED, FRESH, GIVEN_UP
from wgjit.core.settings import Pace
from wgjit.core.vocabulary.commands import Command, Configure, ReadDevice, Replay
from wgjit.core.vocabulary.events import DeviceRead, FollowUpDue, RegistryChanged, Tick
from wgjit.core.vocabulary.told import FlipOutcome, Flipped
from wgjit.model import Delivery, DevicePeer, PeerChange

PACE = Pace()


@pytest.fixture
def stage(make_stage: Callable[..., Stage]) -> Stage:
    stage = make_stage(Delivery.REPLAY)
    stage.hear(DeviceRead(stage.monotonic, ()))
    stage.wait(PACE.spacing)
    return stage


def seen(client: Client, handshake: float = 0.0) -> DevicePeer:
    return DevicePeer(client.key, client.peer.allowed_ips, last_handshake=handshake)


def next_look(stage: Stage) -> float:
    """Seconds until the device is read again; time goes on until then."""
    deadline = stage.gateway.next_deadline()
    assert deadline is not None
    seconds = deadline - stage.monotonic
    stage.wait(seconds)
    assert stage.hear(Tick()) == [ReadDevice()]
    return seconds


def look(stage: Stage, *peers: DevicePeer) -> list[Command]:
    next_look(stage)
    return stage.hear(DeviceRead(stage.monotonic, peers))


def again(client: Client) -> list[Command]:
    initiate = PeerChange.install(client.peer, client.endpoint, KEEPALIVE)
    return [Configure((PeerChange(client.key, remove=True), initiate)), Flipped(client.key, FlipOutcome.REPEATED)]


def is_over(stage: Stage) -> bool:
    deadline = stage.gateway.next_deadline()
    return deadline is None or deadline > stage.monotonic + 5


def test_a_session_that_came_up_is_left_alone(stage: Stage, client: Client) -> None:
    assert Replay(1) in stage.install(client)
    assert next_look(stage) == pytest.approx(CONFIRMED)
    assert stage.hear(DeviceRead(stage.monotonic, [seen(client, START)])) == []
    assert is_over(stage)


def test_a_replay_of_which_no_session_came_is_followed_by_a_flip(stage: Stage, client: Client) -> None:
    stage.install(client)
    assert look(stage, seen(client)) == again(client)
    assert look(stage, seen(client, START)) == [
        Configure((PeerChange(client.key, update_only=True, keepalive=0),)),
        Flipped(client.key, FlipOutcome.COMPLETED),
    ]
    assert is_over(stage)


def test_that_flip_is_not_run_again(stage: Stage, client: Client) -> None:
    stage.install(client)
    assert look(stage, seen(client)) == again(client)
    for _ in LOOKS[:-1]:
        assert look(stage, seen(client)) == []
    assert look(stage, seen(client)) == [
        Configure((PeerChange(client.key, remove=True), PeerChange.install(client.peer))),
        Flipped(client.key, FlipOutcome.GIVEN_UP),
    ]
    assert is_over(stage)


def test_a_look_before_its_time_decides_nothing(stage: Stage, client: Client) -> None:
    other = stage.client(2)
    stage.install(other)
    stage.wait(CONFIRMED / 2)
    stage.install(client)
    assert look(stage, seen(other, START), seen(client)) == []
    assert next_look(stage) == pytest.approx(PACE.spacing), "not more often than any look"
    assert stage.hear(DeviceRead(stage.monotonic, [seen(other, START), seen(client)])) == again(client)


def test_the_clients_own_retry_ends_the_watch(stage: Stage, client: Client) -> None:
    stage.install(client)
    stage.wait(CONFIRMED / 2)
    stage.arrive(client.packet(stage.wall))
    stage.hear(FollowUpDue(stage.numbers))
    assert is_over(stage)


@pytest.mark.parametrize("gone", [True, False])
def test_a_peer_that_was_removed_is_not_put_back(stage: Stage, client: Client, gone: bool) -> None:
    stage.install(client)
    if gone:
        assert not any(isinstance(command, Configure) for command in look(stage))
    else:
        stage.hear(RegistryChanged({client.key: None}))
    assert not any(isinstance(command, Configure) for command in stage.hear(DeviceRead(stage.monotonic, ())))


def test_an_old_reading_puts_nothing_at_risk(stage: Stage, client: Client) -> None:
    stage.install(client)
    end = stage.monotonic + GIVEN_UP
    began = 0.0
    while began < end:
        next_look(stage)
        began = stage.monotonic
        stage.wait(2 * FRESH)
        assert stage.hear(DeviceRead(began, [seen(client)])) == []
    assert look(stage, seen(client)) == [], "its client has tried again by then, or is not there"


def test_looks_that_take_long_are_made_as_seldom_as_any(stage: Stage, client: Client) -> None:
    stage.install(client)
    next_look(stage)
    stage.hear(DeviceRead(stage.monotonic, [DevicePeer(client.key, is_whole=False)], took=0.2))
    assert next_look(stage) == pytest.approx(0.2 * PACE.share)
    assert stage.hear(DeviceRead(stage.monotonic, [seen(client)])) == again(client)


def test_a_peer_that_was_not_read_whole_is_looked_at_again(stage: Stage, client: Client) -> None:
    stage.install(client)
    assert look(stage, DevicePeer(client.key, is_whole=False)) == []
    assert look(stage, seen(client)) == again(client)


def test_many_that_fail_at_once_are_not_all_taken_out(stage: Stage) -> None:
    """It is the path then, and each removal costs the loop milliseconds."""
    clients = [stage.client(number) for number in range(1, 3 * AT_ONCE)]
    for client in clients:
        stage.install(client)
    commands = look(stage, *map(seen, clients))
    assert [c.key for c in commands if isinstance(c, Flipped)] == [client.key for client in clients[:AT_ONCE]]

"""Residents that knock again and again, and never complete a handshake; and residents that somebody else took out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.unit.core.conftest import START, Client, Stage
from tests.unit.core.test_upkeep import follow_up, install, look, seen
from wgjit.core.residents.completion import AGAIN, LEAST, QUIET, WITHIN
from wgjit.core.vocabulary.commands import Command
from wgjit.core.vocabulary.events import DeviceRead, RegistryChanged
from wgjit.core.vocabulary.told import NotCompleted, Revocation, Revoked, Vanished
from wgjit.model import Delivery, DevicePeer, PresharedKey, PrivateKey


@pytest.fixture
def stage(make_stage: Callable[..., Stage]) -> Stage:
    """Looks are not missed: there is nobody else on the interface."""
    stage = make_stage(Delivery.NONE)
    stage.hear(DeviceRead(stage.monotonic, ()))
    return stage


def knocks(stage: Stage, client: Client, times: int, pause: float = 5.2) -> list[Command]:
    """A client's retries, and looks after each that show no handshake."""
    commands: list[Command] = []
    for _ in range(times):
        stage.wait(pause)
        stage.arrive(client.packet(stage.wall))
        follow_up(stage)
        commands += reading(stage, seen(client))
    return commands


def reading(stage: Stage, *peers: DevicePeer) -> list[Command]:
    """A look that shows these peers. It begins a moment after what came before."""
    stage.wait(0.01)
    return [*stage.gateway._upkeep.looks.read_device(), *stage.hear(DeviceRead(stage.monotonic, peers))]


def not_completed(commands: list[Command]) -> list[NotCompleted]:
    return [command for command in commands if isinstance(command, NotCompleted)]


def test_the_third_knock_without_a_handshake_is_told_with_what_tells_the_cause(stage: Stage, client: Client) -> None:
    install(stage, client)
    assert not_completed(knocks(stage, client, 1)) == []
    stage.wait(WITHIN - 5.2)
    (told,) = not_completed(knocks(stage, client, 1))
    assert told == NotCompleted(
        client.key,
        client.peer.name,
        client.endpoint,
        LEAST,
        has_preshared_key=False,
        was_up=False,
        others_complete=False,
    )


def test_it_is_told_again_in_a_minute_and_not_at_each_knock(stage: Stage, client: Client) -> None:
    install(stage, client)
    told = not_completed(knocks(stage, client, 12))
    assert [one.knocks for one in told] == [4]
    more = not_completed(knocks(stage, client, round(AGAIN / 5.2)))
    assert len(more) == 1
    assert more[0].knocks > told[0].knocks
    assert not more[0].over


def test_a_completed_handshake_ends_it_and_that_is_told_once(stage: Stage, client: Client) -> None:
    install(stage, client)
    assert not_completed(knocks(stage, client, 3)) != []
    (over,) = not_completed(reading(stage, seen(client, stage.wall)))
    assert over.over
    assert not_completed(reading(stage, seen(client, stage.wall))) == []


@pytest.mark.parametrize("pause", [15.0, 120.0])
def test_a_client_that_completes_each_handshake_is_never_told_of(stage: Stage, client: Client, pause: float) -> None:
    install(stage, client)
    for _ in range(6):
        stage.wait(pause)
        stage.arrive(client.packet(stage.wall))
        follow_up(stage)
        assert not_completed(reading(stage, seen(client, stage.wall))) == []


def test_a_preshared_key_that_changes_under_a_session_is_told_of_too(stage: Stage, client: Client) -> None:
    install(stage, client)
    began = stage.wall
    reading(stage, seen(client, began))
    psk = PresharedKey(b"\x05" * 32)
    stage.hear(RegistryChanged({client.key: client.registration(stage.wall, preshared_key=psk)}))
    shown = replace(seen(client, began), preshared_key=psk)
    told: list[Command] = []
    for _ in range(4):
        stage.wait(5.2)
        stage.arrive(client.packet(stage.wall))
        follow_up(stage)
        told += reading(stage, shown)
    (one,) = not_completed(told)
    assert (one.was_up, one.has_preshared_key) == (True, True)


def test_others_that_complete_meanwhile_are_noted(stage: Stage, client: Client) -> None:
    """Then the way out of this machine works, and it is this peer's own trouble."""
    other = stage.client(2)
    install(stage, client)
    install(stage, other)
    told: list[Command] = []
    for _ in range(3):
        stage.wait(5.2)
        stage.arrive(client.packet(stage.wall))
        follow_up(stage)
        told += reading(stage, seen(client), seen(other, START))
    (one,) = not_completed(told)
    assert one.others_complete


def test_old_and_forged_knocks_do_not_count(stage: Stage, client: Client) -> None:
    """Nobody who lacks the private key can have a peer told of."""
    install(stage, client)
    recorded = client.packet(stage.wall)
    for _ in range(6):
        stage.wait(5.2)
        stage.arrive(recorded)
        follow_up(stage)
        assert not_completed(reading(stage, seen(client))) == []


def test_a_client_that_gives_up_is_over(stage: Stage, client: Client) -> None:
    install(stage, client)
    assert not_completed(knocks(stage, client, 3)) != []
    stage.wait(QUIET)
    told = not_completed(reading(stage, seen(client)))
    assert [one.over for one in told] == [True]
    assert len(stage.gateway._upkeep.state.completion) == 0


def test_who_leaves_is_forgotten(stage: Stage, client: Client) -> None:
    install(stage, client)
    knocks(stage, client, 1)
    stage.hear(RegistryChanged({client.key: None}))
    assert len(stage.gateway._upkeep.state.completion) == 0


# --- somebody else took residents out ---------------------------------------------------------------------------


def vanished(commands: list[Command]) -> list[Vanished]:
    return [command for command in commands if isinstance(command, Vanished)]


def test_residents_that_somebody_took_out_are_counted_and_the_first_are_named(stage: Stage) -> None:
    clients = [stage.client(number) for number in range(1, 6)]
    for client in clients:
        install(stage, client)
    (told,) = vanished(look(stage))
    assert told.number == 5
    assert told.some == tuple((client.key, client.peer.name) for client in clients[:3])
    assert vanished(look(stage)) == []


def test_a_foreign_peer_that_its_owner_takes_out_is_no_trouble(stage: Stage) -> None:
    foreign = DevicePeer(PrivateKey(b"\x07" * 32).public())
    reading(stage, foreign)
    assert vanished(reading(stage)) == []


def test_a_peer_that_the_gateway_took_out_itself_has_not_vanished(stage: Stage, client: Client) -> None:
    install(stage, client)
    commands = stage.hear(RegistryChanged({client.key: None}))
    assert Revoked(client.key, client.peer.name, Revocation.REMOVED) in commands
    assert vanished(reading(stage)) == []

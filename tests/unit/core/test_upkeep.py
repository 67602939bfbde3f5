"""Residents without a knock: who leaves, when, and who does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.core.conftest import START, Client, Stage
from wgjit.core.settings import Pace
from wgjit.core.vocabulary.commands import (
    Command,
    Configure,
    Evict,
    Install,
    Lookup,
    ReadDevice,
    Recheck,
    Release,
    SaveClaim,
)
from wgjit.core.vocabulary.events import ClaimsSaved, DeviceRead, Evicted, FollowUpDue, Installed, RegistryChanged, Tick
from wgjit.core.vocabulary.told import Arrival, Came, Departure, Left, Tell
from wgjit.model import NEVER, Delivery, DevicePeer, PeerChange, PrivateKey
from wgjit.record import Decision
from wgjit.refusal import Refusal

PACE = Pace()


def seen(client: Client, handshake: float = 0.0, rx_bytes: int = 0) -> DevicePeer:
    return DevicePeer(client.key, client.peer.allowed_ips, last_handshake=handshake, rx_bytes=rx_bytes)


def installed(stage: Stage, client: Client) -> list[Command]:
    """The device has done it, and the registry has the claim."""
    commands = stage.hear(Installed(client.key))
    stage.hear(ClaimsSaved(tuple(c.claim for c in commands if isinstance(c, SaveClaim))))
    return commands


def install(stage: Stage, client: Client) -> None:
    """A whole first knock that goes well, to its end."""
    stage.arrive(client.packet(stage.wall))
    stage.answer(client.registration())
    installed(stage, client)


def follow_up(stage: Stage) -> None:
    """The last knock is proven, and the registry has the claim."""
    commands = stage.hear(FollowUpDue(stage.numbers))
    stage.hear(ClaimsSaved(tuple(c.claim for c in commands if isinstance(c, SaveClaim))))


def look(stage: Stage, *peers: DevicePeer) -> list[Command]:
    """The next look that is called for, and what comes of it."""
    while True:
        deadline = stage.gateway.next_deadline()
        assert deadline is not None
        stage.wait(max(0.0, deadline - stage.monotonic))
        if ReadDevice() in stage.hear(Tick()):
            return stage.hear(DeviceRead(stage.monotonic, peers))


def looks_until(stage: Stage, seconds: float, *peers: DevicePeer) -> list[Command]:
    """All looks of the next so many seconds, each showing the same; what they led to."""
    end, commands = stage.monotonic + seconds, []
    while stage.monotonic < end:
        commands += look(stage, *peers)
    return commands


@pytest.fixture
def stage(make_stage: Callable[..., Stage]) -> Stage:
    """What is told of a replay that fails is in test_replays.py; here nothing is put back."""
    stage = make_stage(Delivery.NONE)
    stage.hear(DeviceRead(stage.monotonic, ()))
    return stage


# --- idle ---------------------------------------------------------------------------------------------------------


def test_an_idle_resident_leaves_after_its_idle_time(stage: Stage, client: Client) -> None:
    install(stage, client)
    assert Evict((client.key,)) not in looks_until(stage, 870.0, seen(client, START, 180))
    assert Evict((client.key,)) in looks_until(stage, 3 * PACE.interval, seen(client, START, 180))
    assert stage.hear(Evicted((client.key,), frozenset(), 0.001)) == [
        Left(client.key, Departure.IDLE, client.peer.name)
    ]
    assert client.key not in stage.gateway.residency


def test_data_without_a_handshake_that_we_saw_keeps_it(stage: Stage, client: Client) -> None:
    """This side began the handshakes: the feed shows none of them."""
    install(stage, client)
    for minute in range(60):
        assert looks_until(stage, 60.0, seen(client, START, 1000 * minute)) == []


def test_its_own_idle_time_counts_before_the_gateways_and_pinned_is_for_ever(stage: Stage) -> None:
    quick, pinned = stage.client(1), stage.client(2)
    for client, idle_timeout in ((quick, 300), (pinned, NEVER)):
        stage.arrive(client.packet(stage.wall))
        stage.answer(client.registration(idle_timeout=idle_timeout))
        installed(stage, client)
    both = seen(quick, START), seen(pinned, START)
    assert Evict((quick.key,)) in looks_until(stage, 300 + 2 * PACE.interval, *both)
    stage.hear(Evicted((quick.key,), frozenset(), 0.001))
    assert looks_until(stage, 100_000.0, seen(pinned, START)) == []


def test_a_changed_idle_time_takes_effect(stage: Stage, client: Client) -> None:
    install(stage, client)
    stage.hear(RegistryChanged({client.key: client.registration(START, idle_timeout=NEVER)}))
    assert looks_until(stage, 2000.0, seen(client, START)) == []
    stage.hear(RegistryChanged({client.key: client.registration(START, idle_timeout=180)}))
    assert Evict((client.key,)) in looks_until(stage, PACE.interval, seen(client, START))


@pytest.mark.parametrize("step", [-86400.0, 86400.0])
def test_a_stepped_clock_neither_evicts_nor_keeps_anybody(stage: Stage, client: Client, step: float) -> None:
    install(stage, client)
    stage.wall += step
    assert Evict((client.key,)) not in looks_until(stage, 870.0, seen(client, START, 180))
    assert Evict((client.key,)) in looks_until(stage, 3 * PACE.interval, seen(client, START, 180))


def test_a_knock_calls_back_who_was_about_to_leave(stage: Stage) -> None:
    clients = [stage.client(number) for number in (1, 2)]
    for client in clients:
        install(stage, client)
    idle = [seen(client, START) for client in clients]
    commands = looks_until(stage, 900.0 + 2 * PACE.interval, *idle)
    (evict,) = (command for command in commands if isinstance(command, Evict))
    assert len(evict.keys) == 1, "the first batch is small, the other waits"
    (waiting,) = (client for client in clients if client.key not in evict.keys)
    assert [type(c).__name__ for c in stage.arrive(waiting.packet(stage.wall), held=True)] == ["Release", "FollowUp"]
    follow_up(stage)
    stage.hear(Evicted(evict.keys, frozenset(), 0.0))
    assert waiting.key in stage.gateway.residency
    assert looks_until(stage, 60.0, seen(waiting, START)) == []


def test_a_knock_of_who_is_being_removed_waits_and_is_then_looked_up(stage: Stage, client: Client) -> None:
    install(stage, client)
    assert Evict((client.key,)) in looks_until(stage, 1000.0, seen(client, START))
    assert stage.arrive(client.packet(stage.wall), held=True) == []
    assert stage.hear(Evicted((client.key,), frozenset(), 0.02))[-1] == Lookup(stage.numbers, client.key)
    assert [type(c) for c in stage.answer(client.registration())] == [Install]
    assert Release(stage.numbers) in stage.hear(Installed(client.key))


def test_a_removal_that_failed_leaves_the_resident_as_it_was(stage: Stage, client: Client) -> None:
    install(stage, client)
    looks_until(stage, 1000.0, seen(client, START))
    stage.arrive(client.packet(stage.wall), held=True)
    commands = stage.hear(Evicted((client.key,), frozenset({client.key}), 0.02))
    assert client.key in stage.gateway.residency
    assert commands == [Lookup(stage.numbers, client.key)]
    told = stage.answer(client.registration())[-1]
    assert isinstance(told, Tell)
    assert told.record.decision is Decision.RESIDENT


def test_an_eviction_waits_while_an_install_is_made(stage: Stage) -> None:
    idle, new = stage.client(1), stage.client(2)
    install(stage, idle)
    looks_until(stage, 870.0, seen(idle, START))
    stage.wait(PACE.interval)
    stage.hear(Tick())
    stage.arrive(new.packet(stage.wall))
    stage.answer(new.registration())
    assert stage.hear(DeviceRead(stage.monotonic, [seen(idle, START)])) == []
    installed(stage, new)
    assert stage.hear(Tick()) == [Evict((idle.key,))]


def test_who_was_not_read_whole_is_there_and_is_not_judged(stage: Stage, client: Client) -> None:
    install(stage, client)
    looks_until(stage, 100.0, seen(client, START, 5))
    cut = DevicePeer(client.key, is_whole=False)
    assert looks_until(stage, 2000.0, cut) == []
    resident = stage.gateway.residency.get(client.key)
    assert resident is not None
    assert (resident.allowed_ips, resident.handshake, resident.rx_bytes) == (client.peer.allowed_ips, START, 5)
    assert look(stage, seen(client, START, 5)) == [Evict((client.key,))]


def test_somebody_elses_peer_is_known_once_it_is_read_whole(stage: Stage, client: Client) -> None:
    stage.hear(DeviceRead(stage.monotonic, ()))
    assert look(stage, DevicePeer(client.key, is_whole=False)) == []
    assert client.key not in stage.gateway.residency
    assert look(stage, seen(client, START)) == [Came(client.key, Arrival.FOUND), Recheck((client.key,))]
    assert client.key in stage.gateway.residency


# --- unconfirmed ------------------------------------------------------------------------------------------------


def test_a_handshake_that_is_never_completed_leaves_soon(stage: Stage, client: Client) -> None:
    install(stage, client)
    began = stage.monotonic
    assert look(stage, seen(client, 0.0, 148)) == [Evict((client.key,))]
    assert 15.0 <= stage.monotonic - began < 15.0 + PACE.spacing
    assert stage.hear(Evicted((client.key,), frozenset(), 0.0)) == [
        Left(client.key, Departure.UNCONFIRMED, client.peer.name)
    ]


def test_who_still_knocks_is_given_more_time(stage: Stage, client: Client) -> None:
    install(stage, client)
    stage.wait(10)
    stage.arrive(client.packet(stage.wall))
    follow_up(stage)
    knocked = stage.monotonic
    assert looks_until(stage, 14.0, seen(client)) == [Evict((client.key,))]
    assert stage.monotonic - knocked >= 15.0


def test_a_completed_handshake_is_not_unconfirmed(stage: Stage, client: Client) -> None:
    install(stage, client)
    assert looks_until(stage, 100.0, seen(client, START)) == []


@pytest.mark.parametrize(("took", "apart"), [(0.1, 15.0), (1.0, PACE.share), (100.0, PACE.longest)])
def test_a_look_that_takes_long_is_followed_by_a_long_time_without_one(
    stage: Stage, client: Client, took: float, apart: float
) -> None:
    """An unconfirmed peer asks for a look after 15 s; but not more often than looks may be."""
    stage.wait(200.0)
    stage.hear(Tick())
    stage.hear(DeviceRead(stage.monotonic, (), took=took))
    install(stage, client)
    began = stage.monotonic
    look(stage, seen(client, START))
    assert apart <= stage.monotonic - began < apart + PACE.spacing


# --- room -------------------------------------------------------------------------------------------------------


@pytest.fixture
def small(make_stage: Callable[..., Stage]) -> Stage:
    stage = make_stage(capacity=2)
    stage.hear(DeviceRead(stage.monotonic, ()))
    return stage


def test_the_longest_idle_leaves_when_another_needs_its_place(small: Stage) -> None:
    first, second, third = (small.client(number) for number in (1, 2, 3))
    install(small, first)
    small.wait(1)
    install(small, second)
    looks_until(small, 200.0, seen(first, START, 1), seen(second, START, 2))
    small.arrive(third.packet(small.wall), held=True)
    assert small.answer(third.registration()) == []
    knock = small.numbers
    assert look(small, seen(first, START, 1), seen(second, START, 2)) == [Evict((first.key,))]
    assert small.hear(Evicted((first.key,), frozenset(), 0.0)) == [
        Left(first.key, Departure.ROOM, first.peer.name),
        Lookup(knock, third.key),
    ]
    assert [type(c) for c in small.answer(third.registration(), knock)] == [Install]


def test_full_when_nobody_may_leave(small: Stage) -> None:
    for number in (1, 2):
        install(small, small.client(number))
    third = small.client(3)
    small.wait(PACE.spacing)
    small.arrive(third.packet(small.wall), held=True)
    assert small.answer(third.registration()) == []
    busy = [seen(small.client(number), START, 1) for number in (1, 2)]
    *_, release, told = look(small, *busy)
    assert isinstance(release, Release)
    assert isinstance(told, Tell)
    assert told.record.refusal is Refusal.FULL
    small.wait(0.1)
    small.arrive(third.packet(small.wall), held=True)
    told = small.answer(third.registration())[-1]
    assert isinstance(told, Tell), "it is known by now that nobody may leave"
    assert told.record.refusal is Refusal.FULL


def test_foreign_peers_take_room_and_are_never_pushed_out(small: Stage, client: Client) -> None:
    foreign = [DevicePeer(PrivateKey(bytes([n]) * 32).public()) for n in (0x71, 0x72)]
    found = {Came(peer.public_key, Arrival.FOUND) for peer in foreign}
    assert set(looks_until(small, 1000.0, *foreign)) == {*found, Recheck(tuple(peer.public_key for peer in foreign))}
    small.arrive(client.packet(small.wall))
    small.answer(client.registration())
    told = looks_until(small, 1.0, *foreign)[-1]
    assert isinstance(told, Tell)
    assert told.record.refusal is Refusal.FULL


def test_some_room_is_kept_before_it_is_needed(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage(capacity=64)
    stage.hear(DeviceRead(stage.monotonic, ()))
    clients = [stage.client(number) for number in range(1, 65)]
    for client in clients:
        install(stage, client)
    crowd = [seen(client, START) for client in clients]
    (evict,) = (c for c in looks_until(stage, PACE.session + 2 * PACE.interval, *crowd) if isinstance(c, Evict))
    assert len(evict.keys) == 1


# --- expiry, and who does not belong ----------------------------------------------------------------------------


def test_a_resident_that_expires_loses_its_session_at_that_moment(stage: Stage, client: Client) -> None:
    stage.arrive(client.packet(stage.wall))
    stage.answer(client.registration(expires_at=int(START) + 20))
    installed(stage, client)
    stage.wait(10)
    assert stage.hear(Tick()) == []
    deadline = stage.gateway.next_deadline()
    assert deadline is not None
    stage.wait(deadline - stage.monotonic)
    stage.hear(Tick())
    stage.wait(START + 20.01 - stage.wall)
    commands = looks_until_gone(stage, client)
    assert Configure((PeerChange(client.key, update_only=True, allowed_ips=()),)) in commands
    assert Evict((client.key,)) in commands


def looks_until_gone(stage: Stage, client: Client) -> list[Command]:
    commands = list(stage.hear(Tick()))
    while client.key in stage.gateway.residency:
        commands += look(stage, seen(client, START))
    return commands


def test_an_expiry_that_was_moved_is_followed(stage: Stage, client: Client) -> None:
    stage.arrive(client.packet(stage.wall))
    stage.answer(client.registration(expires_at=int(START) + 20))
    installed(stage, client)
    stage.hear(RegistryChanged({client.key: client.registration(START, expires_at=int(START) + 200)}))
    stage.wait(100)
    stage.hear(Tick())
    assert client.key in stage.gateway.residency
    stage.wait(101)
    stage.hear(Tick())
    assert client.key not in stage.gateway.residency


@pytest.mark.parametrize("exclusive", [False, True])
def test_foreign_peers_leave_with_exclusive_only(make_stage: Callable[..., Stage], exclusive: bool) -> None:
    stage = make_stage(exclusive=exclusive)
    foreign = PrivateKey(b"\x77" * 32).public()
    assert stage.hear(DeviceRead(stage.monotonic, [DevicePeer(foreign)])) == [
        Came(foreign, Arrival.FOUND),
        Recheck((foreign,)),
    ]
    commands = stage.hear(RegistryChanged({foreign: None}, rechecked=True))
    assert (Evict((foreign,)) in commands) is exclusive
    assert (foreign in stage.gateway.residency) is not exclusive


def test_a_peer_that_is_registered_later_is_the_registrys_from_then_on(stage: Stage, client: Client) -> None:
    by_hand = seen(client, START)
    for _ in range(3):
        assert look(stage, by_hand)[-1:] == [Recheck((client.key,))], "asked for again and again"
        stage.hear(RegistryChanged({client.key: None}, rechecked=True))
    look(stage, by_hand)
    stage.hear(RegistryChanged({client.key: client.registration()}, rechecked=True))
    assert Evict((client.key,)) in looks_until(stage, 1000.0, by_hand)


# --- a look in parts --------------------------------------------------------------------------------------------


def test_a_look_may_come_in_parts(stage: Stage) -> None:
    clients = [stage.client(number) for number in (1, 2, 3)]
    for client in clients:
        install(stage, client)
    stage.wait(PACE.interval)
    assert stage.hear(Tick()) == [ReadDevice()]
    began = stage.monotonic
    assert stage.hear(DeviceRead(began, [seen(clients[0], START)], more=True)) == []
    assert len(stage.gateway.residency) == 3
    stage.hear(DeviceRead(began, [seen(clients[1], START)]))
    assert len(stage.gateway.residency) == 2, "the third is gone"


def test_a_look_that_fails_in_the_middle_takes_nobody(stage: Stage, client: Client) -> None:
    install(stage, client)
    stage.wait(PACE.interval)
    stage.hear(Tick())
    stage.hear(DeviceRead(stage.monotonic, [], more=True))
    stage.hear(DeviceRead(float("-inf"), []))
    assert client.key in stage.gateway.residency
    assert look(stage, seen(client, START)) == []


def test_a_postponed_change_is_made_up_for_if_the_removal_fails(stage: Stage, client: Client) -> None:
    install(stage, client)
    looks_until(stage, 1000.0, seen(client, START))
    changed: Any = client.registration(START, keepalive=25)
    assert stage.hear(RegistryChanged({client.key: changed})) == []
    (configure,) = stage.hear(Evicted((client.key,), frozenset({client.key}), 0.02))
    assert configure == Configure((PeerChange.update(changed.peer),))

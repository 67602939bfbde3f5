"""Pinned peers, as transcripts: the daemon names those that are not in the device, and the core installs them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.unit.core.conftest import START, Client, Stage
from wgjit.core.vocabulary.commands import (
    AwaitData,
    Command,
    Evict,
    Hold,
    Install,
    ReadDevice,
    Recheck,
    Release,
    SaveClaim,
    SayHolding,
)
from wgjit.core.vocabulary.events import (
    ClaimsSaved,
    Confirmed,
    DeviceRead,
    Drain,
    Evicted,
    FollowUpDue,
    HeldElsewhere,
    Installed,
    LookedUp,
    Pinned,
    RegistryChanged,
    Tick,
    Undrain,
)
from wgjit.core.vocabulary.told import Arrival, Came, Departure, Left, PinsAbsent, Tell
from wgjit.model import NEVER, Delivery, DevicePeer, Endpoint, Holding, PeerChange, Registration, Tai64n
from wgjit.record import Decision
from wgjit.refusal import Refusal

IN_A_FLEET = {"fleet": True, "epoch": 7}


def pinned(client: Client, **changes: object) -> Registration:
    return client.registration(idle_timeout=NEVER, **changes)


def held(client: Client, gateway: str, until: float | None = None) -> Holding:
    return Holding(client.key, Tai64n.from_unix(START - 60), 0, gateway, 1, client.endpoint, START - 60, until)


def installs(commands: list[Command]) -> list[PeerChange]:
    return [command.change for command in commands if isinstance(command, Install)]


def of(commands: list[Command], kind: type) -> list[Command]:
    return [command for command in commands if isinstance(command, kind)]


def test_a_pinned_peer_is_installed_without_a_knock_and_stays(stage: Stage, client: Client) -> None:
    registration = pinned(client)
    assert stage.hear(Pinned((registration,))) == [Install(PeerChange.install(registration.peer))]
    assert stage.hear(Installed(client.key)) == [Came(client.key, Arrival.PINNED)]
    stage.wait(100_000)
    stage.hear(DeviceRead(stage.monotonic, [DevicePeer(client.key, client.peer.allowed_ips)]))
    assert client.key in stage.gateway.residency
    assert stage.hear(Pinned((registration,))) == [], "it is there"


def test_it_gets_the_endpoint_where_it_was_last_proven_so_that_this_side_can_begin(
    stage: Stage, client: Client
) -> None:
    registration = replace(client.registration(START - 9, idle_timeout=NEVER))
    (change,) = installs(stage.hear(Pinned((registration,))))
    assert change.endpoint == client.endpoint


def test_an_endpoint_of_a_link_is_not_used(stage: Stage, client: Client) -> None:
    client.endpoint = Endpoint(b"\xfe\x80" + bytes(13) + b"\x01", 4000, 3)
    (change,) = installs(stage.hear(Pinned((client.registration(START - 9, idle_timeout=NEVER),))))
    assert change.endpoint is None


@pytest.mark.parametrize("changes", [{"enabled": False}, {"expires_at": int(START)}, {"idle_timeout": None}])
def test_a_peer_that_may_not_connect_or_is_not_pinned_any_more_is_not_installed(
    stage: Stage, client: Client, changes: dict[str, object]
) -> None:
    registration = replace(pinned(client), peer=replace(pinned(client).peer, **changes))  # type: ignore[arg-type]
    assert stage.hear(Pinned((registration,))) == []


def test_a_change_during_the_install_is_looked_up(stage: Stage, client: Client) -> None:
    stage.hear(Pinned((pinned(client),)))
    stage.hear(RegistryChanged({client.key: pinned(client, enabled=False)}))
    assert stage.hear(Installed(client.key)) == [Came(client.key, Arrival.PINNED), Recheck((client.key,))]


def test_a_knock_that_comes_during_the_install_is_answered_with_it(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage(Delivery.HOLD)
    client = stage.client()
    stage.hear(Pinned((pinned(client),)))
    stage.arrive(client.packet(), held=True)
    assert stage.answer(pinned(client)) == []
    commands = stage.hear(Installed(client.key))
    assert of(commands, Release) == [Release(1)]
    assert of(commands, Came) == [Came(client.key, Arrival.INSTALLED)]
    (told,) = of(commands, Tell)
    assert isinstance(told, Tell)
    assert told.record.decision is Decision.INSTALLED


def test_an_old_recording_is_refused_by_the_claim(stage: Stage, client: Client) -> None:
    stage.hear(Pinned((client.registration(START, idle_timeout=NEVER),)))
    stage.hear(Installed(client.key))
    stage.arrive(client.packet(START - 5))
    (told,) = of(stage.hear(FollowUpDue(1)), Tell)
    assert isinstance(told, Tell)
    assert told.record.refusal is Refusal.STALE


# --- what is in the way ---------------------------------------------------------------------------------------


def test_a_foreign_peers_address_is_not_taken_and_that_is_told_once(stage: Stage, client: Client) -> None:
    other = stage.client(9)
    stage.hear(DeviceRead(stage.monotonic, [DevicePeer(other.key, client.peer.allowed_ips)]))
    stage.wait(1)
    conflict = PinsAbsent({Refusal.CONFLICT: 1})
    assert stage.hear(Pinned((pinned(client),))) == [conflict]
    assert stage.hear(Pinned((pinned(client),))) == [], "told before"
    stage.wait(10)
    stage.hear(DeviceRead(stage.monotonic, []))
    assert len(installs(stage.hear(Pinned((pinned(client),))))) == 1
    stage.hear(Installed(client.key))
    assert stage.hear(Pinned(())) == [], "all are there was said when the way was free"


def test_two_pinned_peers_of_one_address_do_not_take_it_from_each_other(stage: Stage, client: Client) -> None:
    other = stage.client(2)
    other.peer = replace(other.peer, allowed_ips=client.peer.allowed_ips)
    commands = stage.hear(Pinned((pinned(client), pinned(other))))
    assert [change.public_key for change in installs(commands)] == [client.key]
    assert of(commands, PinsAbsent) == [PinsAbsent({Refusal.CONFLICT: 1})]


def test_a_pass_in_parts_is_told_of_at_its_end(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage(capacity=1)
    first, second, third = (stage.client(number) for number in (1, 2, 3))
    assert len(installs(stage.hear(Pinned((pinned(first), pinned(second)), more=True)))) == 1
    stage.hear(Installed(first.key))
    assert stage.hear(Pinned((pinned(third),))) == [PinsAbsent({Refusal.FULL: 2})]


def test_an_idle_peer_makes_room_for_a_pinned_one(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage(Delivery.HOLD, capacity=1)
    idle, client = stage.client(1), stage.client(2)
    stage.hear(DeviceRead(stage.monotonic, []))
    saves = of(stage.install(idle, held=True), SaveClaim)
    stage.hear(ClaimsSaved(tuple(save.claim for save in saves if isinstance(save, SaveClaim))))
    stage.wait(200)
    there = DevicePeer(idle.key, idle.peer.allowed_ips)
    assert PinsAbsent({Refusal.FULL: 1}) in stage.hear(Pinned((pinned(client),)))
    assert of(stage.hear(Tick()), ReadDevice)
    commands = stage.hear(DeviceRead(stage.monotonic, [there]))
    assert of(commands, Evict) == [Evict((idle.key,))]
    left = stage.hear(Evicted((idle.key,), frozenset(), 0.001))
    assert of(left, Left) in (
        [Left(idle.key, Departure.ROOM, "client 1")],
        [Left(idle.key, Departure.UNCONFIRMED, "client 1")],
    )
    assert installs(stage.hear(Pinned((pinned(client),))))


def test_a_small_device_is_read_first_since_another_program_may_have_put_a_peer_in(
    make_stage: Callable[..., Stage],
) -> None:
    stage = make_stage(watchful=64)
    client, other = stage.client(), stage.client(9)
    stage.hear(DeviceRead(stage.monotonic, []))
    stage.wait(5)
    assert stage.hear(Pinned((pinned(client),))) == [ReadDevice(at_once=True)]
    commands = stage.hear(DeviceRead(stage.monotonic, [DevicePeer(other.key, client.peer.allowed_ips)]))
    assert installs(commands) == []
    assert of(commands, PinsAbsent) == [PinsAbsent({Refusal.CONFLICT: 1})]


def test_a_device_that_refuses_is_asked_again_and_told_of(stage: Stage, client: Client) -> None:
    stage.hear(Pinned((pinned(client),)))
    assert stage.hear(Installed(client.key, Refusal.DEVICE_FAILED)) == []
    commands = stage.hear(Pinned((pinned(client),)))
    assert len(installs(commands)) == 1
    assert of(commands, PinsAbsent) == [PinsAbsent({Refusal.DEVICE_FAILED: 1})]


# --- a fleet --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("holding", "comes"),
    [(None, True), (("other", None), False), (("other", START - 1), True), (("g", None), True)],
    ids=["nobody", "another", "another, that let it go", "this one"],
)
def test_a_fleet_has_a_pinned_peer_where_it_is_held_or_everywhere_if_nobody_holds_it(
    make_stage: Callable[..., Stage], holding: tuple[str, float | None] | None, comes: bool
) -> None:
    stage = make_stage(**IN_A_FLEET)
    client = stage.client()
    registration = client.registration(START - 60, idle_timeout=NEVER)
    registration = replace(registration, holding=None if holding is None else held(client, *holding))
    changes = installs(stage.hear(Pinned((registration,))))
    assert [change.public_key for change in changes] == [client.key] * comes
    assert all(change.endpoint is None for change in changes), "a gateway of a fleet calls nobody by itself"


def test_it_is_not_held_before_its_session_has_passed_data(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage(**IN_A_FLEET)
    client = stage.client()
    stage.hear(Pinned((pinned(client),)))
    commands = stage.hear(Installed(client.key))
    assert not of(commands, AwaitData), "it has not knocked: there is nothing to await"
    assert stage.hear(Confirmed((client.key,))) == []
    assert stage.gateway.holding == 0
    stage.arrive(client.packet())
    assert of(stage.hear(FollowUpDue(1)), AwaitData) == [AwaitData(client.key, client.peer.allowed_ips)]
    (said,) = of(stage.hear(Confirmed((client.key,))), SayHolding)
    assert isinstance(said, SayHolding)
    assert said.why is Hold.TAKEN
    assert stage.gateway.holding == 1


def test_it_leaves_when_another_gateway_holds_it_and_does_not_come_back(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage(**IN_A_FLEET)
    client = stage.client()
    stage.hear(Pinned((pinned(client),)))
    stage.hear(Installed(client.key))
    assert of(stage.hear(HeldElsewhere((held(client, "other"),))), Evict) == [Evict((client.key,))]
    stage.hear(Evicted((client.key,), frozenset(), 0.001))
    assert stage.hear(Pinned((replace(pinned(client), holding=held(client, "other")),))) == []


def test_a_draining_gateway_installs_none(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage(**IN_A_FLEET)
    client = stage.client()
    stage.hear(Drain())
    assert stage.hear(Pinned((pinned(client),))) == []
    stage.hear(Undrain())
    assert len(installs(stage.hear(Pinned((pinned(client),))))) == 1


def test_a_peer_that_is_being_removed_is_not_installed_before_it_is_out(stage: Stage, client: Client) -> None:
    stage.hear(Pinned((pinned(client),)))
    stage.hear(Installed(client.key))
    stage.hear(RegistryChanged({client.key: pinned(client, enabled=False)}))
    assert stage.hear(Pinned((pinned(client),))) == []
    stage.hear(Evicted((client.key,), frozenset(), 0.001))
    assert len(installs(stage.hear(Pinned((pinned(client),))))) == 1


def test_an_answer_for_no_knock_is_none_of_ours(stage: Stage, client: Client) -> None:
    stage.hear(Pinned((pinned(client),)))
    assert stage.hear(LookedUp(99, pinned(client))) == []

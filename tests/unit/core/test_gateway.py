"""One knock from capture to verdict: event in, commands out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

from tests.forge import forge_initiation, with_mac1
from tests.unit.core.conftest import SERVER, START, Client, Stage
from wgjit.core.vocabulary.commands import Command, FollowUp, Install, Lookup, ReadDevice, Release, Replay, SaveClaim
from wgjit.core.vocabulary.events import (
    Arrived,
    ClaimsSaved,
    DeviceRead,
    FollowUpDue,
    Installed,
    LookedUp,
    RegistryChanged,
    Tick,
)
from wgjit.core.vocabulary.moment import OfKnock
from wgjit.core.vocabulary.told import Came, Count, Tell
from wgjit.model import Delivery, DevicePeer, Endpoint, PeerChange, PrivateKey, Registration, Tai64n
from wgjit.record import Decision
from wgjit.refusal import Refusal
from wgjit.wire import noise
from wgjit.wire.noise import Initiator
from wgjit.wire.packets import build


def kinds(commands: list[Command]) -> list[type]:
    return [type(command) for command in commands]


def told(commands: list[Command]) -> Any:
    """The record of the one Tell, which must be the knock's last command."""
    assert [type(c) for c in commands].count(Tell) == 1
    last = [command for command in commands if isinstance(command, OfKnock)][-1]
    assert isinstance(last, Tell)
    return last.record


# --- the way of a good knock ------------------------------------------------------------------------------------


def test_a_captured_copy_is_looked_up_proven_installed_and_replayed(stage: Stage, client: Client) -> None:
    assert stage.arrive(client.packet()) == [Lookup(1, client.key)]
    assert stage.answer(client.registration()) == [Install(PeerChange.install(client.peer))]
    commands = stage.hear(Installed(client.key))
    assert kinds(commands) == [Replay, SaveClaim, Tell, Came]
    record = told(commands)
    assert (record.public_key, record.name, record.proven) == (client.key, "client 1", True)
    assert (record.source, record.destination) == (client.endpoint, SERVER)
    assert (record.decision, record.delivery, record.refusal) == (Decision.INSTALLED, Delivery.REPLAY, None)
    assert record.timestamp == Tai64n.from_unix(START)


def test_a_held_packet_is_released_once_the_peer_is_there(stage: Stage, client: Client) -> None:
    stage.arrive(client.packet(), held=True)
    assert kinds(stage.answer(client.registration())) == [Install]
    commands = stage.hear(Installed(client.key))
    assert kinds(commands) == [Release, SaveClaim, Tell, Came]
    assert told(commands).delivery is Delivery.HOLD


def test_without_delivery_the_client_is_left_to_its_own_retry(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage(Delivery.NONE)
    assert kinds(stage.install(stage.client())) == [SaveClaim, Tell, Came]


def test_the_claim_says_who_when_where(stage: Stage, client: Client) -> None:
    (claim,) = [c.claim for c in stage.install(client) if isinstance(c, SaveClaim)]
    assert (claim.public_key, claim.timestamp, claim.gateway, claim.endpoint, claim.proven_at) == (
        client.key,
        Tai64n.from_unix(START),
        "g",
        client.endpoint,
        START,
    )


def test_a_link_local_source_keeps_the_interface_it_came_by(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage(Delivery.FLIP)
    client = stage.client()
    source = Endpoint.parse("[fe80::1]:4000")
    packet = build(source, Endpoint.parse("[fe80::2]:51820"), client.initiation())
    stage.hear(Arrived(1, packet, held=False, scope=7))
    (install,) = stage.answer(client.registration(), knock=1)
    assert isinstance(install, Install)
    assert install.change.endpoint == source._replace(scope=7)


# --- residents --------------------------------------------------------------------------------------------------


def test_a_residents_rekey_is_released_before_anything_else(stage: Stage, client: Client) -> None:
    stage.install(client, held=True)
    stage.wait(120)
    assert stage.arrive(client.packet(stage.wall), held=True) == [Release(2), FollowUp(2)]
    commands = stage.hear(FollowUpDue(2))
    assert kinds(commands) == [SaveClaim, Tell]
    assert (told(commands).decision, told(commands).proven) == (Decision.RESIDENT, True)


def exchanges_of_a_rekey(stage: Stage, client: Client, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many X25519 calls the gateway makes for a resident's next knock."""
    calls = 0

    def counted(public: bytes) -> X25519PublicKey:
        nonlocal calls
        calls += 1
        return read(public)

    read = noise._public  # once for each exchange
    stage.wait(120)
    packet = client.packet(stage.wall)
    with monkeypatch.context() as patch:
        patch.setattr(noise, "_public", counted)
        stage.arrive(packet)
        commands = stage.hear(FollowUpDue(stage.numbers))
    assert told(commands).proven
    return calls


def test_a_rekey_costs_one_x25519_once_the_resident_was_proven_and_two_after_it_left(
    stage: Stage, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.install(client)
    assert exchanges_of_a_rekey(stage, client, monkeypatch) == 1
    resident = stage.gateway.residency.get(client.key)
    assert resident is not None
    assert resident.static_secret is not None
    assert repr(resident.static_secret) not in repr(resident)
    stage.hear(DeviceRead(stage.monotonic, []))  # somebody removed it
    stage.hear(DeviceRead(stage.monotonic, [DevicePeer(client.key, client.peer.allowed_ips)]))  # and put it back
    assert exchanges_of_a_rekey(stage, client, monkeypatch) == 2
    assert exchanges_of_a_rekey(stage, client, monkeypatch) == 1


def test_a_residents_captured_rekey_is_never_replayed(stage: Stage, client: Client) -> None:
    stage.install(client)
    stage.wait(120)
    assert stage.arrive(client.packet(stage.wall)) == [FollowUp(2)]


def test_residents_are_taken_over_from_the_device(stage: Stage, client: Client) -> None:
    stage.hear(DeviceRead(stage.monotonic - 1, [DevicePeer(client.key, client.peer.allowed_ips)]))
    assert stage.arrive(client.packet()) == [FollowUp(1)]


def test_a_resident_that_must_knock_twice_makes_us_look_at_the_device(stage: Stage, client: Client) -> None:
    stage.hear(DeviceRead(stage.monotonic - 5, ()))
    stage.install(client)
    stage.wait(5)
    stage.arrive(client.packet(stage.wall))
    assert ReadDevice() in stage.hear(FollowUpDue(2))
    stage.hear(DeviceRead(stage.monotonic, []))  # somebody removed it with wg
    stage.wait(5)
    assert stage.arrive(client.packet(stage.wall)) == [Lookup(3, client.key)]


def test_forged_knocks_for_a_resident_never_make_us_look(stage: Stage, client: Client) -> None:
    stage.install(client)
    for number in range(2, 6):
        stage.wait(1)
        stage.arrive(forged(stage, client))
        commands = stage.hear(FollowUpDue(number))
        assert kinds(commands) == [Tell]
        assert told(commands).refusal is Refusal.FORGED


def test_what_was_installed_after_a_reading_began_stays(stage: Stage, client: Client) -> None:
    began = stage.monotonic
    stage.wait(0.1)
    stage.install(client)
    stage.hear(DeviceRead(began, []))
    assert client.key in stage.gateway.residency


# --- refusals ---------------------------------------------------------------------------------------------------


def forged(stage: Stage, client: Client) -> bytes:
    """An initiation that claims the client's key, made without its private key: what anybody can do."""
    return build(client.endpoint, SERVER, forge_initiation(stage.public_key, client.key, Tai64n.from_unix(stage.wall)))


@pytest.mark.parametrize(
    ("found", "refusal"),
    [
        (None, Refusal.UNKNOWN),
        (Refusal.STORE_FAILED, Refusal.STORE_FAILED),
        ({"enabled": False}, Refusal.DISABLED),
        ({"expires_at": int(START)}, Refusal.EXPIRED),
        ({"last": START}, Refusal.STALE),
        ({"last": START + 1}, Refusal.STALE),
    ],
)
@pytest.mark.parametrize("held", [False, True])
def test_the_registry_says_no(stage: Stage, client: Client, found: Any, refusal: Refusal, held: bool) -> None:
    stage.arrive(client.packet(), held)
    answer = client.registration(**found) if isinstance(found, dict) else found
    commands = stage.answer(answer)
    follows = [SaveClaim] if refusal in (Refusal.DISABLED, Refusal.EXPIRED) else []
    assert kinds(commands) == ([Release] if held else []) + follows + [Tell]
    assert told(commands).refusal is refusal
    assert told(commands).decision is Decision.REFUSED


def test_a_forged_identity_installs_nothing(stage: Stage, client: Client) -> None:
    assert stage.arrive(forged(stage, client)) == [Lookup(1, client.key)]
    commands = stage.answer(client.registration())
    assert kinds(commands) == [Tell]
    assert (told(commands).refusal, told(commands).proven) == (Refusal.FORGED, False)


def test_a_remote_store_is_asked_for_proven_keys_only(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage(store_is_local=False)
    client = stage.client()
    commands = stage.arrive(forged(stage, client))
    assert kinds(commands) == [Tell]
    assert told(commands).refusal is Refusal.FORGED
    assert stage.arrive(client.packet()) == [Lookup(2, client.key)]


def test_a_remote_store_is_not_asked_again_for_what_it_has_just_refused(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage(store_is_local=False)
    client = stage.client()
    stage.arrive(client.packet())
    assert told(stage.answer(None)).refusal is Refusal.UNKNOWN
    stage.wait(1)
    assert told(stage.arrive(client.packet(stage.wall))).refusal is Refusal.UNKNOWN
    stage.wait(4)
    assert kinds(stage.arrive(client.packet(stage.wall))) == [Lookup], "a peer that was added counts from its next try"
    stage.answer(None)
    stage.hear(RegistryChanged({client.key: client.registration()}))
    assert kinds(stage.arrive(client.packet(stage.wall + 1))) == [Lookup], "something about it has changed"


def test_a_replayed_initiation_is_stale_after_its_peer_was_evicted(stage: Stage, client: Client) -> None:
    old = client.packet()
    stage.arrive(old)
    stage.answer(client.registration())
    claims = tuple(c.claim for c in stage.hear(Installed(client.key)) if isinstance(c, SaveClaim))
    stage.hear(DeviceRead(stage.monotonic + 1, []))
    stage.hear(ClaimsSaved(claims))
    stage.wait(60)
    stage.arrive(old)
    assert told(stage.answer(Registration(client.peer, claims[0]))).refusal is Refusal.STALE


def test_a_claim_not_yet_saved_protects_as_well(stage: Stage, client: Client) -> None:
    old = client.packet()
    stage.arrive(old)
    stage.answer(client.registration())
    stage.hear(Installed(client.key))
    stage.hear(DeviceRead(stage.monotonic + 1, []))
    stage.wait(60)
    stage.arrive(old)
    assert told(stage.answer(client.registration())).refusal is Refusal.STALE


def test_a_clock_far_ahead_is_refused_one_within_the_skew_is_not(stage: Stage, client: Client) -> None:
    stage.arrive(client.packet(START + 3601))
    assert told(stage.answer(client.registration())).refusal is Refusal.FUTURE
    stage.arrive(client.packet(START + 3599))
    assert kinds(stage.answer(client.registration())) == [Install]


def test_an_allowed_ip_of_a_foreign_resident_is_never_taken(stage: Stage, client: Client) -> None:
    foreign = PrivateKey(b"\x07" * 32).public()
    stage.hear(DeviceRead(stage.monotonic - 1, [DevicePeer(foreign, client.peer.allowed_ips)]))
    stage.arrive(client.packet())
    assert told(stage.answer(client.registration())).refusal is Refusal.CONFLICT


@pytest.mark.parametrize("failure", [Refusal.FULL, Refusal.DEVICE_FAILED])
def test_a_device_that_refuses_leaves_nothing_behind(stage: Stage, client: Client, failure: Refusal) -> None:
    stage.arrive(client.packet(), held=True)
    stage.answer(client.registration())
    commands = stage.hear(Installed(client.key, failure))
    assert kinds(commands) == [Release, Tell]
    assert told(commands).refusal is failure
    stage.arrive(client.packet(START + 5))
    assert kinds(stage.answer(client.registration())) == [Install]


def test_garbage_is_counted_by_refusal_and_released(stage: Stage, client: Client) -> None:
    good = client.initiation()
    cases = {
        b"": Refusal.BAD_LENGTH,
        good[:-1]: Refusal.BAD_LENGTH,
        good + b"\0": Refusal.BAD_LENGTH,
        b"\x05" + good[1:]: Refusal.BAD_TYPE,
        b"\x01\x00\x01\x00" + good[4:]: Refusal.BAD_RESERVED,
    }
    for payload, refusal in cases.items():
        commands = stage.arrive(build(client.endpoint, SERVER, payload), held=True)
        assert commands == [Release(stage.numbers), Count(stage.numbers, refusal)], payload
    assert stage.arrive(b"\x45garbage") == [Count(stage.numbers, Refusal.NOT_UDP)]


def test_an_initiation_for_another_server_is_refused_by_mac1(stage: Stage, client: Client) -> None:
    other = Initiator(client.private, PrivateKey(b"\x43" * 32).public()).initiate(1, Tai64n.from_unix(START))
    assert told(stage.arrive(build(client.endpoint, SERVER, other))).refusal is Refusal.BAD_MAC1


def test_a_low_order_ephemeral_is_refused(stage: Stage, client: Client) -> None:
    initiation = bytearray(client.initiation())
    initiation[8:40] = bytes(32)
    packet = build(client.endpoint, SERVER, with_mac1(stage.public_key, bytes(initiation)))
    assert told(stage.arrive(packet)).refusal is Refusal.BAD_POINT


def test_the_same_packet_seen_by_two_taps_acts_once(stage: Stage, client: Client) -> None:
    packet = client.packet()
    stage.arrive(packet)
    assert told(stage.arrive(packet)).refusal is Refusal.DUPLICATE


def test_garbage_with_a_sniffed_ephemeral_does_not_stand_in_the_clients_way(stage: Stage, client: Client) -> None:
    initiation = client.initiation()
    spoiled = with_mac1(stage.public_key, initiation[:40] + bytes(76) + initiation[116:])
    assert told(stage.arrive(build(client.endpoint, SERVER, spoiled))).refusal is Refusal.BAD_STATIC
    assert kinds(stage.arrive(build(client.endpoint, SERVER, initiation))) == [Lookup]


def test_one_source_cannot_keep_us_busy(stage: Stage, client: Client) -> None:
    outcomes = [type(stage.arrive(client.packet(START + n))[0]) for n in range(201)]
    assert outcomes == [Lookup] * 200 + [Tell]
    stage.wait(1)
    assert kinds(stage.arrive(client.packet(START + 300))) == [Lookup]


# --- several knocks at once -------------------------------------------------------------------------------------


def test_two_knocks_of_one_client_make_one_install_and_one_replay(stage: Stage, client: Client) -> None:
    stage.arrive(client.packet(START))
    stage.arrive(client.packet(START + 1))
    assert kinds(stage.answer(client.registration(), knock=1)) == [Install]
    assert stage.answer(client.registration(), knock=2) == []
    commands = stage.hear(Installed(client.key))
    assert [c.knock for c in commands if isinstance(c, Replay)] == [2]
    assert sorted(c.knock for c in commands if isinstance(c, Tell)) == [1, 2]


def test_two_held_knocks_are_both_released(stage: Stage, client: Client) -> None:
    stage.arrive(client.packet(START), held=True)
    stage.arrive(client.packet(START + 1), held=True)
    stage.answer(client.registration(), knock=1)
    stage.answer(client.registration(), knock=2)
    commands = stage.hear(Installed(client.key))
    assert [c.knock for c in commands if isinstance(c, Release)] == [1, 2]


def test_too_many_waiting_knocks_are_refused_not_queued(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage(max_waiting=2)
    for number in (1, 2):
        assert kinds(stage.arrive(stage.client(number).packet())) == [Lookup]
    assert told(stage.arrive(stage.client(3).packet())).refusal is Refusal.OVERLOADED


# --- deadlines --------------------------------------------------------------------------------------------------


def test_a_held_packet_is_let_go_at_its_deadline_and_its_peer_installed_later(
    make_stage: Callable[..., Stage],
) -> None:
    stage = make_stage(store_is_local=False, hold_deadline=0.5)
    client = stage.client()
    stage.arrive(client.packet(), held=True)
    assert stage.gateway.next_deadline() == stage.monotonic + 0.5
    stage.wait(0.4)
    assert stage.hear(Tick()) == []
    stage.wait(0.1)
    assert stage.hear(Tick()) == [Release(1)]
    assert stage.gateway.next_deadline() is None
    stage.wait(1)
    assert kinds(stage.answer(client.registration())) == [Install]
    commands = stage.hear(Installed(client.key))
    assert kinds(commands) == [SaveClaim, Tell, Came]
    assert told(commands).delivery is Delivery.NONE


def test_an_answer_to_a_knock_long_gone_is_ignored(stage: Stage) -> None:
    assert stage.hear(LookedUp(99, None)) == []
    assert stage.hear(FollowUpDue(99)) == []

"""The registry speaks while peers are resident: who may stay keeps the session, who may not loses it at once."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.core.conftest import START, Client, Stage
from tests.unit.core.test_gateway import kinds, told
from wgjit.core.vocabulary.commands import Command, Configure, Evict, Install, Lookup, ReadDevice, SaveClaim
from wgjit.core.vocabulary.events import ClaimsSaved, DeviceRead, Evicted, FollowUpDue, RegistryChanged
from wgjit.core.vocabulary.told import Revocation, Revoked
from wgjit.model import DevicePeer, PeerChange, PresharedKey, PrivateKey, Registration
from wgjit.refusal import Refusal


def revoked(client: Client, why: Revocation) -> list[Command]:
    """It passes nothing any more, at once, and that is told with its reason; then it is removed."""
    return [
        Configure((PeerChange(client.key, update_only=True, allowed_ips=()),)),
        Revoked(client.key, client.peer.name, why),
        Evict((client.key,)),
    ]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (None, Revocation.REMOVED),
        ({"enabled": False}, Revocation.DISABLED),
        ({"expires_at": 1}, Revocation.EXPIRED),
    ],
)
def test_a_peer_that_may_connect_no_more_leaves_at_once(
    stage: Stage, client: Client, change: Any, why: Revocation
) -> None:
    stage.install(client)
    found = None if change is None else client.registration(**change)
    assert stage.hear(RegistryChanged({client.key: found})) == revoked(client, why)
    assert client.key not in stage.gateway.residency


def test_an_update_keeps_the_session(stage: Stage, client: Client) -> None:
    stage.install(client)
    psk = PresharedKey(b"\x01" * 32)
    found = client.registration(preshared_key=psk, keepalive=20)
    (configure,) = stage.hear(RegistryChanged({client.key: found}))
    assert isinstance(configure, Configure)
    (change,) = configure.changes
    assert change == PeerChange(
        client.key, update_only=True, preshared_key=psk, keepalive=20, allowed_ips=client.peer.allowed_ips
    )


def test_a_change_of_a_peer_that_is_not_resident_needs_nothing(stage: Stage, client: Client) -> None:
    assert stage.hear(RegistryChanged({client.key: None})) == []


def test_two_residents_that_swap_addresses_have_them_swapped(stage: Stage) -> None:
    one, two = stage.client(1), stage.client(2)
    stage.install(one)
    stage.install(two)
    found = {
        one.key: one.registration(allowed_ips=two.peer.allowed_ips),
        two.key: two.registration(allowed_ips=one.peer.allowed_ips),
    }
    (configure,) = stage.hear(RegistryChanged(found))
    assert isinstance(configure, Configure)
    assert {(c.public_key, c.allowed_ips, c.remove) for c in configure.changes} == {
        (one.key, two.peer.allowed_ips, False),
        (two.key, one.peer.allowed_ips, False),
    }


def test_an_address_that_a_foreign_peer_has_costs_the_resident_its_place(stage: Stage, client: Client) -> None:
    foreign = PrivateKey(b"\x07" * 32).public()
    prefix = stage.client(9).peer.allowed_ips
    stage.hear(DeviceRead(stage.monotonic - 1, [DevicePeer(foreign, prefix)]))
    stage.install(client)
    changed = RegistryChanged({client.key: client.registration(allowed_ips=prefix)})
    assert stage.hear(changed) == revoked(client, Revocation.CONFLICT)
    assert foreign in stage.gateway.residency


def test_removals_come_before_what_takes_their_place(stage: Stage) -> None:
    one, two = stage.client(1), stage.client(2)
    stage.install(one)
    stage.install(two)
    configure, told_of, evict = stage.hear(
        RegistryChanged({one.key: one.registration(allowed_ips=two.peer.allowed_ips), two.key: None})
    )
    assert isinstance(configure, Configure)
    assert [c.public_key for c in configure.changes] == [two.key, one.key]
    assert told_of == Revoked(two.key, two.peer.name, Revocation.REMOVED)
    assert evict == Evict((two.key,))


def test_a_reset_claim_lets_a_resident_with_its_clock_turned_back_in_again(stage: Stage, client: Client) -> None:
    claims = tuple(c.claim for c in stage.install(client) if isinstance(c, SaveClaim))
    stage.hear(ClaimsSaved(claims))
    assert stage.hear(RegistryChanged({client.key: client.registration()})) == revoked(client, Revocation.RESET)
    assert stage.arrive(client.packet(START - 500)) == [], "the kernel's own memory has to go first"
    assert stage.hear(Evicted((client.key,), frozenset(), 0.0))[-1] == Lookup(stage.numbers, client.key)
    assert told(stage.answer(client.registration())).refusal is Refusal.STALE, "it could be a recording"
    stage.wait(5)
    stage.arrive(client.packet(START - 495))
    assert kinds(stage.answer(client.registration())) == [Install], "a second one in step is none"


def test_a_reading_that_overlaps_a_change_does_not_bring_the_old_state_back(stage: Stage, client: Client) -> None:
    stage.hear(DeviceRead(stage.monotonic - 5, ()))
    other = stage.client(2)
    stage.install(client)
    stage.install(other)
    stage.wait(5)
    stage.arrive(client.packet(stage.wall))
    assert ReadDevice() in stage.hear(FollowUpDue(stage.numbers))
    began = stage.monotonic
    stage.wait(0.1)
    stage.hear(RegistryChanged({client.key: None, other.key: other.registration(allowed_ips=client.peer.allowed_ips)}))
    stage.hear(
        DeviceRead(
            began, [DevicePeer(client.key, client.peer.allowed_ips), DevicePeer(other.key, other.peer.allowed_ips)]
        )
    )
    assert client.key not in stage.gateway.residency
    assert stage.gateway.residency.owner_of_any(client.peer.allowed_ips, other_than=client.key) == other.key
    assert stage.gateway.residency.owner_of_any(other.peer.allowed_ips, other_than=client.key) is None


# --- another registry is in its place ---------------------------------------------------------------------------------


def saved(stage: Stage, client: Client) -> None:
    """Installed, and the registry has its claim."""
    stage.hear(ClaimsSaved(tuple(c.claim for c in stage.install(client) if isinstance(c, SaveClaim))))


def test_a_claim_that_vanished_with_the_old_one_revokes_nobody_and_is_written_again(
    stage: Stage, client: Client
) -> None:
    saved(stage, client)
    (save,) = stage.hear(RegistryChanged({client.key: client.registration()}, True, replaced=True))
    assert isinstance(save, SaveClaim)
    assert save.claim.timestamp.unix == stage.wall
    assert client.key in stage.gateway.residency
    assert stage.hear(RegistryChanged({client.key: client.registration()})) == [], "until it has been, it was not reset"
    assert stage.hear(RegistryChanged({client.key: Registration(client.peer, save.claim)}, True, replaced=True)) == []


def test_who_was_registered_and_is_unknown_to_the_new_one_is_revoked(stage: Stage, client: Client) -> None:
    saved(stage, client)
    assert stage.hear(RegistryChanged({client.key: None}, True, replaced=True)) == revoked(client, Revocation.REMOVED)


def test_a_claim_that_is_greater_in_the_new_one_counts(stage: Stage, client: Client) -> None:
    saved(stage, client)
    found = client.registration(last=stage.wall + 5)
    assert stage.hear(RegistryChanged({client.key: found}, True, replaced=True)) == []

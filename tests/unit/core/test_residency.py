"""The table of residents itself: what a change, a departure and a reading of the device make of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from wgjit.core.residents.residency import Residency
from wgjit.model import DevicePeer, Peer, PresharedKey, PrivateKey, PublicKey, parse_allowed_ip

ONE, TWO = (PrivateKey(bytes([number]) * 32).public() for number in (1, 2))
A, B, C = map(parse_allowed_ip, ("10.8.0.1/32", "10.8.0.2/32", "fd00::1/128"))
PSK = PresharedKey(b"p" * 32)


@pytest.fixture
def table() -> Residency:
    """One peer, since the moment 100."""
    residency = Residency()
    residency.add(Peer(ONE, (A, C)), now=100.0)
    return residency


def owners(table: Residency) -> dict[str, PublicKey | None]:
    return {str(prefix): table.owner_of(prefix) for prefix in (A, B, C)}


def test_a_change_replaces_prefixes_key_and_keepalive(table: Residency) -> None:
    changed = Peer(ONE, (B,), preshared_key=PSK, keepalive=25)
    table.update(changed)
    resident = table.get(ONE)
    assert resident is not None
    assert (resident.allowed_ips, resident.preshared_key, resident.keepalive) == ((B,), PSK, 25)
    assert owners(table) == {str(A): None, str(B): ONE, str(C): None}
    assert resident.is_as(changed)
    assert resident.is_as(DevicePeer(ONE, (B,), preshared_key=PSK, keepalive=25))
    for other in (
        replace(changed, allowed_ips=(A,)),
        replace(changed, keepalive=0),
        replace(changed, preshared_key=None),
    ):
        assert not resident.is_as(other)


def test_the_order_of_prefixes_is_no_change(table: Residency) -> None:
    resident = table.get(ONE)
    assert resident is not None
    assert resident.is_as(Peer(ONE, (C, A)))
    assert not resident.is_as(Peer(ONE, (A,)))


def test_who_comes_again_begins_anew_and_keeps_no_prefix(table: Residency) -> None:
    again = table.add(Peer(ONE, (B,)), now=200.0)
    assert table.get(ONE) is again
    assert (again.since, again.active) == (200.0, 200.0)
    assert owners(table) == {str(A): None, str(B): ONE, str(C): None}


def test_a_prefix_moves_to_who_takes_it_and_stays_there_when_the_other_leaves(table: Residency) -> None:
    table.add(Peer(TWO, (A,)), now=200.0)
    assert owners(table) == {str(A): TWO, str(B): None, str(C): ONE}
    assert table.owner_of_any((A, B), other_than=ONE) == TWO
    assert table.owner_of_any((A, B), other_than=TWO) is None
    table.remove(ONE)
    assert owners(table) == {str(A): TWO, str(B): None, str(C): None}
    assert ONE not in table
    table.remove(ONE)
    assert len(table) == 1


def test_released_prefixes_are_the_residents_no_more(table: Residency) -> None:
    assert table.release_prefixes(ONE) == (A, C)
    assert table.release_prefixes(ONE) == ()
    resident = table.get(ONE)
    assert resident is not None
    assert resident.allowed_ips == ()
    assert owners(table) == {str(A): None, str(B): None, str(C): None}
    assert not resident.is_as(Peer(ONE, (A, C)))


@pytest.mark.parametrize("idle_timeout", [None, 300])
def test_who_is_registered_with_another_idle_time_is_not_registered_as_this(
    table: Residency, idle_timeout: int | None
) -> None:
    resident = table.get(ONE)
    assert resident is not None
    peer = Peer(ONE, (A,), idle_timeout=idle_timeout, expires_at=7)
    assert not resident.is_registered_as(peer)
    resident.registered_as(peer)
    assert resident.is_registered_as(peer)
    assert resident.expires_at == 7
    assert not resident.is_registered_as(replace(peer, idle_timeout=600))


# --- a reading of the device ------------------------------------------------------------------------------------


def test_a_reading_finds_who_came_and_who_went(table: Residency) -> None:
    table.reading_begins()
    found = table.read(DevicePeer(TWO, (B,)), began=150.0)
    assert found is not None
    assert found.since == 150.0
    assert list(table.reading_ends(began=150.0)) == [ONE]
    assert set(table.keys()) == {TWO}


def test_who_was_there_the_last_time_is_not_there_for_that(table: Residency) -> None:
    table.reading_begins()
    table.read(DevicePeer(ONE, (A, C)), began=150.0)
    assert list(table.reading_ends(began=150.0)) == []
    table.reading_begins()
    assert list(table.reading_ends(began=160.0)) == [ONE]


def test_a_reading_that_failed_leaves_nothing_for_the_next(table: Residency) -> None:
    table.reading_begins()
    table.read(DevicePeer(ONE, (A, C)), began=150.0)
    table.touch(ONE)
    table.reading_fails()
    table.reading_begins()
    assert list(table.reading_ends(began=160.0)) == [ONE]


@pytest.mark.parametrize("began", [99.0, 100.0])
def test_a_reading_that_began_before_an_install_says_nothing_of_it(table: Residency, began: float) -> None:
    table.reading_begins()
    assert table.read(DevicePeer(ONE, (B,)), began) is None
    assert owners(table)[str(A)] == ONE
    assert list(table.reading_ends(began)) == []
    table.reading_begins()
    assert list(table.reading_ends(began)) == [], "it came when the reading began"


def test_what_changed_during_a_reading_is_not_read(table: Residency) -> None:
    table.reading_begins()
    table.update(Peer(ONE, (B,)))
    assert table.read(DevicePeer(ONE, (A,)), began=150.0) is None
    assert list(table.reading_ends(began=150.0)) == []
    assert owners(table)[str(B)] == ONE


def test_a_reading_changes_what_somebody_else_has_changed(table: Residency) -> None:
    heard: list[PublicKey] = []
    table.on_change(heard.append)
    table.reading_begins()
    table.read(DevicePeer(ONE, (A, C)), began=150.0)
    assert heard == [], "it is as it was"
    resident = table.read(DevicePeer(ONE, (B,), preshared_key=PSK, keepalive=5), began=150.0)
    assert resident is not None
    assert (resident.allowed_ips, resident.preshared_key, resident.keepalive) == ((B,), PSK, 5)
    assert heard == [ONE]
    assert list(table.reading_ends(began=150.0)) == []

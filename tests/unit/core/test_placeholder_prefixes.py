"""The placeholder's own table: what a look, a change, and a foreign peer that changes make of it."""

from __future__ import annotations

import pytest

from wgjit.core.residents.placeholder import Placeholder, waste_key
from wgjit.core.residents.residency import Residency
from wgjit.model import AllowedIP, Cover, DevicePeer, PeerChange, PrivateKey, parse_allowed_ip

SERVER, FOREIGN, OTHER, CLIENT = (PrivateKey(bytes([number]) * 32).public() for number in (1, 2, 3, 4))
ALL, NET, A, B = map(parse_allowed_ip, ("0.0.0.0/0", "10.8.0.0/24", "10.8.0.1/32", "10.8.0.2/32"))


@pytest.fixture
def keeper() -> Placeholder:
    """It keeps one address from a foreign peer, since the moment 100."""
    made = Placeholder(SERVER, Residency())
    made.foreign(FOREIGN, (ALL,))
    assert made.news() == {ALL}
    made.covered(frozenset({ALL}), Cover((A,)))
    assert made.mend(100.0) == [PeerChange(made.key, more_allowed_ips=(A,))]
    return made


def look(keeper: Placeholder, began: float, *peers: DevicePeer) -> None:
    for peer in peers:
        assert keeper.is_ours(peer, began) is (peer.public_key in (keeper.key, waste_key(SERVER)))
    keeper.looked(began)


def has(keeper: Placeholder, *prefixes: AllowedIP, is_whole: bool = True) -> DevicePeer:
    return DevicePeer(keeper.key, prefixes, is_whole=is_whole)


def test_nothing_changes_while_all_is_as_it_should_be(keeper: Placeholder) -> None:
    assert keeper.mend(101.0) == []
    look(keeper, 102.0, has(keeper, A), DevicePeer(CLIENT, (B,)))
    assert keeper.mend(103.0) == []


@pytest.mark.parametrize("began", [99.0, 100.0])
def test_a_look_that_began_before_the_last_change_says_nothing(keeper: Placeholder, began: float) -> None:
    look(keeper, began, has(keeper))
    look(keeper, began)
    assert keeper.mend(101.0) == []


def test_a_reading_that_was_cut_says_only_that_it_is_there(keeper: Placeholder) -> None:
    look(keeper, 101.0, has(keeper, is_whole=False))
    assert keeper.mend(102.0) == []


def test_if_somebody_took_it_out_it_comes_back(keeper: Placeholder) -> None:
    look(keeper, 101.0, has(keeper, A))
    look(keeper, 102.0)
    assert keeper.mend(103.0) == [PeerChange(keeper.key, more_allowed_ips=(A,))]


def test_the_change_that_brings_it_back_counts_from_then_on(keeper: Placeholder) -> None:
    look(keeper, 101.0)
    keeper.mend(103.0)
    look(keeper, 102.0)
    assert keeper.mend(104.0) == [], "this look began before it came back"


def test_without_anything_to_keep_it_goes_though_it_has_nothing(keeper: Placeholder) -> None:
    keeper.covered(frozenset({ALL}), Cover(()))
    assert [change.remove for change in keeper.mend(101.0)] == [True]
    assert keeper.mend(102.0) == []
    look(keeper, 103.0, has(keeper))
    assert keeper.mend(104.0) == [PeerChange(keeper.key, remove=True)]


def test_the_waste_peer_is_removed_once(keeper: Placeholder) -> None:
    look(keeper, 101.0, has(keeper, A), DevicePeer(waste_key(SERVER), (B,)))
    assert keeper.mend(102.0) == [PeerChange(waste_key(SERVER), remove=True)]
    assert keeper.mend(103.0) == []


def test_a_foreign_peer_with_other_prefixes_is_around_others(keeper: Placeholder) -> None:
    keeper.foreign(FOREIGN, (NET,))
    assert keeper.news() == {NET}
    keeper.foreign(FOREIGN, (NET,))
    assert keeper.news() is None
    keeper.not_foreign(FOREIGN)
    assert keeper.news() == frozenset()
    assert keeper.mend(101.0) == [PeerChange(keeper.key, remove=True)]


def test_a_prefix_of_two_foreign_peers_counts_until_both_are_gone(keeper: Placeholder) -> None:
    keeper.foreign(OTHER, (ALL,))
    keeper.not_foreign(FOREIGN)
    assert keeper.news() is None
    keeper.not_foreign(OTHER)
    assert keeper.news() == frozenset()


def test_it_is_told_of_once_and_when_it_ends(keeper: Placeholder) -> None:
    told = keeper.told()
    assert told is not None
    assert (told.peers, told.prefixes, told.exact) == ((FOREIGN,), 1, True)
    assert keeper.told() is None
    keeper.not_foreign(FOREIGN)
    keeper.news()
    keeper.mend(101.0)
    told = keeper.told()
    assert told is not None
    assert (told.peers, told.prefixes) == ((), 0)
    assert keeper.told() is None


def test_an_answer_to_an_older_question_does_not_count(keeper: Placeholder) -> None:
    keeper.foreign(FOREIGN, (NET,))
    keeper.news()
    keeper.covered(frozenset({ALL}), Cover((B,)))
    assert keeper.mend(101.0) == [], "until the registry has spoken it keeps what it has"


# --- removals ---------------------------------------------------------------------------------------------------


def test_what_a_leaving_peer_gives_is_kept_until_the_registry_speaks_again(keeper: Placeholder) -> None:
    assert keeper.take((B,), 101.0) == PeerChange(keeper.key, more_allowed_ips=(B,))
    assert keeper.size == 2
    look(keeper, 101.0, has(keeper, A))
    assert keeper.size == 2, "this look began before"
    assert keeper.take((parse_allowed_ip("fd00::1/128"),), 102.0) is None, "nobody is around it"


def test_without_a_foreign_peer_nothing_is_given() -> None:
    assert Placeholder(SERVER, Residency()).take((A,), 1.0) is None


def test_a_removal_that_fails_gives_back_what_it_gave_and_one_that_is_done_does_not(keeper: Placeholder) -> None:
    change = keeper.take_for_removal({CLIENT: (B,)}, 101.0)
    assert change == PeerChange(keeper.key, more_allowed_ips=(B,))
    assert keeper.give_back(CLIENT) == PeerChange(CLIENT, update_only=True, more_allowed_ips=(B,))
    assert keeper.give_back(CLIENT) is None
    assert keeper.size == 1
    keeper.take_for_removal({CLIENT: (B,)}, 102.0)
    keeper.gone(CLIENT)
    assert keeper.give_back(CLIENT) is None
    assert keeper.size == 2

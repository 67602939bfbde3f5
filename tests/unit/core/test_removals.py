"""The way out of the device: who goes when, and how many at a time."""

from __future__ import annotations

import pytest

from wgjit.core.residents.removals import BUSY, MOST, RETRY, Removals
from wgjit.core.vocabulary.told import Departure
from wgjit.model import PrivateKey, PublicKey

KEYS = [PrivateKey(bytes([number]) * 32).public() for number in range(1, 200)]
NOBODY: frozenset[PublicKey] = frozenset()


@pytest.fixture
def removals() -> Removals:
    return Removals()


def retire(removals: Removals, *keys: PublicKey, until: float = 1000.0) -> None:
    removals.retire([(key, Departure.IDLE) for key in keys], until)


def test_the_first_batch_is_small_and_no_second_is_begun_before_it_is_done(removals: Removals) -> None:
    retire(removals, *KEYS[:3])
    assert removals.next_batch(0.0) == (KEYS[0],)
    assert removals.next_batch(1.0) == ()
    assert removals.next_deadline() is None
    assert removals.done(NOBODY, 0.001, 1.0) == {KEYS[0]: Departure.IDLE}


def test_the_device_rests_for_as_long_as_it_was_busy(removals: Removals) -> None:
    retire(removals, *KEYS[:3])
    removals.next_batch(0.0)
    removals.done(NOBODY, 0.3, 0.3)
    assert removals.next_deadline() == 0.6
    assert removals.next_batch(0.5) == ()
    assert removals.next_batch(0.6) == (KEYS[1],)


def test_batches_grow_while_they_are_quick_and_shrink_when_they_are_not(removals: Removals) -> None:
    retire(removals, *KEYS)
    sizes = []
    for _ in range(8):
        retire(removals, *KEYS)
        sizes.append(len(removals.next_batch(100.0)))
        removals.done(NOBODY, 0.0, 0.0)
    assert sizes == [1, 2, 4, 8, 16, 32, MOST, MOST]
    for expected in (MOST, MOST // 2, MOST // 4):
        retire(removals, *KEYS)
        assert len(removals.next_batch(100.0)) == expected
        removals.done(NOBODY, 2 * BUSY, 0.0)


def test_the_revoked_go_first_and_do_not_keep_the_retired_from_going(removals: Removals) -> None:
    retire(removals, *KEYS[:3])
    for key in KEYS[10:13]:
        removals.revoke(key)
    order = []
    for _ in range(6):
        order += removals.next_batch(0.0)
        removals.done(NOBODY, 0.004, -1.0)
    assert order == [KEYS[10], KEYS[0], KEYS[11], KEYS[1], KEYS[12], KEYS[2]]


def test_a_removal_that_a_knock_waits_for_comes_before_the_others(removals: Removals) -> None:
    for key in KEYS[:3]:
        removals.revoke(key)
    removals.hurry(KEYS[2])
    assert removals.is_settled(KEYS[2])
    assert removals.revoked == 3
    assert removals.next_batch(0.0) == (KEYS[2],)
    assert removals.done(NOBODY, 0.0, 0.0) == {KEYS[2]: Departure.REVOKED}


def test_a_sign_of_life_that_was_none_is_taken_back(removals: Removals) -> None:
    retire(removals, *KEYS[:2])
    assert removals.recall(KEYS[0]) is Departure.IDLE
    assert removals.recall(KEYS[0]) is None
    removals.retire_again(KEYS[0], Departure.IDLE)
    assert removals.retired == 2


def test_a_sign_of_life_calls_back_who_is_retired_and_nobody_else(removals: Removals) -> None:
    retire(removals, *KEYS[:2])
    removals.revoke(KEYS[2])
    for key in KEYS[:3]:
        removals.recall(key)
    assert removals.is_settled(KEYS[2])
    assert (removals.settled, removals.retired) == (1, 0)
    assert removals.next_batch(0.0) == (KEYS[2],)
    removals.recall(KEYS[2])
    assert removals.done(NOBODY, 0.0, 0.0) == {KEYS[2]: Departure.REVOKED}


def test_who_has_not_gone_in_time_has_to_be_looked_at_anew(removals: Removals) -> None:
    retire(removals, *KEYS[:2], until=10.0)
    assert removals.next_batch(10.0) == ()
    assert removals.retired == 0
    assert removals.ran_stale
    assert removals.next_deadline() is None


def test_the_revoked_that_the_device_kept_are_tried_again_the_retired_stay(removals: Removals) -> None:
    removals.revoke(KEYS[0])
    batch = removals.next_batch(0.0)
    assert removals.done(frozenset(batch), 0.0, 0.0) == {}
    assert removals.next_deadline() == RETRY
    assert removals.next_batch(RETRY) == batch
    removals.done(NOBODY, 0.0, RETRY)
    retire(removals, KEYS[1])
    removals.next_batch(5.0)
    assert removals.done(frozenset({KEYS[1]}), 0.0, 5.0) == {}
    assert (removals.settled, removals.retired) == (0, 0)


def test_who_is_being_removed_is_not_retired_again(removals: Removals) -> None:
    retire(removals, KEYS[0])
    removals.next_batch(0.0)
    retire(removals, KEYS[0], KEYS[1])
    assert (removals.settled, removals.retired, removals.revoked) == (1, 1, 0)
    removals.revoke(KEYS[0])
    assert (removals.settled, removals.retired) == (1, 1)

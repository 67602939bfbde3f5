"""Bounded memories: what a source may ask for, and what was seen a moment ago."""

from __future__ import annotations

import sys

from hypothesis import given
from hypothesis import strategies as st

from wgjit.core.knock.admission import FAULTS, RecentInitiations, RecentRefusals, Reputation, Reputations, SourceLimits
from wgjit.model import Endpoint
from wgjit.refusal import Refusal


def address(text: str) -> bytes:
    return Endpoint.parse(f"{text}:1").address


def test_a_source_gets_its_burst_and_then_its_rate() -> None:
    limits = SourceLimits(rate=2, burst=3)
    assert [limits.admit(address("192.0.2.1"), 0.0) for _ in range(4)] == [True, True, True, False]
    assert [limits.admit(address("192.0.2.1"), 0.5) for _ in range(2)] == [True, False]
    assert [limits.admit(address("192.0.2.1"), 100.0) for _ in range(4)] == [True, True, True, False]


def test_sources_do_not_share_an_ipv4_address_but_share_an_ipv6_64() -> None:
    limits = SourceLimits(rate=1, burst=1)
    assert limits.admit(address("192.0.2.1"), 0.0)
    assert limits.admit(address("192.0.2.2"), 0.0)
    assert limits.admit(address("[2001:db8::1]"), 0.0)
    assert not limits.admit(address("[2001:db8::2]"), 0.0)
    assert not limits.admit(address("[2001:db8::ff00:0:0:1]"), 0.0)
    assert limits.admit(address("[2001:db8:0:1::1]"), 0.0)


def test_the_memory_of_sources_is_bounded_and_forgets_the_longest_silent() -> None:
    limits = SourceLimits(rate=0, burst=1, capacity=2)
    for host in (1, 2, 3):
        assert limits.admit(address(f"192.0.2.{host}"), 0.0)
    assert len(limits) == 2
    assert not limits.admit(address("192.0.2.3"), 0.0)
    assert limits.admit(address("192.0.2.1"), 0.0)


def test_a_clock_that_stands_still_gives_no_tokens() -> None:
    limits = SourceLimits(rate=1000, burst=1)
    assert limits.admit(b"\1\2\3\4", 5.0)
    assert not limits.admit(b"\1\2\3\4", 5.0)


def test_an_initiation_is_recent_for_a_second_and_then_forgotten() -> None:
    recent = RecentInitiations(window=1.0, capacity=2)
    assert not recent.seen_before(b"a", 0.0)
    assert recent.seen_before(b"a", 0.5)
    assert not recent.seen_before(b"a", 1.5)
    assert not recent.seen_before(b"b", 1.5)
    assert not recent.seen_before(b"c", 1.5)
    assert not recent.seen_before(b"a", 1.6)


# --- reputations ---------------------------------------------------------------------------------------


def test_a_source_is_new_then_bad_for_a_while_and_good_once_proven() -> None:
    reputations = Reputations(good_for=100, bad_for=10)
    here = address("192.0.2.1")
    assert reputations.of(here, 0.0) is Reputation.NEW
    reputations.refused(here, Refusal.BAD_STATIC, 0.0)
    assert reputations.of(here, 9.9) is Reputation.BAD
    assert reputations.of(here, 10.0) is Reputation.NEW
    reputations.proven(here, 10.0)
    reputations.refused(here, Refusal.BAD_STATIC, 11.0)  # anybody can write this address
    assert reputations.of(here, 12.0) is Reputation.GOOD
    assert reputations.of(here, 110.0) is Reputation.NEW


def test_a_good_name_lasts_from_its_last_proof() -> None:
    reputations = Reputations(good_for=100, bad_for=10)
    one = address("192.0.2.1")
    reputations.proven(one, 50_000.0)
    assert reputations.of(one, 50_099.0) is Reputation.GOOD
    assert reputations.of(one, 50_100.0) is Reputation.NEW
    reputations.refused(one, Refusal.FORGED, 50_100.0)
    assert reputations.of(one, 50_109.0) is Reputation.BAD
    assert reputations.of(one, 50_110.0) is Reputation.NEW


def test_as_many_initiations_are_remembered_as_there_is_room_for() -> None:
    recent = RecentInitiations(window=1.0, capacity=2)
    assert not recent.seen_before(b"1", 0.0)
    assert not recent.seen_before(b"2", 0.0)
    assert recent.seen_before(b"1", 0.5)
    assert not recent.seen_before(b"3", 0.5)
    assert not recent.seen_before(b"2", 0.5), "it was the longest silent"


def test_only_faults_speak_against_a_source() -> None:
    for refusal in Refusal:
        reputations = Reputations()
        reputations.refused(address("192.0.2.1"), refusal, 0.0)
        assert (reputations.of(address("192.0.2.1"), 0.0) is Reputation.BAD) == (refusal in FAULTS)
    honest = {
        Refusal.STALE,
        Refusal.FUTURE,
        Refusal.OVERLOADED,
        Refusal.STORE_FAILED,
        Refusal.EXPIRED,
    }
    assert not honest & FAULTS


def test_standing_is_an_ipv6_64s_and_an_ipv4_addresss() -> None:
    reputations = Reputations()
    reputations.proven(address("[2001:db8::1]"), 0.0)
    reputations.refused(address("192.0.2.1"), Refusal.UNKNOWN, 0.0)
    assert reputations.of(address("[2001:db8::ffff]"), 1.0) is Reputation.GOOD
    assert reputations.of(address("[2001:db8:0:1::1]"), 1.0) is Reputation.NEW
    assert reputations.of(address("192.0.2.2"), 1.0) is Reputation.NEW


def test_good_sources_are_bounded_and_the_longest_silent_goes_first() -> None:
    reputations = Reputations(capacity=2)
    for host in (1, 2, 1, 3):
        reputations.proven(address(f"192.0.2.{host}"), float(host))
    assert len(reputations) == 2
    known = [host for host in (1, 2, 3) if reputations.of(address(f"192.0.2.{host}"), 3.0) is Reputation.GOOD]
    assert known == [1, 3]


def test_a_flood_of_made_up_sources_leaves_memory_good_names_and_most_newcomers_alone() -> None:
    reputations = Reputations()
    reputations.proven(address("192.0.2.1"), 0.0)
    size = sys.getsizeof(reputations._bad_until)
    for number in range(50_000):
        reputations.refused((198 << 24 | 18 << 16 | number).to_bytes(4, "big"), Refusal.BAD_STATIC, 1.0)
    assert sys.getsizeof(reputations._bad_until) == size < 5 << 20
    assert len(reputations) == 1
    assert reputations.of(address("192.0.2.1"), 2.0) is Reputation.GOOD
    innocent = [(10 << 24 | number * 9973).to_bytes(4, "big") for number in range(1000)]
    taken_for_bad = sum(reputations.of(source, 2.0) is Reputation.BAD for source in innocent)
    assert taken_for_bad < 100  # 50,000 in 2^20 places: about a twentieth


# --- recent refusals ----------------------------------------------------------------------------------------


def test_a_refused_key_is_asked_for_again_before_its_clients_next_try() -> None:
    recent = RecentRefusals()
    recent.remember(b"k" * 32, Refusal.UNKNOWN, 100.0)
    assert recent.recall(b"k" * 32, 103.9) is Refusal.UNKNOWN
    assert recent.recall(b"k" * 32, 104.0) is None
    assert len(recent) == 0
    assert recent.recall(b"other", 100.0) is None


def test_a_changed_key_is_asked_for_at_once() -> None:
    recent = RecentRefusals()
    recent.remember(b"k", Refusal.DISABLED, 0.0)
    recent.forget(b"k")
    recent.forget(b"never seen")
    assert recent.recall(b"k", 0.0) is None


def test_recent_refusals_are_bounded() -> None:
    recent = RecentRefusals(capacity=3)
    for number in (0, 1, 2, 0, 3, 4):
        recent.remember(bytes([number]), Refusal.UNKNOWN, 0.0)
    assert len(recent) == 3
    assert [number for number in range(5) if recent.recall(bytes([number]), 1.0)] == [0, 3, 4]


# --- any input -----------------------------------------------------------------------------------------------

KNOCKS = st.lists(
    st.tuples(st.sampled_from([b"\1\1\1\1", b"\2\2\2\2", b"\3" * 16, b"\4" * 16]), st.floats(0, 5)), min_size=1
)


@given(KNOCKS, st.integers(1, 50), st.integers(1, 50))
def test_no_source_ever_gets_more_than_burst_and_rate(knocks: list[tuple[bytes, float]], rate: int, burst: int) -> None:
    limits, now = SourceLimits(rate, burst), 0.0
    admitted: dict[bytes, int] = {}
    for source, wait in knocks:
        now += wait
        admitted[source] = admitted.get(source, 0) + limits.admit(source, now)
        assert admitted[source] <= burst + rate * now + 1e-6


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=2), st.floats(0, 3)), max_size=100), st.integers(1, 8))
def test_every_memory_stays_within_its_capacity(steps: list[tuple[bytes, float]], capacity: int) -> None:
    limits = SourceLimits(capacity=capacity)
    reputations, refusals = Reputations(capacity=capacity), RecentRefusals(capacity=capacity)
    now = 0.0
    for key, wait in steps:
        now += wait
        limits.admit(key.rjust(4), now)
        reputations.proven(key.rjust(4), now)
        refusals.remember(key, Refusal.UNKNOWN, now)
        assert max(len(limits), len(reputations), len(refusals)) <= capacity
        assert reputations.of(key.rjust(4), now) is Reputation.GOOD
        assert refusals.recall(key, now) is Refusal.UNKNOWN

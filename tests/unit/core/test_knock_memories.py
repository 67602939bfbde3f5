"""What a gateway remembers of knocks under way and in doubt: ends of ranges, and that each memory has an end."""

from __future__ import annotations

import pytest

from tests.unit.core.test_claims import HERE, KEY, T, knock, stored
from wgjit.core.knock import takeovers
from wgjit.core.knock.freshness import DRIFT, GRAIN, LATE, LEAST_PAUSE, MOST_PAUSE, PACE, Freshness
from wgjit.core.knock.inquiries import Inquiries
from wgjit.core.knock.knocks import Knock, Knocks
from wgjit.core.knock.parking import PER_PEER, REKEY_TIMEOUT, Parking
from wgjit.core.knock.takeovers import Takeovers
from wgjit.core.vocabulary.moment import Now
from wgjit.model import Holding, OtherGateway, PublicKey, Tai64n
from wgjit.refusal import Refusal
from wgjit.wire.noise import Claimed


def key(number: int) -> PublicKey:
    return PublicKey(number.to_bytes(32, "big"))


def made(stamp: float, arrived: float, whose: PublicKey = KEY, wall: float = T) -> Knock:
    """A knock with this timestamp that arrived at this monotonic time, and at `wall` by our clock."""
    one = knock(stamp, arrived=wall)
    one.arrived = arrived
    one.claimed = Claimed(whose, b"", b"", b"")
    one.record.public_key = whose
    return one


# --- freshness --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("age", "fresh"), [(LATE, True), (LATE + GRAIN / 2, True), (LATE + 2 * GRAIN, False)])
@pytest.mark.parametrize("ahead", [None, 100.0, -100.0])
def test_a_knock_is_fresh_up_to_its_age_by_the_fleets_clock(age: float, fresh: bool, ahead: float | None) -> None:
    freshness = Freshness()
    if ahead is not None:
        freshness.fleet_clock(ahead)
    assert freshness.accepts(made(T + (ahead or 0.0) - age, 1000.0), None) is fresh


def test_a_stamp_that_was_only_inferred_is_in_doubt_and_the_next_is_not() -> None:
    known = stored(T - 100, T - 100)
    for stamp, fresh in ((T - 100, False), (T, True)):
        assert Freshness().accepts(made(stamp, 1000.0), known) is fresh


def test_when_a_knock_was_made_is_told_by_the_fleets_clock() -> None:
    for ahead in (0.0, 100.0, -100.0):
        freshness = Freshness()
        freshness.fleet_clock(ahead)
        assert freshness.made_at(made(T + ahead, 1000.0), None) == T + ahead
        assert freshness.made_at(made(T + ahead - LATE, 1000.0), None) == T + ahead, (
            "it may have been under way so long"
        )
        assert freshness.made_at(made(T + ahead - 500, 1000.0), None) == pytest.approx(T + ahead - 500, abs=1e-3)
        assert freshness.made_at(made(T + ahead + 500, 1000.0), None) == T + ahead, "nobody knocks in the future"


def test_a_slow_clock_makes_a_knock_no_older() -> None:
    month = 30 * 86400.0
    known = stored(T - month, T - month)
    slow = T - month * DRIFT
    assert Freshness().accepts(made(slow, 1e9), known)
    assert not Freshness().accepts(made(slow - LATE - 1, 1e9), known)


@pytest.mark.parametrize(
    ("pause", "apart", "in_step"),
    [
        (LEAST_PAUSE, LEAST_PAUSE, True),
        (LEAST_PAUSE - 0.25, LEAST_PAUSE - 0.25, False),
        (MOST_PAUSE, MOST_PAUSE, True),
        (MOST_PAUSE + 0.25, MOST_PAUSE + 0.25, False),
        (8.0, 8.0 + PACE, True),
        (8.0, 8.0 - PACE, True),
        (8.0, 8.0 + 1.5 * PACE, False),
        (8.0, 8.0 - 1.5 * PACE, False),
    ],
)
def test_two_knocks_in_doubt_are_in_step_if_their_pauses_are_the_same(
    pause: float, apart: float, in_step: bool
) -> None:
    freshness = Freshness()
    assert not freshness.accepts(made(T - 5000, 1000.0), None)
    assert freshness.accepts(made(T - 5000 + apart, 1000.0 + pause), None) is in_step


def test_knocks_in_doubt_are_remembered_for_so_many_peers_the_longest_silent_goes_first() -> None:
    def accepts(whose: int, at: float) -> bool:
        return freshness.accepts(made(T - 5000 + at, 1000.0 + at, key(whose)), None)

    freshness = Freshness(capacity=2)
    for whose in (1, 2, 1, 3):
        assert not accepts(whose, 0.0)
    assert len(freshness._doubted) == 2
    assert accepts(1, 5.0)
    assert accepts(3, 5.0)
    assert not accepts(2, 5.0), "it was forgotten"


# --- lookups under way ------------------------------------------------------------------------------------------


def test_only_what_changed_while_it_was_asked_for_is_outdated() -> None:
    inquiries = Inquiries()
    first = inquiries.begin(key(1))
    assert not inquiries.end(key(1), first)
    inquiries.changed([key(1)])
    second = inquiries.begin(key(1))
    other = inquiries.begin(key(2))
    inquiries.changed([key(1)])
    third = inquiries.begin(key(1))
    assert inquiries.end(key(1), second)
    assert key(1) in inquiries
    assert not inquiries.end(key(1), third)
    assert not inquiries.end(key(2), other)
    assert key(1) not in inquiries
    assert (inquiries._open, inquiries._changed) == ({}, {}), "it remembers what is under way alone"


def test_a_change_before_the_very_first_question_is_no_news() -> None:
    inquiries = Inquiries()
    inquiries.changed([key(1)])
    assert not inquiries.end(key(1), inquiries.begin(key(1)))


# --- who waits --------------------------------------------------------------------------------------------------


def test_a_knock_waits_until_its_client_tries_again_and_no_longer() -> None:
    parking = Parking()
    early, late = made(T, 100.0), made(T + 1, 101.0)
    assert parking.park(KEY, early)
    assert parking.park(KEY, late)
    assert PER_PEER == 2
    assert not parking.park(KEY, made(T + 2, 102.0))
    assert parking.take_overdue(100.0 + REKEY_TIMEOUT - 0.01) == []
    assert parking.take_overdue(100.0 + REKEY_TIMEOUT) == [early]
    assert parking.take_overdue(100.0 + REKEY_TIMEOUT) == []
    assert parking.park(KEY, early), "its place is free"
    assert parking.take(KEY) == [late, early]
    assert len(parking) == 0


def test_a_knock_that_was_removed_waits_no_more() -> None:
    knocks = Knocks()
    one = made(T, 100.0)
    knocks.add(one)
    assert len(knocks) == 1
    assert knocks.get(one.number) is one
    knocks.remove(one)
    knocks.remove(one)
    assert len(knocks) == 0
    assert knocks.get(one.number) is None


# --- takeovers --------------------------------------------------------------------------------------------------

HELD = Holding(KEY, Tai64n.from_unix(T), 0, "other", 1, HERE, T)


def draining(monkeypatch: pytest.MonkeyPatch | None = None, remembered: int = 2) -> Takeovers:
    if monkeypatch is not None:
        monkeypatch.setattr(takeovers, "REMEMBERED", remembered)
    state = Takeovers()
    state.others([OtherGateway("other", lives=True, draining=False)])
    state.drain()
    return state


def test_a_client_that_finds_no_other_gateway_is_served_after_15_s() -> None:
    state = draining()
    for now, refusal in ((0.0, Refusal.DRAINING), (14.9, Refusal.DRAINING), (15.0, None), (16.0, None)):
        assert state.judge(KEY, HELD, Now(now, T)) is refusal


@pytest.mark.parametrize(("pause", "refusal"), [(120.0, None), (120.5, Refusal.DRAINING)])
def test_its_first_knock_is_forgotten_120_s_after_the_last(pause: float, refusal: Refusal | None) -> None:
    state = draining()
    state.judge(KEY, HELD, Now(0.0, T))
    assert state.judge(KEY, HELD, Now(pause, T)) is refusal


def test_first_knocks_are_forgotten_at_the_end_of_a_drain() -> None:
    state = draining()
    state.judge(KEY, HELD, Now(0.0, T))
    state.undrain(Now(1.0, T))
    state.drain()
    assert state.judge(KEY, HELD, Now(20.0, T)) is Refusal.DRAINING


def test_so_many_first_knocks_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    state = draining(monkeypatch)
    for number in (1, 2, 1, 3):
        state.judge(key(number), HELD, Now(0.0, T))
    assert [state.judge(key(number), HELD, Now(20.0, T)) for number in (1, 3)] == [None, None]
    assert state.judge(key(2), HELD, Now(20.0, T)) is Refusal.DRAINING


def test_after_a_drain_500_come_at_once_and_500_a_second_for_60_s() -> None:
    state = draining()
    state.undrain(Now(1000.0, T))

    def let_in(now: float) -> int:
        return sum(state.judge(KEY, HELD, Now(now, T)) is None for _ in range(2000))

    assert [let_in(1000.0), let_in(1000.0), let_in(1000.5), let_in(1002.0), let_in(1059.9)] == [500, 0, 250, 500, 500]
    assert let_in(1060.0) == 2000


def test_a_gateway_that_never_drained_paces_nobody() -> None:
    state = Takeovers()
    state.others([OtherGateway("other", lives=True, draining=False)])
    assert [state.judge(KEY, HELD, Now(0.0, T)) for _ in range(1000)] == [None] * 1000

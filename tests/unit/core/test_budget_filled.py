"""The budget's buckets, in numbers: what each gets in a while, and what becomes of the rest."""

from __future__ import annotations

import pytest

from wgjit.core.knock.admission import Reputation
from wgjit.core.knock.budget import GRAIN, Budget
from wgjit.errors import InvalidValue

GOOD, NEW, BAD = Reputation.GOOD, Reputation.NEW, Reputation.BAD


def budget(*empty: Reputation) -> Budget:
    """Ten tokens a second, ten at once: five for good sources, three for new, two for bad. Some have none left."""
    made = Budget(10.0, 10.0, (0.5, 0.3, 0.2))
    for reputation in empty:
        assert made.take(0.0, (5.0, 3.0, 2.0)[reputation], reputation)
    return made


def left(made: Budget, now: float) -> list[float]:
    """What each has at this moment, without spending it."""
    made.take(now, 1e9, GOOD)
    return made._tokens


def test_each_is_filled_at_its_share_of_the_rate() -> None:
    made = budget(GOOD, NEW, BAD)
    assert left(made, 0.1) == pytest.approx([0.5, 0.3, 0.2])
    assert left(made, 0.2) == pytest.approx([1.0, 0.6, 0.4])
    assert left(made, 0.2 + GRAIN) == pytest.approx([1.005, 0.603, 0.402])
    assert left(made, 100.0) == pytest.approx([5.0, 3.0, 2.0])


def test_good_and_new_give_each_other_what_they_cannot_hold() -> None:
    assert left(budget(NEW, BAD), 0.1) == pytest.approx([5.0, 0.3 + 0.5, 0.2])
    assert left(budget(GOOD, BAD), 0.1) == pytest.approx([0.5 + 0.3, 3.0, 0.2])
    assert left(budget(GOOD, NEW), 0.1) == pytest.approx([0.5, 0.3, 2.0]), "what bad ones cannot hold is nobody's"


def test_time_that_stands_still_or_goes_back_fills_nothing() -> None:
    made = budget(GOOD, NEW, BAD)
    for now in (0.0, -5.0, GRAIN / 2):
        assert left(made, now) == [0.0, 0.0, 0.0]
    assert left(made, GRAIN) == pytest.approx([0.005, 0.003, 0.002]), "a grain is enough, and none is lost"


def test_who_has_less_than_it_costs_spends_nothing() -> None:
    made = budget()
    assert not made.take(0.0, 2.5, BAD)
    assert made.take(0.0, 2.0, BAD)
    assert not made.take(0.0, 0.5, BAD)


@pytest.mark.parametrize("shares", [(1.0, 0.0, 0.0), (0.0, 0.5, 0.5)])
def test_a_share_may_be_nothing_and_a_rate_below_one(shares: tuple[float, ...]) -> None:
    Budget(0.5, 0.5, shares)


@pytest.mark.parametrize(
    ("rate", "burst", "shares"),
    [
        (0.0, 1.0, (0.5, 0.3, 0.2)),
        (1.0, 0.0, (0.5, 0.3, 0.2)),
        (-1.0, 1.0, (0.5, 0.3, 0.2)),
        (1.0, 1.0, (0.5, 0.5)),
        (1.0, 1.0, (0.5, 0.3, 0.1)),
        (1.0, 1.0, (1.5, -0.3, -0.2)),
    ],
)
def test_nonsense_is_refused(rate: float, burst: float, shares: tuple[float, ...]) -> None:
    with pytest.raises(InvalidValue, match="budget"):
        Budget(rate, burst, shares)

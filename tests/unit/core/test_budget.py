"""The budget for X25519: never more than its rate, and nobody starved."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgjit.core.knock.admission import Reputation
from wgjit.core.knock.budget import SHARES, Budget
from wgjit.errors import InvalidValue

GOOD, NEW, BAD = Reputation
RATE = 1000.0


def flood(
    budget: Budget, per_second: dict[Reputation, int], seconds: float, start: float = 0.0
) -> dict[Reputation, int]:
    """Evenly spaced demands; gives what was granted per standing."""
    moments = sorted(
        (start + (n + 0.5) / rate, standing)
        for standing, rate in per_second.items()
        for n in range(int(rate * seconds))
    )
    granted = dict.fromkeys(per_second, 0)
    for now, standing in moments:
        granted[standing] += budget.take(now, 1, standing)
    return granted


def drained() -> Budget:
    """A budget whose bursts are spent at second 0."""
    budget = Budget(RATE, RATE)
    for standing in Reputation:
        while budget.take(0.0, 1, standing):
            pass
    return budget


@pytest.mark.parametrize("flooding", [GOOD, NEW])
def test_good_or_new_alone_get_all_that_bad_does_not_own(flooding: Reputation) -> None:
    granted = flood(Budget(RATE, RATE), {flooding: 20_000}, 10)[flooding]
    assert granted == pytest.approx(SHARES[flooding] * RATE + (1 - SHARES[BAD]) * RATE * 10, rel=0.01)


def test_bad_alone_gets_its_share_and_no_more() -> None:
    granted = flood(Budget(RATE, RATE), {BAD: 20_000}, 10)[BAD]
    assert granted == pytest.approx(SHARES[BAD] * RATE * 11, rel=0.01)


@pytest.mark.parametrize("modest", Reputation)
def test_within_its_share_a_standing_gets_everything_whatever_the_others_do(modest: Reputation) -> None:
    demand = dict.fromkeys(Reputation, 20000) | {modest: int(SHARES[modest] * RATE) - 10}
    budget = drained()
    flood(budget, {standing: rate for standing, rate in demand.items() if standing is not modest}, 1)
    granted = flood(budget, demand, 5, start=1.0)
    assert granted[modest] == demand[modest] * 5
    for other in set(Reputation) - {modest}:
        assert granted[other] >= SHARES[other] * RATE * 5 * 0.99


def test_what_good_leaves_goes_to_new() -> None:
    granted = flood(drained(), {NEW: 20_000, BAD: 20_000}, 10)
    # GOOD's bucket takes a second to fill; then its half goes to NEW.
    assert granted[NEW] == pytest.approx(RATE * (0.3 * 10 + 0.5 * 9), rel=0.02)
    assert granted[BAD] == pytest.approx(RATE * 0.2 * 10, rel=0.02)


def test_a_refused_demand_costs_nothing() -> None:
    budget = Budget(10, 10)
    assert not budget.take(0.0, 5.5, GOOD)
    assert budget.take(0.0, 5, GOOD)
    assert not budget.take(0.0, 1, GOOD)
    assert budget.take(0.0, 3, NEW)


def test_a_clock_that_stands_still_or_goes_back_gives_nothing() -> None:
    budget = Budget(10, 10)
    assert budget.take(100.0, 5, GOOD)
    assert not budget.take(100.0, 1, GOOD)
    assert not budget.take(50.0, 1, GOOD)
    assert not budget.take(100.0, 1, GOOD)
    assert budget.take(100.2, 1, GOOD)


@pytest.mark.parametrize(
    ("rate", "burst", "shares"),
    [(0, 1, SHARES), (1, 0, SHARES), (1, 1, (0.5, 0.5)), (1, 1, (0.5, 0.6, 0.2)), (1, 1, (1.5, -0.3, -0.2))],
)
def test_a_budget_that_cannot_work_is_refused(rate: float, burst: float, shares: tuple[float, ...]) -> None:
    with pytest.raises(InvalidValue, match="budget"):
        Budget(rate, burst, shares)


@given(
    st.lists(st.tuples(st.floats(0, 2), st.sampled_from(Reputation), st.sampled_from([1, 2])), max_size=200),
    st.floats(1, 100),
    st.floats(1, 100),
)
def test_never_more_than_burst_and_rate(
    demands: list[tuple[float, Reputation, int]], rate: float, burst: float
) -> None:
    budget, now, granted = Budget(rate, burst), 0.0, 0
    for wait, standing, cost in demands:
        now += wait
        granted += cost * budget.take(now, cost, standing)
        assert granted <= burst + rate * now + 1e-6

"""Token buckets, by a clock of the test's own."""

from wgjit.api.entrance.rates import Rates


def test_two_seconds_worth_at_once_then_the_rate() -> None:
    rates = Rates()
    assert [rates.take("a", 5.0, 100.0) for _ in range(10)] == [0.0] * 10
    assert rates.take("a", 5.0, 100.0) == 0.2
    assert rates.take("a", 5.0, 100.25) == 0.0
    assert rates.take("a", 5.0, 100.25) > 0.0


def test_keys_do_not_pay_for_one_another() -> None:
    rates = Rates()
    while not rates.take("a", 1.0, 0.0):
        pass
    assert rates.take("b", 1.0, 0.0) == 0.0


def test_waiting_takes_nothing() -> None:
    rates = Rates()
    assert {rates.wait("a", 0.5, 0.0) for _ in range(9)} == {0.0}
    assert rates.take("a", 0.5, 0.0) == 0.0
    assert rates.wait("a", 0.5, 0.0) == 2.0


def test_a_slow_rate_lets_one_through_and_a_clock_set_back_gives_nothing() -> None:
    rates = Rates()
    assert rates.take("a", 0.01, 50.0) == 0.0
    assert rates.take("a", 0.01, 40.0) == 100.0


def test_what_is_kept_is_bounded() -> None:
    rates = Rates(most=3)
    for key in range(1000):
        rates.take(key, 1.0, 0.0)
    assert len(rates._buckets) == 3

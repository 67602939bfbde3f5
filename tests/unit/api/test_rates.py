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


def test_who_asked_longest_ago_is_forgotten_first() -> None:
    rates = Rates(most=2)
    for key in ("a", "b", "a", "c"):
        rates.take(key, 0.5, 0.0)
    assert list(rates._buckets) == ["a", "c"]


def test_the_time_to_wait_is_that_of_the_part_that_is_missing() -> None:
    rates = Rates()
    for _ in range(4):
        assert rates.take("a", 2.0, 0.0) == 0.0
    assert rates.wait("a", 2.0, 0.25) == rates.take("a", 2.0, 0.25) == 0.25
    assert rates.wait("a", 2.0, 0.5) == 0.0, "one is enough"
    assert rates.take("a", 2.0, 0.5) == 0.0


def test_how_full_a_bucket_is() -> None:
    rates = Rates()
    assert rates.fill("a", 2.0, 0.0) == 1.0
    rates.take("a", 2.0, 0.0)
    assert rates.fill("a", 2.0, 0.0) == 0.75
    rates.take("slow", 0.25, 0.0)
    assert rates.fill("slow", 0.25, 0.0) == 0.0
    assert rates.fill("slow", 0.25, 2.0) == 0.5

"""The steady bench's own judgement."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.load.client import Connect
from bench.steady import HEAD, PLACE_AGAIN, Minute, Outcome, Sample, main, part, places, plot, rows, sample_at, starts

MIB = 1 << 20
UP = Connect(0.0, up=0.01, attempts=1)
REKEY = Connect(0.0, up=0.02, attempts=2, is_first=False)


def outcome(**changed: object) -> Outcome:
    whole = Minute("all", 0.04, 60 * MIB, [UP] * 100, [REKEY] * 10)
    made = Outcome(40 * MIB, 50 * MIB, 10_000, [replace(whole, name="1")], whole, {"faults": {}, "residents": 10_100})
    return replace(made, **changed)  # type: ignore[arg-type]


def limit() -> float:
    return 55 * MIB + 100 * (10 * MIB / 10_000)


def test_memory_may_grow_by_a_tenth_and_by_what_newcomers_cost() -> None:
    one = outcome()
    assert one.limit() == pytest.approx(limit())
    assert one.missed() == [f"memory: 60.0 MiB, limit {limit() / MIB:.1f}"]
    assert outcome(whole=replace(one.whole, rss=55 * MIB)).missed() == []


def test_what_is_lost_is_told() -> None:
    whole = Minute("all", 0.06, 50 * MIB, [UP, replace(UP, up=None)], [replace(REKEY, up=None)] * 2)
    assert outcome(whole=whole, status={"faults": {"x": 1}, "residents": 1}).missed() == [
        "CPU: 6.0% of a core, limit 5%",
        "1 connects were lost",
        "2 rekeys were lost",
        "faults {'x': 1}",
    ]


def test_nothing_tried_is_no_success() -> None:
    assert outcome(whole=Minute("all", 0.0, 1)).missed() == ["no connects or no rekeys were tried"]


def test_a_part_has_what_began_in_it() -> None:
    samples = [Sample(float(n), n * 0.1, n * MIB) for n in range(20)]
    connects = [Connect(moment, is_first=first) for moment in (4.9, 5.0, 9.9, 10.0) for first in (True, False)]
    one = part("1", samples, connects, 5.0, 10.0)
    assert one.cpu == pytest.approx(0.1)
    assert one.rss == 10 * MIB
    assert [connect.intended for connect in one.connects] == [5.0, 9.9]
    assert [connect.intended for connect in one.rekeys] == [5.0, 9.9]
    assert one.lost == (2, 2)


def test_the_last_sample_stands_for_what_comes_after() -> None:
    samples = [Sample(1.0, 0.0, 1), Sample(2.0, 0.0, 2)]
    assert sample_at(samples, 0.0).rss == 1
    assert sample_at(samples, 1.5).rss == 2
    assert sample_at(samples, 9.0).rss == 2


def test_starts() -> None:
    assert starts(4, 0.05, 1) == [0.0, 30.0, 60.0, 90.0, 120.0, 140.0, 160.0]


def test_table_and_plot() -> None:
    lines = list(rows(outcome()))
    assert all(len(line) == len(HEAD) for line in lines)
    assert lines[-1] == ("all", "4.0%", "60.0", "100", "0", "0", "10.0", "10.0", "10", "0", "10", "20.0", "20.0")
    assert "% of a core" in plot(outcome())


def test_it_wants_residents() -> None:
    with pytest.raises(SystemExit) as raised:
        main(["--residents", "0"])
    assert raised.value.code == 2


def test_newcomers_take_turns_with_places_and_residents_keep_theirs() -> None:
    begins, given = starts(100, 2.0, 10), places(100, 2.0, 100 + 1200)
    assert given[:100] == list(range(100))
    assert max(given) == 100 + 2 * PLACE_AGAIN - 1
    taken: dict[int, float] = {}
    for begin, place in zip(begins, given, strict=True):
        assert begin - taken.get(place, -PLACE_AGAIN) >= PLACE_AGAIN
        taken[place] = begin

"""Who gets a connection; no sockets, and a clock that the tests move."""

from __future__ import annotations

from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from wgjit.api.entrance import places
from wgjit.api.entrance.places import Bounds, Place, Places, nothing

FEW = Bounds(unproven=8, of_source=4, proven=6, of_caller=4)
LATER = 100.0


def enter(some: Places, source: str, now: float, given_up: list[str] | None = None) -> Place | str:
    """A connection that notes when it loses its place."""
    return some.enter(source, now, nothing if given_up is None else partial(given_up.append, source))


def test_a_source_has_its_share_and_others_get_theirs() -> None:
    some = Places(FEW)
    assert all(isinstance(enter(some, "a", 0.0), Place) for _ in range(4))
    assert enter(some, "a", 0.0) == "source"
    assert isinstance(enter(some, "b", 0.0), Place)
    assert some.refused["source"] == 1


def test_who_had_its_time_without_a_handshake_makes_room_for_its_own_source() -> None:
    some = Places(FEW)
    lost: list[str] = []
    first = [enter(some, "a", number / 100, lost) for number in range(4)]
    some.shake(first[0], 0.1)  # type: ignore[arg-type]
    assert enter(some, "a", 0.1) == "source"
    assert isinstance(enter(some, "a", places.LEAST + 0.01, lost), Place)
    assert lost == ["a"]
    assert some.taken == (4, 0)
    some.leave(first[0])  # type: ignore[arg-type]
    some.leave(first[1])  # type: ignore[arg-type]  # it has lost its place already
    assert some.taken == (3, 0)


def test_a_finished_handshake_is_displaced_last() -> None:
    some = Places(FEW)
    for _ in range(4):
        some.shake(enter(some, "a", 0.0), 0.0)  # type: ignore[arg-type]
    assert enter(some, "a", places.LEAST) == "source"
    assert isinstance(enter(some, "a", places.KNOWN), Place)


def test_when_all_is_taken_who_has_most_loses_one_and_an_only_connection_stays() -> None:
    some = Places(FEW)
    lost: list[str] = []
    for _ in range(4):
        enter(some, "a", 0.0, lost)
    for source in "bcde":
        enter(some, source, 0.0, lost)
    assert isinstance(enter(some, "f", 0.0, lost), Place)  # at once: "a" has more than its share
    assert lost == ["a"]
    assert isinstance(enter(some, "a", LATER, lost), Place)  # of its own: all others have but one
    assert lost == ["a", "a"]


def test_an_honest_source_is_not_displaced_by_crowds_that_fill_all_places() -> None:
    some = Places(FEW)
    lost: list[str] = []
    assert isinstance(enter(some, "honest", 0.0, lost), Place)
    for number in range(300):
        enter(some, f"crowd {number % 3}", number / 10, lost)
    assert "honest" not in lost
    assert some.taken[0] <= FEW.unproven


def test_a_proven_connection_counts_for_its_caller_and_outlives_the_crowd() -> None:
    some = Places(FEW)
    lost: list[str] = []
    mine = enter(some, "a", 0.0, lost)
    assert isinstance(mine, Place)
    assert some.prove(mine, "token ops")
    for number in range(50):
        enter(some, "a", LATER + number)
    assert lost == []
    assert some.taken == (4, 1)
    some.doubt(mine, LATER * 2)
    assert some.taken == (5, 0)
    some.leave(mine)
    assert some.taken == (4, 0)


def test_a_caller_has_its_share_and_who_has_most_makes_room_for_another() -> None:
    some = Places(FEW)
    lost: list[str] = []

    def proven(source: str, caller: str) -> bool:
        place = enter(some, source, 0.0, lost)
        assert isinstance(place, Place)
        if some.prove(place, caller):
            return True
        some.leave(place)
        return False

    assert [proven("a", "greedy") for _ in range(5)] == [True] * 4 + [False]
    assert [proven("b", "other") for _ in range(2)] == [True] * 2
    assert proven("c", "third")
    assert lost == ["a"]
    assert some.taken == (0, 6)


def test_new_connections_have_a_rate_by_source_and_good_sources_are_not_held_to_that_of_all() -> None:
    some = Places(Bounds(unproven=10_000, of_source=10_000, proven=10, of_caller=10, rate=10.0, source_rate=20.0))
    good = enter(some, "good", 0.0)
    assert isinstance(good, Place)
    assert some.prove(good, "token")
    from_one = [enter(some, "a", 0.0) for _ in range(100)]
    assert sum(isinstance(each, Place) for each in from_one) == 31  # 11 while it came seldom, then 20
    assert set(map(str, filter(lambda each: isinstance(each, str), from_one))) == {"rate"}
    from_good = [enter(some, "good", 0.0) for _ in range(100)]
    assert sum(isinstance(each, Place) for each in from_good) == 39
    assert "source rate" in from_good
    assert isinstance(enter(some, "newcomer", 0.0), Place)  # who comes seldom has a rate of its own
    assert isinstance(enter(some, "a", LATER), Place)


@given(st.lists(st.tuples(st.sampled_from("EDSPL"), st.integers(0, 5), st.integers(0, 7)), max_size=200))
def test_the_bounds_hold_and_all_is_given_back_whatever_happens(steps: list[tuple[str, int, int]]) -> None:
    some = Places(FEW)
    held: list[Place] = []
    now = 0.0
    for what, who, which in steps:
        now += 0.1
        place = held[which % len(held)] if held else None
        match what:
            case "E":
                entered = some.enter(f"source {who}", now, nothing)
                if isinstance(entered, Place):
                    entered.give_up = partial(held.remove, entered)
                    held.append(entered)
            case "S" if place is not None:
                some.shake(place, now)
            case "P" if place is not None:
                some.prove(place, f"caller {who}")
            case "D" if place is not None:
                some.doubt(place, now)
            case "L" if place is not None:
                held.remove(place)
                some.leave(place)
        unproven, proven = some.taken
        assert unproven + proven == len(held)
        assert proven <= FEW.proven
        callers = [each.caller for each in held if each.caller is not None]
        assert proven == len(callers)
        assert all(callers.count(caller) <= FEW.of_caller for caller in callers)
    for place in held:
        some.leave(place)
        some.leave(place)
    assert some.taken == (0, 0)

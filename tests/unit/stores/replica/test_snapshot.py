"""Which transactions were read: what is read once is never asked for again, and nothing is left out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgjit.stores.replica.follower.snapshot import MOST_NAMED, Snapshot

MOST = 30


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    xmax = draw(st.integers(0, MOST))
    running = draw(st.frozensets(st.integers(0, max(0, xmax - 1)), max_size=6)) if xmax else frozenset()
    return Snapshot(min(running, default=xmax), xmax, running)


def seen(snapshot: Snapshot) -> set[int]:
    return {number for number in range(MOST + 10) if snapshot.sees(number)}


@pytest.mark.parametrize("text", ["5:5:", "5:9:5,7", "10:20:10,14,15"])
def test_the_text_form_of_the_server(text: str) -> None:
    assert str(Snapshot.parse(text)) == text


@pytest.mark.parametrize("text", ["", "5:9", "5:9:x", "a:b:", "5:9:5,", "1:2:1; DROP TABLE"])
def test_another_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no snapshot"):
        Snapshot.parse(text)


def test_as_the_server_reads_it() -> None:
    assert seen(Snapshot.parse("5:9:5,7")) == {0, 1, 2, 3, 4, 6, 8}


@given(snapshots(), snapshots())
def test_two_servers_together_have_read_what_either_has(one: Snapshot, other: Snapshot) -> None:
    both = one | other
    assert seen(both) == seen(one) | seen(other)
    assert both == other | one
    assert both | one == both
    assert Snapshot.parse(str(both)) == both


@given(st.integers(1, MOST), st.sets(st.integers(0, MOST + 5)))
def test_a_standby_names_no_running_transactions_but_its_rows_do(xmin: int, of_rows: set[int]) -> None:
    said = Snapshot(xmin, MOST + 9, frozenset()).with_seen(of_rows)
    assert seen(said) == set(range(xmin)) | of_rows


def test_a_standby_far_behind_a_long_transaction_names_only_what_is_before_it() -> None:
    said = Snapshot(5, 5).with_seen([7, 10 + MOST_NAMED])
    assert said == Snapshot(5, 5)
    assert seen(Snapshot(5, 5).with_seen([])) == set(range(5))

"""Who holds a peer: two holdings merge to the same one in any order, in the model and in a replica's file."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contracts.store import key
from wgjit.errors import StoreError
from wgjit.model import Endpoint, Holding, PublicKey, Tai64n
from wgjit.stores import packing
from wgjit.stores.sqlite.file import schema
from wgjit.stores.sqlite.rows import holding_rows

ENDPOINTS = tuple(map(Endpoint.parse, ("192.0.2.1:5000", "[2001:db8::1]:6000", "[fe80::1%3]:7000")))

HOLDINGS = st.builds(
    Holding,
    st.just(key(1)),
    st.integers(0, 3).map(lambda seconds: Tai64n.from_unix(1000.0 + seconds)),
    st.integers(0, 2),
    st.sampled_from(["a", "b", "B", "é", "𝄞", "\uffff"]),  # the order of texts is that of their bytes, everywhere
    st.integers(1, 3),
    st.sampled_from(ENDPOINTS),
    st.floats(0, 1e9, allow_nan=False),
    st.none() | st.floats(0, 1e9, allow_nan=False),
    st.none() | st.just("z"),
)


def merged(holdings: Sequence[Holding]) -> Holding | None:
    kept: Holding | None = None
    for each in holdings:
        kept = each.over(kept)
    return kept


def rank(holding: Holding) -> tuple[object, ...]:
    return holding.order, holding.gateway, holding.epoch


@given(st.lists(HOLDINGS, min_size=1, max_size=4))
def test_the_greatest_wins_in_any_order(said: list[Holding]) -> None:
    """F2. Of what one process says twice with one order, the later counts: it comes in order."""
    greatest = max(map(rank, said))
    for order in itertools.permutations(said):
        kept = merged(order)
        assert kept is not None
        assert rank(kept) == greatest
        last = [each for each in order if rank(each) == greatest][-1]
        assert dataclasses.replace(kept, before=None) == dataclasses.replace(last, before=None)


def test_who_held_the_peer_before_is_told() -> None:
    def said(gateway: str, seconds: float, **more: object) -> Holding:
        stamp = Tai64n.from_unix(seconds)
        return dataclasses.replace(Holding(key(1), stamp, 0, gateway, 1, ENDPOINTS[0], seconds), **more)  # type: ignore[arg-type]

    one, two = said("a", 1.0), said("b", 2.0)
    assert merged([one, two]) == dataclasses.replace(two, before="a")
    assert merged([one, two, said("b", 3.0)]) == said("b", 3.0, before="a"), "a rekey keeps it"
    assert merged([one, two, said("b", 2.0, until=9.0)]) == said("b", 2.0, until=9.0, before="a")
    assert merged([one, two, said("c", 4.0)]) == said("c", 4.0, before="b")


@given(HOLDINGS)
def test_a_row_comes_back(holding: Holding) -> None:
    assert packing.row_holding(*packing.holding_row(holding)) == holding


@pytest.mark.parametrize("place", [0, 1, 5])
def test_a_damaged_row_says_so(place: int) -> None:
    row: list[object] = list(packing.holding_row(Holding(key(1), Tai64n(bytes(12)), 0, "a", 1, ENDPOINTS[0], 1.0)))
    row[place] = b"short"
    with pytest.raises(StoreError, match=r"holding .* damaged"):
        packing.row_holding(*row)  # type: ignore[arg-type]


# --- in the file ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    path: Path = tmp_path_factory.mktemp("holdings") / "replica.db"
    schema.prepare(path, create=True, read_only=False)
    with contextlib.closing(schema.connect(path, read_only=False, timeout=1.0)) as db:
        yield db


def stored(db: sqlite3.Connection) -> Holding | None:
    row = db.execute(f"SELECT {holding_rows.COLUMNS} FROM holdings WHERE public_key = ?", (key(1),)).fetchone()
    return None if row is None else packing.row_holding(key(1), *row)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(HOLDINGS, min_size=1, max_size=6))
def test_the_file_merges_as_the_model(db: sqlite3.Connection, said: list[Holding]) -> None:
    db.execute("DELETE FROM holdings")
    kept: Holding | None = None
    for each in said:
        holding_rows.save(db, [each])
        kept = each.over(kept)
        assert stored(db) == kept


def take(db: sqlite3.Connection, holding: Holding) -> int:
    return db.execute(holding_rows.TAKE, (*packing.holding_row(holding), holding_rows.arrivals(db, 1))).rowcount


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(HOLDINGS, min_size=1, max_size=3), HOLDINGS, st.booleans())
def test_what_the_registry_of_record_has_is_taken_as_it_is_unless_a_greater_one_is_here(
    db: sqlite3.Connection, said: list[Holding], theirs: Holding, is_queued: bool
) -> None:
    db.execute("DELETE FROM holdings")
    db.execute("DELETE FROM outbox")
    holding_rows.save(db, said)
    ours = stored(db)
    assert ours is not None
    if is_queued:
        holding_rows.queue(db, "holding", [key(1)])
    place = db.execute("SELECT arrival FROM holdings").fetchone()
    take(db, theirs)
    if rank(ours) > rank(theirs) or (rank(ours) == rank(theirs) and is_queued) or ours == theirs:
        assert stored(db) == ours
        assert db.execute("SELECT arrival FROM holdings").fetchone() == place, "nothing new to hear"
    else:
        assert stored(db) == theirs
        assert db.execute("SELECT arrival FROM holdings").fetchone() > place


def test_numbers_of_arrivals_only_grow(db: sqlite3.Connection) -> None:
    one = Holding(PublicKey(bytes(32)), Tai64n(bytes(12)), 0, "a", 1, ENDPOINTS[0], 1.0)
    holding_rows.save(db, [one])
    (before,) = db.execute("SELECT max(arrival) FROM holdings").fetchone()
    db.execute("DELETE FROM holdings")
    holding_rows.save(db, [one])
    assert db.execute("SELECT max(arrival) FROM holdings").fetchone()[0] > before


def test_what_is_said_twice_before_it_is_sent_is_queued_once_at_the_end(db: sqlite3.Connection) -> None:
    db.execute("DELETE FROM outbox")
    holding_rows.queue(db, "claim", [key(1), key(2)])
    holding_rows.queue(db, "claim", [key(1)])
    assert [k for (k,) in db.execute("SELECT public_key FROM outbox ORDER BY seq")] == [key(2), key(1)]

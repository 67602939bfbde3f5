"""The statements that keep holdings, and the queue of what has to be said to the registry of record.

The functions work on an open connection, and the caller commits the transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from wgjit.model import Holding
from wgjit.stores import packing

COLUMNS = packing.holding_columns()

_MARKS = ", ".join(f"?{number}" for number in range(1, 11))
_ORDER = "{0}timestamp, {0}takeovers, {0}gateway, {0}epoch"
_NEW, _OLD = _ORDER.format("excluded."), _ORDER.format("holdings.")
_INSERT = f"INSERT INTO holdings (public_key, {COLUMNS}, arrival)"

SAVE = f"""
    {_INSERT} VALUES ({_MARKS})
    ON CONFLICT (public_key) DO UPDATE
    SET {", ".join(f"{column} = excluded.{column}" for column in packing.HOLDING_COLUMNS[:-1])},
        before = iif(excluded.gateway = holdings.gateway, coalesce(excluded.before, holdings.before), holdings.gateway),
        arrival = excluded.arrival
    WHERE ({_NEW}) >= ({_OLD})"""
"""Saves a `packing.holding_row` and its arrival as `Holding.over` does."""

_TAKE = f"""
    ON CONFLICT (public_key) DO UPDATE
    SET {", ".join(f"{column} = excluded.{column}" for column in packing.HOLDING_COLUMNS)}, arrival = excluded.arrival
    WHERE ({_NEW}) > ({_OLD})
       OR ({_NEW}) = ({_OLD})
          AND ({", ".join(f"excluded.{column}" for column in packing.HOLDING_COLUMNS[4:])})
              IS NOT ({", ".join(f"holdings.{column}" for column in packing.HOLDING_COLUMNS[4:])})
          AND NOT EXISTS (SELECT 1 FROM outbox WHERE what = 'holding' AND public_key = excluded.public_key)"""

TAKE = f"{_INSERT} VALUES ({_MARKS}) {_TAKE}"
"""Takes a row of the registry of record, unless a greater one is here, or an equal one that has still to be said."""


def take_all(select: str) -> str:
    """As `TAKE`, for all rows that a SELECT with a WHERE gives, each with its arrival at the end."""
    return f"{_INSERT} {select} {_TAKE}"


def save(db: sqlite3.Connection, holdings: Sequence[Holding]) -> None:
    """Save what this gateway says."""
    first = arrivals(db, len(holdings))
    rows = ((*packing.holding_row(holding), first + place) for place, holding in enumerate(holdings))
    db.executemany(SAVE, rows)


def arrivals(db: sqlite3.Connection, count: int) -> int:
    """The first of `count` new numbers for `arrival`. They only grow, also if rows are deleted."""
    (last,) = db.execute(
        "INSERT INTO replica (what, value) VALUES ('arrivals', ?1) "
        "ON CONFLICT (what) DO UPDATE SET value = value + ?1 RETURNING value",
        (count,),
    ).fetchone()
    return int(last) - count + 1


def queue(db: sqlite3.Connection, what: str, keys: Sequence[bytes]) -> None:
    """Note that these keys' claims (`claim`) or holdings (`holding`) have to be said, at the end of the queue."""
    db.executemany("INSERT OR REPLACE INTO outbox (what, public_key) VALUES (?, ?)", [(what, key) for key in keys])

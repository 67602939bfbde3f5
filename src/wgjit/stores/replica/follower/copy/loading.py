"""Writes the first copy: groups of rows into a replica that has no peers yet, a short transaction for each part.

While the first copy is made, the triggers that check a new peer are away: what comes from the registry of record is
checked there. `addresses` fills the table of addresses.
"""

from __future__ import annotations

import sqlite3
from typing import Any

from wgjit.stores.replica.follower.copy.ranges import NAMED, OTHER, STEP, Part
from wgjit.stores.sqlite.rows import claim_rows, holding_rows

TRIGGERS = ("peers_not_replaced", "peers_counted", "addresses_disjoint")


def begin(db: sqlite3.Connection) -> None:
    """Take the triggers away, inside a transaction. Harmless if they are away."""
    marks = ", ".join("?" * len(TRIGGERS))
    query = f"SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND name IN ({marks})"
    for name, sql in db.execute(query, TRIGGERS).fetchall():
        db.execute("INSERT OR REPLACE INTO replica (what, value) VALUES (?, ?)", (f"trigger {name}", sql))
        db.execute(f"DROP TRIGGER {name}")


def end(db: sqlite3.Connection) -> None:
    """Have the triggers back, inside a transaction. Harmless if they are there."""
    for what, sql in db.execute("SELECT what, value FROM replica WHERE what LIKE 'trigger %'").fetchall():
        db.execute(sql)
        db.execute("DELETE FROM replica WHERE what = ?", (what,))


def is_loading(db: sqlite3.Connection) -> bool:
    """Whether the triggers are away."""
    return db.execute("SELECT 1 FROM replica WHERE what LIKE 'trigger %' LIMIT 1").fetchone() is not None


# --- groups -----------------------------------------------------------------------------------------------------


def _field(start: int, size: int, record: int) -> str:
    """A column of fixed size, in the record number `key` of the long value ?1."""
    return f"substr(?1, key * {record} + {start + 1}, {size})"


def put_part(db: sqlite3.Connection, part: Part, *, fresh: bool) -> int:
    """Write all rows of a part, claims first. Returns the number of peers.

    `fresh`: no peer of this range is in the replica. Else those that are there are left as they are.
    """
    _have_ordinals(db)
    db.execute("PRAGMA ignore_check_constraints = 1")  # the registry of record has the same checks
    try:
        return _put_part(db, part, fresh=fresh)
    finally:
        db.execute("PRAGMA ignore_check_constraints = 0")


def _have_ordinals(db: sqlite3.Connection) -> None:
    """A table of the connection's own with the numbers from 0 on, one for each record of a long value."""
    db.execute("CREATE TEMP TABLE IF NOT EXISTS ordinals (key INTEGER PRIMARY KEY)")
    if db.execute("SELECT 1 FROM temp.ordinals LIMIT 1").fetchone() is None:
        db.executemany("INSERT INTO temp.ordinals VALUES (?)", ((number,) for number in range(STEP)))


def _put_part(db: sqlite3.Connection, part: Part, *, fresh: bool) -> int:
    for group in part.claims:
        _put_claims(db, *group)
    for group in part.holdings:
        _put_holdings(db, *group)
    for _, keys, moments in part.removed:
        db.execute(
            f"INSERT INTO removed (public_key, at) SELECT {_field(0, 32, 32)}, value FROM json_each(?2) WHERE true "
            "ON CONFLICT (public_key) DO UPDATE SET at = excluded.at",
            (keys, moments),
        )
    return sum(_put_peers(db, group, fresh=fresh) for group in part.peers)


def _put_peers(db: sqlite3.Connection, group: tuple[Any, ...], *, fresh: bool) -> int:
    size, secret, kind, count, blob, texts = group
    record = 32 + size + (32 if secret else 0)
    columns = {"public_key": _field(0, 32, record), "allowed_ips": _field(32, size, record) if size else "x''"}
    if secret:
        columns["preshared_key"] = _field(32 + size, 32, record)
    if kind == NAMED:
        columns["name"] = "value"
    elif kind == OTHER:
        names = ("keepalive", "enabled", "expires_at", "name", "idle_timeout")
        columns |= {name: f"json_extract(value, '$[{place}]')" for place, name in enumerate(names)}
    source, values = ("json_each(?2)", (blob, texts)) if texts else ("temp.ordinals WHERE key < ?2", (blob, count))
    if not fresh:
        source += f" {'AND' if texts is None else 'WHERE'} NOT EXISTS "
        source += f"(SELECT 1 FROM peers WHERE public_key = {columns['public_key']})"
    query = f"INSERT INTO peers ({', '.join(columns)}) SELECT {', '.join(columns.values())} FROM {source}"
    number = db.execute(query, values).rowcount
    db.execute("UPDATE totals SET count = count + ? WHERE what = 'peers'", (number,))
    return number


def _put_claims(
    db: sqlite3.Connection, size: int, inferred: bool, gateway: str, _count: int, blob: bytes, moments: str
) -> None:
    record = 32 + 12 + size + (12 if inferred else 0)
    proven = _field(44 + size, 12, record) if inferred else "NULL"
    values = f"{_field(0, 32, record)}, {_field(32, 12, record)}, ?2, {_field(44, size, record)}, value, {proven}"
    db.execute(claim_rows.save_all(f"SELECT {values} FROM json_each(?3) WHERE true"), (blob, gateway, moments))


def _put_holdings(db: sqlite3.Connection, size: int, gateway: str, count: int, blob: bytes, others: str) -> None:
    record = 32 + 12 + size
    first = holding_rows.arrivals(db, count)
    key, timestamp, endpoint = _field(0, 32, record), _field(32, 12, record), _field(44, size, record)
    takeovers, epoch, since, until, before = (f"json_extract(value, '$[{place}]')" for place in range(5))
    values = f"{key}, {timestamp}, {takeovers}, ?2, {epoch}, {endpoint}, {since}, {until}, {before}, ?4 + key"
    db.execute(holding_rows.take_all(f"SELECT {values} FROM json_each(?3) WHERE true"), (blob, gateway, others, first))

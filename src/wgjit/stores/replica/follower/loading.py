"""Writes the first copy: groups of rows into a replica that has no peers yet, a short transaction for each part.

While the first copy is made, the triggers that check a new peer are away: what comes from the registry of record is
checked there. The table of addresses is filled at the end, in the order of addresses: in the order of keys, each row
would touch another page. A thread sorts the addresses in a file of its own while the replica follows on, and then they
are moved in short transactions. A peer that changes meanwhile writes its addresses itself; it is `touched`.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkstemp
from typing import Any
from urllib.parse import quote

from wgjit.errors import StoreError
from wgjit.stores import packing
from wgjit.stores.replica.follower.ranges import NAMED, OTHER, STEP, Part
from wgjit.stores.sqlite.bulk.aside import temporary_folder
from wgjit.stores.sqlite.file import schema
from wgjit.stores.sqlite.rows import claim_rows, holding_rows

TRIGGERS = ("peers_not_replaced", "peers_counted", "addresses_disjoint")

MOVED = 10_000
"""Addresses that are moved in one transaction."""


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
    unless = "" if fresh else " WHERE NOT EXISTS (SELECT 1 FROM peers WHERE public_key = " + columns["public_key"] + ")"
    query = f"INSERT INTO peers ({', '.join(columns)}) SELECT {', '.join(columns.values())} FROM json_each(?2){unless}"
    number = db.execute(query, (blob, texts or _numbers(count))).rowcount
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


def _numbers(count: int) -> str:
    """A JSON array with so many elements."""
    return _ARRAYS if count == STEP else json.dumps([0] * count)


_ARRAYS = json.dumps([0] * STEP)


# --- addresses --------------------------------------------------------------------------------------------------

_SORTED = "CREATE TABLE aside.sorted (first BLOB NOT NULL, last BLOB, public_key BLOB NOT NULL)"
_SORT = """
    INSERT INTO aside.sorted (first, last, public_key)
    SELECT first, last, public_key FROM (
        SELECT substr(allowed_ips, 1, 5) AS first, NULL AS last, public_key FROM main.peers
            WHERE length(allowed_ips) = 6 AND substr(allowed_ips, 6, 1) = x'20'
        UNION ALL SELECT substr(allowed_ips, 1, 17), NULL, public_key FROM main.peers
            WHERE length(allowed_ips) = 18 AND substr(allowed_ips, 18, 1) = x'80'
        UNION ALL SELECT first, last, public_key FROM aside.others)
    ORDER BY first"""
_OTHERS = """
    SELECT public_key, allowed_ips FROM main.peers WHERE length(allowed_ips) > 0
        AND NOT (length(allowed_ips) = 6 AND substr(allowed_ips, 6, 1) = x'20')
        AND NOT (length(allowed_ips) = 18 AND substr(allowed_ips, 18, 1) = x'80')"""
_MOVE = """
    INSERT OR IGNORE INTO main.addresses (first, last, public_key)
    SELECT first, last, public_key FROM aside.sorted
    WHERE rowid > ?1 AND rowid <= ?1 + ?2 AND public_key NOT IN (SELECT public_key FROM temp.touched)"""


class Addresses:
    """Sorts the addresses of a replica's peers, on a thread of its own, and then gives them to `move`."""

    def __init__(self, path: Path) -> None:
        """The peers as they are now count. Raises StoreError."""
        self._path = path
        self._file: str | None = None
        self._error: Exception | None = None
        self._count = 0
        self._done = threading.Event()
        self._connection: sqlite3.Connection | None = None
        self._moved = 0
        self._thread = threading.Thread(target=self._run, name="sort addresses", daemon=True)
        self._thread.start()

    @property
    def is_sorted(self) -> bool:
        """Whether they may be moved. Raises StoreError if they could not be sorted."""
        if self._error is not None:
            raise StoreError(f"registry {self._path}: its addresses cannot be sorted: {self._error}") from self._error
        return self._done.is_set()

    def move(self, db: sqlite3.Connection) -> bool:
        """Move some into the table, inside a transaction. Returns whether there are more."""
        db.execute(_MOVE, (self._moved, MOVED))
        return self._moved + MOVED < self._count

    def moved(self) -> None:
        """What was moved last is committed."""
        self._moved += MOVED

    def attach(self, db: sqlite3.Connection) -> None:
        """Have the sorted file at hand, outside of a transaction. Harmless if it is."""
        if not any(row[1] == "aside" for row in db.execute("PRAGMA database_list")):
            db.execute("ATTACH ? AS aside", (f"file:{quote(str(self._file))}?mode=ro",))

    def close(self, db: sqlite3.Connection | None = None) -> None:
        """Delete the file."""
        if self._connection is not None:
            self._connection.interrupt()
        self._thread.join()
        if db is not None and any(row[1] == "aside" for row in db.execute("PRAGMA database_list")):
            db.execute("DETACH aside")
        if self._file is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._file)

    def _run(self) -> None:
        try:
            handle, self._file = mkstemp(prefix="wgjit-addresses-", dir=temporary_folder())
            os.close(handle)
            with contextlib.closing(schema.connect(self._path, read_only=True, timeout=5.0)) as db:
                self._connection = db
                db.execute("ATTACH ? AS aside", (f"file:{quote(self._file)}?mode=rwc",))
                for pragma in ("journal_mode = OFF", "synchronous = OFF"):
                    db.execute(f"PRAGMA aside.{pragma}")
                db.execute(_SORTED)
                db.execute("CREATE TABLE aside.others (first BLOB, last BLOB, public_key BLOB)")
                db.execute("BEGIN")
                with contextlib.closing(db.cursor()) as cursor:
                    cursor.execute(_OTHERS)
                    while some := cursor.fetchmany(1000):
                        db.executemany("INSERT INTO aside.others VALUES (?, ?, ?)", _ranges(some))
                db.execute(_SORT)
                db.execute("COMMIT")
                (self._count,) = db.execute("SELECT coalesce(max(rowid), 0) FROM aside.sorted").fetchone()
                self._connection = None
            self._done.set()
        except Exception as error:
            self._error = error


def _ranges(rows: list[tuple[bytes, bytes]]) -> Iterator[tuple[Any, ...]]:
    for key, packed in rows:
        with contextlib.suppress(ValueError):  # damaged: it gets no address, and the next repair writes it anew
            for first, last in packing.pack_ranges(packed, packing.unpack_allowed_ips(packed)):
                yield first, last, key

"""Fills a replica's table of addresses after the first copy, in the order of addresses.

In the order of keys, which is that of the copy, each row would touch another page. So a thread sorts the addresses of
the peers that are there already, while further ones are copied: one run for every `RUN` peers, in a file beside the
replica. At the end the runs are merged, and written in short transactions.

A peer that changes meanwhile writes its addresses itself. It is `touched`, and what was sorted of it does not count.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from wgjit.errors import StoreError
from wgjit.stores import packing
from wgjit.stores.sqlite.file import schema

RUN = 100_000
"""Peers whose addresses are sorted at once, at least; a twentieth of those that are there, so that runs stay few."""

MOVED = 5_000
"""Addresses that are written in one transaction, about."""

CACHE = 65_536
"""KiB of memory for the sorting."""

_RANGE = "FROM main.peers WHERE public_key > ?1 AND public_key <= ?2 AND length(allowed_ips) > 0"
_IS_SINGLE = """(length(allowed_ips) = 6 AND substr(allowed_ips, 6) = x'20'
             OR length(allowed_ips) = 18 AND substr(allowed_ips, 18) = x'80')"""

_SINGLES = f"""
    SELECT CAST(substr(allowed_ips, 1, length(allowed_ips) - 1) AS TEXT), NULL, public_key {_RANGE} AND {_IS_SINGLE}
    ORDER BY 1"""
"""Those of peers with a single address each: SQLite alone handles them."""

_COUNT = f"SELECT count(*) {_RANGE}"
_OTHERS = f"SELECT public_key, allowed_ips {_RANGE} AND NOT {_IS_SINGLE}"

_RUN = "CREATE TABLE aside.run{0} (first, last, public_key)"
"""The rows are in the order of `first`. It is a text, which SQLite's sorter compares faster; the bytes are the same."""

_END = b"\xff" * 33
"""After all keys."""


class Addresses:
    """See the head of this file. One thread calls this; the work is done on another one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = Path(f"{path}-addresses")
        self._error: Exception | None = None
        self._changed = threading.Condition()
        self._reached = b""
        self._peers = 0
        self._is_last = False
        self._runs = 0
        self._is_sorted = False
        self._closing = False
        self._connection: sqlite3.Connection | None = None
        self._parts: list[list[int]] = []
        self._next = 0
        self._is_at_hand = False
        self._known: set[bytes] = set()
        self._noted: set[bytes] = set()
        self._thread = threading.Thread(target=self._run, name="sort addresses", daemon=True)
        self._thread.start()

    def reached(self, key: bytes | None, peers: int) -> None:
        """All peers up to this key (None: all) are in the replica; so many have been copied since the copy began."""
        with self._changed:
            self._reached, self._peers, self._is_last = key or _END, peers, key is None
            self._changed.notify()

    @property
    def is_sorted(self) -> bool:
        """Whether they may be moved. Raises StoreError if they could not be sorted."""
        if self._error is not None:
            raise StoreError(f"registry {self._path}: its addresses cannot be sorted: {self._error}") from self._error
        return self._is_sorted

    def wait(self, seconds: float) -> None:
        """Wait until they are sorted, so long at most."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_sorted or self._error is not None, seconds)

    def attach(self, db: sqlite3.Connection) -> None:
        """Have what was sorted at hand, outside of a transaction. Harmless if it is."""
        if not self._is_at_hand or not _is_attached(db):
            _detach(db)
            db.execute("ATTACH ? AS aside", (f"file:{quote(str(self._file))}?mode=ro",))
            db.execute("CREATE TEMP TABLE IF NOT EXISTS touched (public_key BLOB PRIMARY KEY) WITHOUT ROWID")
            self._known, self._is_at_hand = set(), True
        if not self._parts:
            self._parts = self._cut(db)

    def _cut(self, db: sqlite3.Connection) -> list[list[int]]:
        """The runs in parts of all addresses between two: for each the last row of every run."""
        sizes = [
            db.execute(f"SELECT coalesce(max(rowid), 0) FROM aside.run{number}").fetchone()[0]
            for number in range(self._runs)
        ]
        longest = max(range(self._runs), key=sizes.__getitem__)
        every = max(1, MOVED * sizes[longest] // max(1, sum(sizes)))
        parts = []
        for row in range(every, sizes[longest], every):
            bound = _first(db, longest, row)
            parts.append([_rows_up_to(db, number, size, bound) for number, size in enumerate(sizes)])
        return [[0] * self._runs, *parts, sizes]

    def move(self, db: sqlite3.Connection, touched: set[bytes]) -> bool:
        """Write some into the table, inside a transaction. Returns whether there are more."""
        self._noted = set(touched)
        fresh = [(key,) for key in self._noted.difference(self._known)]
        db.executemany("INSERT OR IGNORE INTO temp.touched VALUES (?)", fresh)
        start, end = self._parts[self._next : self._next + 2]
        runs = " UNION ALL ".join(
            f"SELECT first, last, public_key FROM aside.run{number} WHERE rowid > {after} AND rowid <= {last}"
            for number, (after, last) in enumerate(zip(start, end, strict=True))
        )
        unless = " WHERE public_key NOT IN (SELECT public_key FROM temp.touched)" if touched else ""
        db.execute("PRAGMA ignore_check_constraints = 1")  # the registry of record has the same checks
        try:
            db.execute(
                "INSERT OR IGNORE INTO main.addresses (first, last, public_key) "
                f"SELECT CAST(first AS BLOB), last, public_key FROM ({runs}){unless}"
            )
        finally:
            db.execute("PRAGMA ignore_check_constraints = 0")
        return self._next + 2 < len(self._parts)

    def moved(self) -> None:
        """What was written last is committed."""
        self._next += 1
        self._known = self._noted

    def close(self, db: sqlite3.Connection | None = None) -> None:
        """Delete the file, outside of a transaction.

        If the connection still reads from the file, it keeps it open, and the next `attach` on it lets it go.
        """
        with self._changed:
            self._closing = True
            self._changed.notify()
            if self._connection is not None:
                self._connection.interrupt()
        self._thread.join()
        if db is not None:
            with contextlib.suppress(sqlite3.OperationalError):
                _detach(db)
        self._file.unlink(missing_ok=True)

    # --- the thread -------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._file.unlink(missing_ok=True)
            os.close(os.open(self._file, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
            with contextlib.closing(schema.connect(self._path, read_only=True, timeout=5.0, cache=CACHE)) as db:
                db.execute("ATTACH ? AS aside", (f"file:{quote(str(self._file))}?mode=rw",))
                for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -8192"):
                    db.execute(f"PRAGMA aside.{pragma}")
                self._sort_all(db)
        except Exception as error:
            self._error = error
        with self._changed:
            self._connection = None
            self._changed.notify_all()

    def _sort_all(self, db: sqlite3.Connection) -> None:
        after, peers = b"", 0
        while True:
            with self._changed:
                self._connection = None
                enough = peers + max(RUN, peers // 20)
                while not (self._closing or self._is_last or self._peers >= enough):
                    self._changed.wait()
                if self._closing:
                    return
                last, peers, is_last = self._reached, self._peers, self._is_last
                self._connection = db
            self._sort(db, after, last)
            after = last
            if is_last:
                self._is_sorted = True
                return

    def _sort(self, db: sqlite3.Connection, after: bytes, last: bytes) -> None:
        """Make runs of the addresses of these peers."""
        db.execute("BEGIN")
        db.execute(_RUN.format(self._runs))
        singles = db.execute(f"INSERT INTO aside.run{self._runs} {_SINGLES}", (after, last)).rowcount
        self._runs += 1
        if db.execute(_COUNT, (after, last)).fetchone() != (singles,):
            db.execute("CREATE TEMP TABLE others (first, last, public_key)")
            with contextlib.closing(db.cursor()) as cursor:
                cursor.execute(_OTHERS, (after, last))
                while some := cursor.fetchmany(1000):
                    db.executemany("INSERT INTO temp.others VALUES (CAST(? AS TEXT), ?, ?)", _ranges(some))
            db.execute(_RUN.format(self._runs))
            db.execute(f"INSERT INTO aside.run{self._runs} SELECT * FROM temp.others ORDER BY first")
            db.execute("DROP TABLE temp.others")
            self._runs += 1
        db.execute("COMMIT")


def _ranges(rows: list[tuple[bytes, bytes]]) -> Iterator[tuple[Any, ...]]:
    for key, packed in rows:
        with contextlib.suppress(ValueError):  # damaged: it gets no address, and the next repair writes it anew
            for first, last in packing.pack_ranges(packed, packing.unpack_allowed_ips(packed)):
                yield first, last, key


def _is_attached(db: sqlite3.Connection) -> bool:
    return "aside" in [name for _, name, _ in db.execute("PRAGMA database_list")]


def _detach(db: sqlite3.Connection) -> None:
    """Let go of a file that was attached. Raises sqlite3.OperationalError while a statement reads from it."""
    db.execute("DROP TABLE IF EXISTS temp.touched")
    if _is_attached(db):
        db.execute("DETACH aside")


def _first(db: sqlite3.Connection, run: int, row: int) -> bytes:
    """The first address of a row of a run."""
    (first,) = db.execute(f"SELECT CAST(first AS BLOB) FROM aside.run{run} WHERE rowid = ?", (row,)).fetchone()
    return bytes(first)


def _rows_up_to(db: sqlite3.Connection, run: int, size: int, bound: bytes) -> int:
    """How many of a run's rows have a first address up to this one."""
    return bisect_right(range(1, size + 1), bound, key=lambda row: _first(db, run, row))

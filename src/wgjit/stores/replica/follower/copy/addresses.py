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
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from wgjit.errors import StoreError
from wgjit.stores import packing
from wgjit.stores.sqlite.file import schema

RUN = 250_000
"""Peers whose addresses are sorted at once."""

MOVED = 5_000
"""Addresses that are written in one transaction, about."""

CACHE = 65_536
"""KiB of memory for the sorting."""

_SINGLE = """
    SELECT substr(allowed_ips, 1, {0} - 1) AS first, NULL AS last, public_key FROM main.peers
    WHERE public_key > ?1 AND public_key <= ?2 AND length(allowed_ips) = {0} AND substr(allowed_ips, {0}) = x'{1}'"""
_SINGLE_4, _SINGLE_6 = _SINGLE.format(6, "20"), _SINGLE.format(18, "80")

_OTHERS = """
    SELECT public_key, allowed_ips FROM main.peers
    WHERE public_key > ?1 AND public_key <= ?2 AND length(allowed_ips) > 0
      AND NOT (length(allowed_ips) = 6 AND substr(allowed_ips, 6) = x'20')
      AND NOT (length(allowed_ips) = 18 AND substr(allowed_ips, 18) = x'80')"""

_RUN = """
    CREATE TABLE aside.run{0} (
        first BLOB NOT NULL, last BLOB, public_key BLOB NOT NULL, PRIMARY KEY (first, public_key)) WITHOUT ROWID"""

_END = b"\xff" * 33
"""After all keys, and after all addresses."""


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
        self._bounds: list[bytes] = []
        self._next = 0
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
        if not _is_attached(db):
            db.execute("ATTACH ? AS aside", (f"file:{quote(str(self._file))}?mode=ro",))
            db.execute("CREATE TEMP TABLE IF NOT EXISTS touched (public_key BLOB PRIMARY KEY) WITHOUT ROWID")
            self._known = set()
        if not self._bounds:
            # The runs are samples of one another: every so many addresses of the longest one bound a part of all.
            query = "SELECT first FROM (SELECT first, row_number() OVER (ORDER BY first) AS place FROM aside.run0)"
            every = max(1, MOVED // max(1, self._runs))
            found = db.execute(f"{query} WHERE place % {every} = 0 ORDER BY first").fetchall()
            self._bounds = [b"", *(first for (first,) in found), _END]

    def move(self, db: sqlite3.Connection, touched: set[bytes]) -> bool:
        """Write some into the table, inside a transaction. Returns whether there are more."""
        self._noted = set(touched)
        fresh = [(key,) for key in self._noted.difference(self._known)]
        db.executemany("INSERT OR IGNORE INTO temp.touched VALUES (?)", fresh)
        low, high = self._bounds[self._next : self._next + 2]
        runs = " UNION ALL ".join(
            f"SELECT first, last, public_key FROM aside.run{number} WHERE first > ?1 AND first <= ?2"
            for number in range(self._runs)
        )
        query = f"""
            INSERT OR IGNORE INTO main.addresses (first, last, public_key)
            SELECT first, last, public_key FROM ({runs})
            WHERE public_key NOT IN (SELECT public_key FROM temp.touched) ORDER BY first"""
        db.execute(query, (low, high))
        return self._next + 2 < len(self._bounds)

    def moved(self) -> None:
        """What was written last is committed."""
        self._next += 1
        self._known = self._noted

    def close(self, db: sqlite3.Connection | None = None) -> None:
        """Delete the file, outside of a transaction."""
        with self._changed:
            self._closing = True
            self._changed.notify()
            if self._connection is not None:
                self._connection.interrupt()
        self._thread.join()
        if db is not None and _is_attached(db):
            db.execute("DROP TABLE temp.touched")
            db.execute("DETACH aside")
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
                enough = peers + RUN
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
        """Make a run of the addresses of these peers."""
        db.execute("CREATE TEMP TABLE others (first BLOB, last BLOB, public_key BLOB)")
        db.execute(_RUN.format(self._runs))
        db.execute("BEGIN")
        with contextlib.closing(db.cursor()) as cursor:
            cursor.execute(_OTHERS, (after, last))
            while some := cursor.fetchmany(1000):
                db.executemany("INSERT INTO temp.others VALUES (?, ?, ?)", _ranges(some))
        # As texts, which SQLite's sorter compares faster; the bytes are the same, and so is their order.
        db.execute(
            f"INSERT INTO aside.run{self._runs} (first, last, public_key) "
            "SELECT CAST(first AS BLOB), last, public_key FROM (SELECT CAST(first AS TEXT) AS first, last, public_key "
            f"FROM ({_SINGLE_4} UNION ALL {_SINGLE_6} UNION ALL SELECT * FROM temp.others) ORDER BY 1)",
            (after, last),
        )
        db.execute("COMMIT")
        db.execute("DROP TABLE temp.others")
        self._runs += 1


def _ranges(rows: list[tuple[bytes, bytes]]) -> Iterator[tuple[Any, ...]]:
    for key, packed in rows:
        with contextlib.suppress(ValueError):  # damaged: it gets no address, and the next repair writes it anew
            for first, last in packing.pack_ranges(packed, packing.unpack_allowed_ips(packed)):
                yield first, last, key


def _is_attached(db: sqlite3.Connection) -> bool:
    return any(name == "aside" for _, name, _ in db.execute("PRAGMA database_list"))

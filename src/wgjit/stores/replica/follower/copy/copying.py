"""The copy of the registry of record, range of keys by range of keys, and the repair, which is the same.

A replica without peers is loaded (`loading`). One that has peers is compared: what the registry does not have is
removed, what differs is written anew, and nothing else is touched. Claims and holdings that are greater here than
there, or are missing there, are said again, because the registry has lost them.

A range is read and written before anything else is read, so what is newer comes later. The last key is kept in the
file, so a copy that breaks off goes on there.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from wgjit.errors import StoreError
from wgjit.stores.replica.follower import file as rows
from wgjit.stores.replica.follower import reading
from wgjit.stores.replica.follower.copy import loading, ranges
from wgjit.stores.replica.follower.copy.addresses import Addresses
from wgjit.stores.replica.follower.file import File, is_same
from wgjit.stores.replica.follower.reading import Row
from wgjit.stores.replica.follower.servers import Server
from wgjit.stores.sqlite.rows import holding_rows

STEPS = 10
"""Parts of a range that are read in one transaction."""

CHUNK = 2000
"""Rows that are compared in one transaction."""

_HERE = f"SELECT {rows.COLUMNS} FROM peers WHERE public_key > ? AND public_key <= ?"


class Copy:
    """A copy under way. `after`: the last key that was copied, None if all rows are, and only addresses are missing."""

    def __init__(self, file: File, after: bytes | None, loaded: int, make_way: Callable[[], None]) -> None:
        """`make_way` is called before each transaction: it lets the gateway write first."""
        self.after = after
        self.loaded = loaded
        """Peers that were copied."""
        self.is_done = False
        self._file = file
        self._make_way = make_way
        self._addresses: Addresses | None = None
        self._is_caught_up = False

    def covers(self, key: bytes) -> bool:
        """Whether a key's rows were copied. What is new of others comes with the copy."""
        return self.after is None or key <= self.after

    def caught_up(self) -> None:
        """All that is new in the registry of record has been written."""
        self._is_caught_up = True

    def step(self, server: Server) -> bool:
        """Copy the next range. Returns False if what is new has to be read before the next call.

        Raises StoreError; then the next call begins it anew.
        """
        if self.after is None:
            return self._load_addresses()
        if self._file.is_loading:
            self._load(server)
            self._is_caught_up = False
        else:
            self._compare(server)
            self.is_done = self.after is None
        return True

    def close(self) -> None:
        """Give up what is not done. An error of the file is left to whoever uses the file next."""
        addresses, self._addresses = self._addresses, None
        if addresses is not None:
            try:
                with self._file.reading() as db:
                    addresses.close(db)
            except StoreError:
                addresses.close()

    # --- loading ----------------------------------------------------------------------------------------------

    def _load(self, server: Server) -> None:
        assert self.after is not None
        addresses = self._begin_addresses()
        asked: list[bytes] = []
        with server.view() as (db, extend):
            for part in ranges.read(db, ranges.bounds(db, self.after, STEPS), extend):
                low, last = part.range
                self._make_way()
                with self._file.writing() as file:
                    here = _keys(file, "peers", low, last, ranges.STEP * 2)
                    asked += here
                    self.loaded += loading.put_part(file, part, fresh=not here) + len(here)
                    rows.set_values(file, {"copied": last, "loaded": self.loaded})
                self.after = last
            if asked:  # single keys that the gateway has asked for before
                some = reading.peers(db, asked)
                with self._file.writing() as file:
                    self._file.put_peers(file, some)
                    self._file.drop_peers(file, list(set(asked).difference(row[0] for row in some)))
        addresses.reached(self.after, self.loaded)

    def _begin_addresses(self) -> Addresses:
        if self._addresses is None:
            with self._file.writing():  # nothing is written meanwhile, so nothing is missed
                self._file.touched = set()
                self._addresses = Addresses(self._file.path)
            self._addresses.reached(self.after, self.loaded)
        return self._addresses

    def _load_addresses(self) -> bool:
        addresses = self._begin_addresses()
        if not self._is_caught_up:
            return False  # a peer may have lost its address to another one since it was copied
        if not addresses.is_sorted:
            addresses.wait(0.1)
            return True
        self._make_way()
        with self._file.reading() as db:
            addresses.attach(db)
        with self._file.writing() as db:
            has_more = addresses.move(db, self._file.touched or set())
            if not has_more:
                loading.end(db)
        addresses.moved()
        if not has_more:
            self._file.is_loading, self._file.touched = False, None
            self.is_done = True
            self.close()
        return True

    # --- comparing --------------------------------------------------------------------------------------------

    def _compare(self, server: Server) -> None:
        assert self.after is not None
        after = self.after
        with server.view() as (db, extend):
            some = ranges.bounds(db, after, STEPS)
            last = some[-1][1]
            for table in ("claims", "holdings", "peers", "removed"):  # a trigger notes what is removed
                low = after
                for batch in reading.of_range(db, table, after, last, extend):
                    self._compare_all(table, low, batch[-1][0], batch)
                    low = batch[-1][0]
                self._compare_all(table, low, last, [])
        self._file.set({"copied": last, "loaded": self.loaded})
        self.after = last

    def _compare_all(self, table: str, after: bytes, last: bytes | None, some: list[Row]) -> None:
        """Have these rows of a table, and no other ones, with keys after `after` and up to `last`."""
        done = False
        while not done:
            part = some[:CHUNK]
            end = last if len(some) <= CHUNK else part[-1][0]
            self._make_way()
            with self._file.writing() as db:
                here = _keys(db, table, after, end, 2 * CHUNK)
                if len(here) == 2 * CHUNK:  # many that the registry does not have
                    end = here[-1]
                    part = [row for row in part if row[0] <= end]
                self._compare_some(db, table, set(here), part)
            if table == "peers":
                self.loaded += len(part)
            some = some[len(part) :]
            done = end == last
            after = end or after

    def _compare_some(self, db: sqlite3.Connection, table: str, here: set[bytes], some: list[Row]) -> None:
        surplus = list(here.difference(row[0] for row in some))
        if table == "peers":
            self._file.drop_peers(db, surplus)
            self._file.put_peers(db, _different(db, some))
        elif table == "removed":
            db.executemany("DELETE FROM removed WHERE public_key = ?", [(key,) for key in surplus])
            rows.put_removed(db, some)
        elif table == "claims":
            left = rows.put_claims(db, some)
            holding_rows.queue(db, "claim", [*surplus, *rows.greater_here(db, "claim", left)])
        else:
            left = rows.put_holdings(db, some)
            holding_rows.queue(db, "holding", [*surplus, *rows.greater_here(db, "holding", left)])


def _different(db: sqlite3.Connection, some: list[Row]) -> list[Row]:
    """The rows that are not as these here. They are in the order of keys."""
    if not some:
        return []
    first = int.from_bytes(some[0][0], "big")
    low = (first - 1).to_bytes(32, "big") if first else b""
    here = {row[0]: row for row in db.execute(_HERE, (low, some[-1][0]))}
    return [row for row in some if not is_same(here.get(row[0]), row)]


def _keys(db: sqlite3.Connection, table: str, after: bytes, last: bytes | None, limit: int) -> list[bytes]:
    """The first keys of a table after a key and up to another (None: to the end), in order."""
    bound, values = ("", [after]) if last is None else (" AND public_key <= ?", [after, last])
    query = f"SELECT public_key FROM {table} WHERE public_key > ?{bound} ORDER BY public_key LIMIT {limit}"
    return [key for (key,) in db.execute(query, values)]

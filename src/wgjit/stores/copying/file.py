"""A registry file as the one or the other end of a copy."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from wgjit.errors import StoreError
from wgjit.stores.copying.tables import Key, Row, Table, named
from wgjit.stores.sqlite.file import schema
from wgjit.stores.sqlite.file.errors import translate

_PATIENCE = 5.0
"""Seconds to wait for another program that writes."""

Db = sqlite3.Connection


class _File:
    """What both ends share: reading."""

    def __init__(self, path: Path, *, read_only: bool) -> None:
        self.path = path.absolute()
        self.place = str(path)
        schema.prepare(self.path, create=not read_only, read_only=read_only, unfinished=True)
        with self._translated():
            self._db = schema.connect(self.path, read_only=read_only, timeout=_PATIENCE)
        if self._one("SELECT 1 FROM replica LIMIT 1"):
            self.close()
            raise StoreError(
                f"registry {path}: is a gateway's copy of a registry in PostgreSQL, and has not all of it; give the "
                "URL of that registry"
            )

    def close(self) -> None:
        self._db.close()

    def identity(self) -> bytes:
        return bytes((self._one("SELECT value FROM meta WHERE what = 'identity'") or (b"",))[0])

    def mark(self) -> bytes | None:
        row = self._one("SELECT value FROM meta WHERE what = 'copying'")
        return None if row is None else bytes(row[0])

    def count(self, table: Table) -> int:
        if table.name == "peers":
            row = self._one("SELECT count FROM totals WHERE what = 'peers'")
        else:
            row = self._one(f"SELECT count(*) FROM {table.name}")
        return 0 if row is None else int(row[0])

    def rows(self, table: Table, after: Key | None, upto: Key | None, limit: int) -> list[Row]:
        with self._translated():
            if table.name == "freed":
                return self._freed(after, upto, limit)
            key, marks = ", ".join(table.columns[: table.key]), ", ".join("?" * table.key)
            above = f"({key}) > ({marks})" if after is not None else "TRUE"
            below = f"({key}) <= ({marks})" if upto is not None else "TRUE"
            query = f"SELECT {', '.join(table.columns)} FROM {table.name} WHERE {above} AND {below} ORDER BY {key}"
            return self._db.execute(f"{query} LIMIT ?", (*(after or ()), *(upto or ()), limit)).fetchall()

    def _freed(self, after: Key | None, upto: Key | None, limit: int) -> list[Row]:
        """Pool by pool, since the table has a pool's number in its key."""
        found: list[Row] = []
        for number, *bounds in self._db.execute("SELECT id, first, last FROM pools ORDER BY first, last").fetchall():
            pool = tuple(bounds)
            low = (b"", b"") if after is None or pool > after[:2] else after[2:]
            high = (b"\xff", b"") if upto is None or pool < upto[:2] else upto[2:]
            if (after is not None and pool < after[:2]) or (upto is not None and pool > upto[:2]):
                continue
            query = (
                "SELECT first, last, at FROM freed WHERE pool = ? AND (first, last) > (?, ?) "
                "AND (first, last) <= (?, ?) ORDER BY first, last LIMIT ?"
            )
            some = self._db.execute(query, (number, *low, *high, limit - len(found))).fetchall()
            found += [(*pool, *row) for row in some]
            if len(found) >= limit:
                break
        return found

    def _one(self, query: str, parameters: Sequence[Any] = ()) -> Any:
        with self._translated():
            return self._db.execute(query, parameters).fetchone()

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise translate(error, self.path) from error


class FileSource(_File):
    """A file that is copied from: all that is read is as it was at one moment. Raises StoreError if there is none.

    Nothing in the file changes. Meanwhile its write-ahead log can only grow.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, read_only=True)
        with self._translated():
            self._version = self._db.execute("PRAGMA data_version").fetchone()
            self._db.execute("BEGIN")
            self._db.execute("SELECT 1 FROM meta").fetchone()  # the moment begins with the first reading

    def has_changed(self) -> bool:
        with self._translated():
            self._db.execute("COMMIT")
            return bool(self._db.execute("PRAGMA data_version").fetchone() != self._version)


class FileTarget(_File):
    """A file that is copied into. It is made if there is none."""

    derived: frozenset[str] = frozenset()

    def __init__(self, path: Path) -> None:
        super().__init__(path, read_only=False)

    def last(self, table: Table) -> Key | None:
        key = table.columns[: table.key]
        if table.name == "freed":
            query = (
                "SELECT p.first, p.last, f.first, f.last FROM freed AS f JOIN pools AS p ON p.id = f.pool "
                "ORDER BY 1 DESC, 2 DESC, 3 DESC, 4 DESC LIMIT 1"
            )
        else:
            order = ", ".join(f"{column} DESC" for column in key)
            query = f"SELECT {', '.join(key)} FROM {table.name} ORDER BY {order} LIMIT 1"
        row = self._one(query)
        return None if row is None else tuple(row)

    def set_mark(self, identity: bytes | None) -> None:
        with self._changing() as db:
            if identity is None:
                db.execute("DELETE FROM meta WHERE what = 'copying'")
            else:
                db.execute("INSERT OR REPLACE INTO meta (what, value) VALUES ('copying', ?)", (identity,))

    def insert(self, table: Table, rows: Sequence[Row]) -> None:
        try:
            with self._changing() as db:
                self._insert(db, table, rows)
        except StoreError as error:
            raise self._refusal(table, rows, error) from None

    def delete(self, table: Table, rows: Sequence[Row]) -> None:
        with self._changing() as db:
            if table.name == "freed":
                numbers = _pools(db)
                query = "DELETE FROM freed WHERE pool = ? AND first = ? AND last = ?"
                db.executemany(query, [(numbers[row[:2]], *row[2:4]) for row in rows])
                return
            if table.name == "pools":
                query = "DELETE FROM freed WHERE pool = (SELECT id FROM pools WHERE first = ? AND last = ?)"
                db.executemany(query, [row[:2] for row in rows])
            wanted = " AND ".join(f"{column} = ?" for column in table.columns[: table.key])
            db.executemany(f"DELETE FROM {table.name} WHERE {wanted}", [table.key_of(row) for row in rows])

    def _insert(self, db: Db, table: Table, rows: Sequence[Row]) -> None:
        columns, name = table.columns, table.name
        if name == "freed":
            numbers = _pools(db)
            columns, rows = ("pool", *columns[2:]), [(numbers[row[:2]], *row[2:]) for row in rows]
        elif name == "holdings":  # of the order in which they came, only a replica has something to tell
            columns, rows = (*columns, "arrival"), [(*row, 0) for row in rows]
        marks = ", ".join("?" * len(columns))
        db.executemany(f"INSERT INTO {name} ({', '.join(columns)}) VALUES ({marks})", rows)

    def _refusal(self, table: Table, rows: Sequence[Row], error: StoreError) -> StoreError:
        """The error for the first row that is refused, if it is a row's fault."""
        for row in rows if isinstance(error.__cause__, sqlite3.IntegrityError) else ():
            try:
                with self._changing() as db:
                    self._insert(db, table, [row])
                    raise _UndoneError
            except _UndoneError:
                continue
            except StoreError as refused:
                return StoreError(f"{refused}: {named(table, row)}")
        return error

    @contextlib.contextmanager
    def _changing(self) -> Iterator[Db]:
        with self._translated():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")


class _UndoneError(Exception):
    """Ends a transaction that was only a trial."""


def _pools(db: Db) -> dict[Row, int]:
    """The numbers of the pools by first and last address."""
    return {(first, last): number for number, first, last in db.execute("SELECT id, first, last FROM pools")}

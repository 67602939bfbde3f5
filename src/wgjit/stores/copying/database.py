"""A registry in PostgreSQL as the one or the other end of a copy. Rows go by the binary forms of the protocol."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg

from wgjit.database_url import DatabaseUrl
from wgjit.errors import StoreError
from wgjit.stores import packing
from wgjit.stores.copying import binary
from wgjit.stores.copying.tables import Key, Row, Table, named
from wgjit.stores.postgresql.database import schema
from wgjit.stores.postgresql.database.errors import code_of, translate
from wgjit.stores.postgresql.database.schema import Db

_TYPES = {
    "public_key": "bytea",
    "allowed_ips": "cidr[]",
    "preshared_key": "bytea",
    "keepalive": "int4",
    "enabled": "bool",
    "expires_at": "int8",
    "name": "text",
    "idle_timeout": "int4",
    "key": "text",
    "value": "text",
    "timestamp": "bytea",
    "gateway": "text",
    "endpoint": "bytea",
    "proven_at": "float8",
    "proven": "bytea",
    "takeovers": "int8",
    "epoch": "int8",
    "since": "float8",
    "until": "float8",
    "before": "text",
    "id": "text",
    "hash": "bytea",
    "scope": "text",
    "rate": "float8",
    "created_at": "float8",
    "last_used_at": "float8",
    "revoked_at": "float8",
    "actor": "text",
    "verb": "text",
    "old_key": "bytea",
    "details": "text",  # of type json, whose binary form is its text
    "fingerprint": "bytea",
    "status": "int4",
    "body": "bytea",
    "at": "float8",
}
"""The types of the columns, where a table has no other."""

_OTHER_TYPES = {
    ("removed", "at"): "int8",
    ("tokens", "expires_at"): "float8",
    ("audit", "id"): "int8",
}


class _Database:
    """What both ends share: reading."""

    def __init__(self, url: DatabaseUrl) -> None:
        self.place = str(url)
        self._url = url
        with self._translated():
            self._db = schema.connect(url, unfinished=True)
        binary.register(self._db)

    def close(self) -> None:
        self._db.close()

    def identity(self) -> bytes:
        return bytes((self._one("SELECT value FROM wgjit.meta WHERE what = 'identity'") or (b"",))[0])

    def mark(self) -> bytes | None:
        row = self._one("SELECT value FROM wgjit.meta WHERE what = 'copying'")
        return None if row is None else bytes(row[0])

    def count(self, table: Table) -> int:
        match table.name:
            case "peers":
                query = "SELECT coalesce(sum(peers), 0) FROM wgjit.tallies"
            case "freed":
                query = "SELECT (SELECT count(*) FROM wgjit.freed) + (SELECT count(*) FROM wgjit.ready)"
            case name:
                query = f"SELECT count(*) FROM wgjit.{name}"
        return int((self._one(query) or (0,))[0])

    def rows(self, table: Table, after: Key | None, upto: Key | None, limit: int) -> list[Row]:
        with self._translated():
            match table.name:
                case "addresses":
                    return self._addresses(after, upto, limit)
                case "pools":
                    return [row for row in self._pools() if _between(row[:2], after, upto)][:limit]
                case "freed":
                    return self._freed(after, upto, limit)
            key, marks = ", ".join(table.columns[: table.key]), ", ".join(["%s"] * table.key)
            above = f"({key}) > ({marks})" if after is not None else "TRUE"
            below = f"({key}) <= ({marks})" if upto is not None else "TRUE"
            query = (
                f"SELECT {', '.join(map(_read, table.columns))} FROM wgjit.{table.name} "
                f"WHERE {above} AND {below} ORDER BY {key} LIMIT %s"
            )
            return self._fetch(query, (*(after or ()), *(upto or ()), limit))

    def _addresses(self, after: Key | None, upto: Key | None, limit: int) -> list[Row]:
        # A prefix comes before all that is inside of it, so the key is the first address as a prefix of its own.
        query = "SELECT prefix, public_key FROM wgjit.addresses WHERE {} AND {} ORDER BY prefix LIMIT %s".format(
            "prefix > %s::cidr" if after is not None else "TRUE", "prefix <= %s::cidr" if upto is not None else "TRUE"
        )
        bounds = [_text(key[0]) for key in (after, upto) if key is not None]
        return [(*_range(prefix), key) for prefix, key in self._fetch(query, (*bounds, limit))]

    def _pools(self) -> list[Row]:
        found = self._fetch("SELECT prefix, next FROM wgjit.pools", ())
        ranges = (((*_range(prefix), mark)) for prefix, mark in found)
        return sorted(((first, last or first, mark) for first, last, mark in ranges), key=lambda row: row[:2])

    def _freed(self, after: Key | None, upto: Key | None, limit: int) -> list[Row]:
        """Pool by pool. Addresses that are ready to be given out are, in a file, freed ones that have rested long."""
        found: list[Row] = []
        one = (
            "(SELECT {} FROM wgjit.{} WHERE pool = %(pool)s AND (%(low)s::inet IS NULL OR ({}) > (%(low)s::inet, "
            "%(end)s::inet)) AND (%(high)s::inet IS NULL OR ({}) <= (%(high)s::inet, %(top)s::inet)) {} "
            "ORDER BY 1, 2 LIMIT %(limit)s)"
        )
        not_freed = (
            "AND NOT EXISTS (SELECT FROM wgjit.freed AS f WHERE f.pool = ready.pool AND f.first = ready.address "
            "AND f.last = ready.address)"
        )
        query = " UNION ALL ".join(
            (
                one.format("first, last, at", "freed", "first, last", "first, last", ""),
                one.format("address, address, 0::bigint", "ready", "address, address", "address, address", not_freed),
            )
        )
        numbers = self._numbers()
        for pool in sorted(numbers):
            if (after is not None and pool < after[:2]) or (upto is not None and pool > upto[:2]):
                continue
            low = (None, None) if after is None or pool > after[:2] else map(_text, after[2:])
            high = (None, None) if upto is None or pool < upto[:2] else map(_text, upto[2:])
            bounds = dict(zip(("low", "end", "high", "top"), (*low, *high), strict=True))
            parameters = {"pool": numbers[pool], "limit": limit - len(found), **bounds}
            found += [(*pool, *row) for row in self._fetch(f"{query} ORDER BY 1, 2 LIMIT %(limit)s", parameters)]
            if len(found) >= limit:
                break
        return found

    def _numbers(self) -> dict[Row, int]:
        """The numbers of the pools by first and last address."""
        rows = self._fetch("SELECT prefix, id FROM wgjit.pools", ())
        return {(first, last or first): number for prefix, number in rows for first, last in (_range(prefix),)}

    def _fetch(self, query: str, parameters: Any) -> list[Row]:
        return self._db.execute(query.encode(), parameters, binary=True).fetchall()

    def _one(self, query: str) -> Any:
        with self._translated():
            return self._db.execute(query.encode()).fetchone()

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            if code_of(error) == "42501":
                raise StoreError(
                    f"registry {self.place}: access is denied; copy as the role that owns the schema wgjit"
                ) from None
            raise translate(error, self._url) from None


_VERSION = """
    SELECT (SELECT sum(value) FROM wgjit.numbers), (SELECT sum(peers) FROM wgjit.tallies),
           (SELECT max(id) FROM wgjit.audit), (SELECT max(written)::text FROM wgjit.claims),
           (SELECT max(written)::text FROM wgjit.holdings), (SELECT count(*) FROM wgjit.tokens)"""
"""Moves with every change that people make, and with every claim."""


class DatabaseSource(_Database):
    """A database that is copied from: all that is read is as it was at one moment."""

    def __init__(self, url: DatabaseUrl) -> None:
        super().__init__(url)
        with self._translated():
            self._db.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            self._db.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            self._version = self._fetch(_VERSION, ())

    def has_changed(self) -> bool:
        with self._translated():
            self._db.execute("COMMIT")
            return self._fetch(_VERSION, ()) != self._version


class DatabaseTarget(_Database):
    """A database that is copied into, with a registry in it."""

    derived = frozenset({"addresses"})

    def last(self, table: Table) -> Key | None:
        with self._translated():
            if table.name == "pools":
                return max((row[:2] for row in self._pools()), default=None)
            if table.name == "freed":
                return self._last_freed()
            key = table.columns[: table.key]
            order = ", ".join(f"{column} DESC" for column in key)
            rows = self._fetch(f"SELECT {', '.join(key)} FROM wgjit.{table.name} ORDER BY {order} LIMIT 1", ())
        return rows[0] if rows else None

    def _last_freed(self) -> Key | None:
        numbers = self._numbers()
        query = "SELECT first, last FROM wgjit.freed WHERE pool = %s ORDER BY first DESC, last DESC LIMIT 1"
        for pool in sorted(numbers, reverse=True):
            if rows := self._fetch(query, (numbers[pool],)):
                return (*pool, *rows[0])
        return None

    def set_mark(self, identity: bytes | None) -> None:
        with self._changing() as db:
            db.execute("DELETE FROM wgjit.meta WHERE what = 'copying'")
            if identity is not None:
                db.execute("INSERT INTO wgjit.meta (what, value) VALUES ('copying', %s)", (identity,))

    def insert(self, table: Table, rows: Sequence[Row]) -> None:
        for row in rows:
            _check(table, row)
        try:
            with self._changing() as db:
                self._insert(db, table, rows)
        except psycopg.Error as error:
            raise self._refusal(table, rows, error) from None

    def delete(self, table: Table, rows: Sequence[Row]) -> None:
        with self._translated(), self._changing() as db, db.cursor() as cursor:
            if table.name == "freed":
                numbers = self._numbers()
                query = "DELETE FROM wgjit.freed WHERE pool = %s AND first = %s::inet AND last = %s::inet"
                cursor.executemany(query, [(numbers[row[:2]], *map(_text, row[2:4])) for row in rows])
                query = "DELETE FROM wgjit.ready WHERE pool = %s AND address = %s::inet AND %s::inet = address"
                cursor.executemany(query, [(numbers[row[:2]], *map(_text, row[2:4])) for row in rows])
            elif table.name == "pools":
                prefixes = [(str(packing.unpack_range(*row[:2])),) for row in rows]
                cursor.executemany("DELETE FROM wgjit.pools WHERE prefix = %s::cidr", prefixes)
            else:
                wanted = " AND ".join(f"{column} = %s" for column in table.columns[: table.key])
                cursor.executemany(
                    f"DELETE FROM wgjit.{table.name} WHERE {wanted}".encode(), [table.key_of(row) for row in rows]
                )

    def _insert(self, db: Db, table: Table, rows: Sequence[Row]) -> None:
        columns = list(table.columns)
        if table.name == "pools":
            query = "INSERT INTO wgjit.pools (prefix, next) VALUES (%s::cidr, %s::inet)"
            with db.cursor() as cursor:
                pools = [(str(packing.unpack_range(*row[:2])), row[2] and _text(row[2])) for row in rows]
                cursor.executemany(query, pools)
            return
        types = [_OTHER_TYPES.get((table.name, column)) or _TYPES.get(column, "") for column in columns]
        if table.name == "peers":
            rows = [(*row[:4], bool(row[4]), *row[5:]) for row in rows]
        elif table.name == "freed":
            numbers = self._numbers()
            columns, types = ["pool", "first", "last", "at"], ["int4", "inet", "inet", "int8"]
            rows = [(numbers[row[:2]], *row[2:]) for row in rows]
        names = ", ".join(columns)
        with db.cursor() as cursor:
            with cursor.copy(f"COPY wgjit.{table.name} ({names}) FROM STDIN (FORMAT BINARY)".encode()) as copy:
                copy.set_types(types)
                for row in rows:
                    copy.write_row(row)
            if table.name == "audit":
                cursor.execute("SELECT setval(pg_get_serial_sequence('wgjit.audit', 'id'), %s)", (rows[-1][0],))

    def _refusal(self, table: Table, rows: Sequence[Row], error: psycopg.Error) -> StoreError:
        """The error for the first row that is refused, if it is a row's fault."""
        refused = translate(error, self._url)
        if code_of(error) == "42501":
            return StoreError(f"registry {self.place}: access is denied; copy as the role that owns the schema wgjit")
        for row in rows if isinstance(error, psycopg.IntegrityError | psycopg.DataError) else ():
            try:
                with self._changing(keep=False) as db:
                    self._insert(db, table, [row])
            except psycopg.Error as error:
                return StoreError(f"{translate(error, self._url)}: {named(table, row)}")
        return refused

    @contextlib.contextmanager
    def _changing(self, *, keep: bool = True) -> Iterator[Db]:
        """A transaction. `keep=False` undoes it at its end."""
        self._db.execute("BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL work_mem = '64MB'")
        try:
            yield self._db
            # The triggers' plans are made for many rows; the next one may write one, on this connection of pgbouncer's.
            self._db.execute("DISCARD PLANS")
            self._db.execute("COMMIT" if keep else "ROLLBACK")
        except BaseException:
            with contextlib.suppress(psycopg.Error):
                self._db.execute("ROLLBACK")
            raise


def _check(table: Table, row: Row) -> None:
    """Raise the StoreError for a row that PostgreSQL cannot keep."""
    if any(isinstance(value, str) and "\0" in value for value in row):
        raise StoreError(
            f"{named(table, row)}: has a text with a zero byte in it, which PostgreSQL cannot keep; change it in the "
            "registry that is copied"
        )
    if table.name == "peers" and len(row[1]) != 6:
        try:
            packing.unpack_allowed_ips(row[1])
        except ValueError:
            raise packing.damaged("peer", row[0]) from None


def _read(column: str) -> str:
    """The column as a statement reads it, so that its value is as in a file."""
    match column:
        case "enabled":
            return "enabled::int"
        case "details":
            return "details::text"
    return column


def _between(key: Key, after: Key | None, upto: Key | None) -> bool:
    return (after is None or key > after) and (upto is None or key <= upto)


def _text(packed: bytes) -> str:
    """A packed address as text."""
    return str(ipaddress.ip_address(packed[1:]))


def _range(entry: bytes) -> tuple[bytes, bytes | None]:
    """First and last address of a packed prefix; None for a single address."""
    if entry[-1] == 8 * (len(entry) - 2):
        return entry[:-1], None
    (prefix,) = packing.unpack_allowed_ips(entry)
    return packing.pack_range(prefix)

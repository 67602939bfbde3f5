"""The schema of a registry, and the migrations that make it.

Rules:
- A migration is a file `migrations/NNNN_*.sql`; applied ones never change. The row `schema` of `wgjit.meta` is the
  number of the last one applied.
- `init` and `migrate` apply all missing migrations in one transaction under an advisory lock. Two programs that make a
  registry at once make one schema. An opened registry is never migrated by the way: a gateway may not, and a fleet has
  many.
- A schema of a newer wgjit is refused, because this wgjit does not know its rules.
"""

from __future__ import annotations

import ipaddress
import sys
from socket import AF_INET, AF_INET6, inet_pton

import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Loader

from wgjit.errors import StoreError
from wgjit.model import AllowedIP
from wgjit.stores.migrations import scripts
from wgjit.stores.postgresql.database.errors import NO_REGISTRY, translate
from wgjit.stores.postgresql.database.patience import PatientConnection
from wgjit.stores.postgresql.database.url import DatabaseUrl

Db = PatientConnection

_PACKAGE = "wgjit.stores.postgresql.database"
_OLDEST = 150000
"""PostgreSQL 15."""

LOCKS = 2003266164
"""The first key of this program's advisory locks: "wgjt". The second one: 0 migrates, 1 writes addresses."""
REQUESTS = LOCKS + 1
"""The first key of the advisory locks of idempotency keys; the second one is a hash."""

_RESTORED = """
DO $$
DECLARE
    each_one record;
    has_foreign boolean;
BEGIN
    FOR each_one IN SELECT * FROM (VALUES ('peers', 'written'), ('claims', 'written'), ('holdings', 'written'),
        ('removed', 'written'), ('resets', 'written'), ('changes', 'xid')) AS those (name, number)
    LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM wgjit.%1$I WHERE %2$I >= pg_snapshot_xmax(pg_current_snapshot()) '
            'AND %2$I <> pg_current_xact_id())', each_one.name, each_one.number) INTO has_foreign;
        IF has_foreign THEN
            EXECUTE format('ALTER TABLE wgjit.%1$I DISABLE TRIGGER USER; -- keeps other writers out, too
                UPDATE wgjit.%1$I SET %2$I = ''3''
                    WHERE %2$I >= pg_snapshot_xmax(pg_current_snapshot()) AND %2$I <> pg_current_xact_id();
                ALTER TABLE wgjit.%1$I ENABLE TRIGGER USER', each_one.name, each_one.number);
        END IF;
    END LOOP;
END $$"""
"""After a restore from a dump: the numbers of another server's transactions would look like transactions to come.

A row that a statement sees was written by a transaction before the end of its own snapshot, unless by another server.
"""


def newest() -> int:
    """The number of migrations that this program has."""
    return len(scripts(_PACKAGE))


def connect(url: DatabaseUrl, patience: float | None = None, *, unfinished: bool = False) -> Db:
    """Open a connection to a database with a registry of this version. Raises psycopg.Error, StoreError.

    `patience`: seconds to wait for each answer; None waits for ever. `unfinished`: also one that is being copied into.
    """
    db = _connect(url)
    db.patience = patience
    try:
        query = "SELECT what, value, pg_backend_pid() FROM wgjit.meta WHERE what IN ('schema', 'copying')"
        found = db.execute(query).fetchall()
        rows = {what: value for what, value, _ in found}
        if {pid for _, _, pid in found} == {db.info.backend_pid}:
            db.prepare_threshold = _ONLY_WHERE_ASKED
        version = int(rows.get("schema", 0))
        if "copying" in rows and not unfinished:
            raise StoreError(f"registry {url}: is not whole yet; finish it with `wgjit registry copy`")
        _refuse_newer(url, version)
        if version < newest():
            raise StoreError(f"registry {url}: its schema is older; migrate it with `wgjit registry migrate`")
    except BaseException:
        db.close()
        raise
    return db


def init(url: DatabaseUrl) -> bool:
    """Make the registry's schema, or migrate an older one. Returns whether anything was to do. Raises StoreError."""
    return _applied(url, is_made=True)


def migrate(url: DatabaseUrl) -> bool:
    """Migrate an older schema. Returns whether anything was to do. Raises StoreError, also if there is no schema."""
    return _applied(url, is_made=False)


def _applied(url: DatabaseUrl, *, is_made: bool) -> bool:
    try:
        db = _connect(url)
        try:
            return _apply(db, url, is_made)
        finally:
            db.close()
    except psycopg.Error as error:
        raise translate(error, url) from None


def _apply(db: Db, url: DatabaseUrl, is_made: bool) -> bool:
    _check_server(db, url)
    db.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
    db.execute("SELECT pg_advisory_xact_lock(%s, 0)", (LOCKS,))
    version = _version(db, url)
    _refuse_newer(url, version)
    if version == 0 and not is_made:
        raise StoreError(f"registry {url}: {NO_REGISTRY}")
    if version == 0:
        db.execute("CREATE SCHEMA IF NOT EXISTS wgjit")
    for script in scripts(_PACKAGE)[version:]:
        db.execute(script)
    db.execute(
        "INSERT INTO wgjit.meta (what, value) VALUES ('schema', %s) ON CONFLICT (what) DO UPDATE SET value = %s",
        (str(newest()).encode(),) * 2,
    )
    db.execute(_RESTORED)
    db.execute("COMMIT")
    return version < newest()


def _version(db: Db, url: DatabaseUrl) -> int:
    """The number of migrations in the database, 0 if it has no registry. Raises StoreError for a foreign schema."""
    relations = "SELECT count(*) FROM pg_class WHERE relnamespace = to_regnamespace('wgjit')"
    found = db.execute(f"SELECT to_regclass('wgjit.meta') IS NOT NULL, ({relations})").fetchone()
    assert found is not None
    if not found[0]:
        if found[1]:
            raise StoreError(f"registry {url}: the schema wgjit is of another program; give another database")
        return 0
    row = db.execute("SELECT value FROM wgjit.meta WHERE what = 'schema'").fetchone()
    return 0 if row is None else int(row[0])


def _check_server(db: Db, url: DatabaseUrl) -> None:
    if db.info.server_version < _OLDEST:
        raise StoreError(f"registry {url}: PostgreSQL {db.info.server_version // 10000} is too old; 15 is needed")
    if db.info.parameter_status("server_encoding") != "UTF8":
        raise StoreError(f"registry {url}: its encoding is not UTF8; make it with `createdb -E UTF8 -T template0`")


def _refuse_newer(url: DatabaseUrl, version: int) -> None:
    if version > newest():
        raise StoreError(
            f"registry {url}: made by a newer wgjit (schema {version}, this one knows {newest()}); upgrade wgjit"
        )


def _connect(url: DatabaseUrl) -> Db:
    """A connection that prepares no statement: pgbouncer gives each transaction another connection to the server."""
    db = PatientConnection.connect(url.reveal(), autocommit=True, prepare_threshold=None)
    db.adapters.register_loader("cidr", _PrefixLoader)
    db.adapters.register_loader(_CIDR_ARRAY, _PrefixesLoader)
    return db


_ONLY_WHERE_ASKED = sys.maxsize
"""psycopg's `prepare_threshold` of a connection to the server itself: what runs with `prepare=True` is planned once.

A pooler tells a process number of its own, and then nothing is prepared.
"""

_CIDR_ARRAY = 651
"""The type `cidr[]` in pg_type. Types of PostgreSQL's own have the same numbers everywhere."""


class _PrefixLoader(Loader):
    """Reads `10.8.0.2/32`. psycopg's own loader takes four times as long."""

    def load(self, data: Buffer) -> AllowedIP:
        return _prefix(bytes(data).decode())


class _PrefixesLoader(Loader):
    """Reads `{10.8.0.2/32,fd00::/64}`. A page has many, and psycopg's loader of lists takes half of a page's time."""

    def load(self, data: Buffer) -> list[AllowedIP | None]:
        text = bytes(data)[1:-1].decode()
        return [None if each == "NULL" else _prefix(each) for each in text.split(",")] if text else []


def _prefix(text: str) -> AllowedIP:
    address, _, length = text.partition("/")
    if ":" in address:
        return ipaddress.IPv6Network((inet_pton(AF_INET6, address), int(length)))
    return ipaddress.IPv4Network((inet_pton(AF_INET, address), int(length)))

"""The schema of a registry file, and the migrations that make it.

Rules:
- A migration is a file `migrations/NNNN_*.sql`; applied ones never change. `PRAGMA user_version` is the number of the
  last one applied, `PRAGMA application_id` tells a registry from any other SQLite file.
- All missing migrations are applied in one transaction under an exclusive lock. Two processes that open a new file at
  once make one schema. A process that dies midway leaves the file as it was.
- A file of a newer wgjit is refused, because this wgjit does not know its rules.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from wgjit.errors import StoreError, StoreMissing
from wgjit.stores.migrations import scripts
from wgjit.stores.sqlite.file.errors import primary_code, translate
from wgjit.wire.key_text import shown

APPLICATION_ID = 0x77676A74
"""The four bytes "wgjt" in the file's header."""


@dataclass(frozen=True, slots=True)
class FileKind:
    """A kind of file: the application id in its header, and the place of its migrations."""

    application_id: int
    package: str
    """The package that has the folder `migrations`."""


REGISTRY = FileKind(APPLICATION_ID, "wgjit.stores.sqlite.file")
CACHE = FileKind(0x77676A63, "wgjit.stores.remote")
"""The cache of answers of a remote registry; "wgjc"."""

_OLDEST_SQLITE = (3, 37)
"""The oldest version with STRICT tables."""

_PATIENCE = 5.0
"""Seconds to wait for another process that makes the schema of the same file."""


def migrations(kind: FileKind = REGISTRY) -> tuple[str, ...]:
    """The SQL of every migration. Number n is at index n - 1. Raises StoreError if one is missing."""
    return scripts(kind.package)


def identity(path: Path) -> tuple[int, int]:
    """Device and inode of the file. Raises StoreMissing, or StoreError if it cannot be read."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        # A gateway takes a new file in the place of its registry for all there is, and revokes every resident.
        raise StoreMissing(
            f"registry {shown(path)}: no such file; give the right path or, if it was there before, put it back: it is "
            "not made anew as it was. Only where there never was one, `wgjit peer add` makes it"
        ) from None
    except OSError as error:
        raise StoreError(f"registry {shown(path)}: {error.strerror}") from error
    return status.st_dev, status.st_ino


PAGE_CACHE = 65_536
"""KiB of pages that a connection keeps, because an import writes to pages everywhere in the file."""


def connect(path: Path, *, read_only: bool, timeout: float, cache: int = PAGE_CACHE) -> sqlite3.Connection:
    """Open an existing file. `verify` checks its schema. Raises sqlite3.Error, StoreError for a missing file.

    `cache`: KiB of pages kept in memory, taken as needed. The caller makes sure that one thread at a time uses the
    connection, and begins transactions itself.
    """
    identity(path)
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?mode={'ro' if read_only else 'rw'}",
        uri=True,
        timeout=timeout,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA cache_size = -{cache}")
        connection.execute("PRAGMA journal_size_limit = 67108864")  # bytes of WAL kept after an import
    except BaseException:
        connection.close()
        raise
    return connection


def verify(connection: sqlite3.Connection, path: Path, kind: FileKind = REGISTRY) -> int:
    """The number of migrations in the file, 0 for an empty one. Raises StoreError for a foreign or newer file."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application != kind.application_id and (tables or version or application):
        raise StoreError(f"registry {path}: an SQLite database of another program; give the path of a registry")
    if version > len(migrations(kind)):
        raise StoreError(
            f"registry {path}: made by a newer wgjit (schema {version}, this one knows {len(migrations(kind))}); "
            "upgrade wgjit"
        )
    return int(version)


def is_old(connection: sqlite3.Connection, path: Path, kind: FileKind = REGISTRY) -> str:
    """What to say of a file that lacks migrations, with the one command that helps. `verify` has passed it."""
    what = "a file of an older schema" if verify(connection, path, kind) else "an empty file: no schema was made in it"
    if kind is not REGISTRY:
        return f"{what}; restart its gateway to migrate it"
    return f"{what}; migrate it with `wgjit registry migrate --store {shown(shlex.quote(str(path)))}`"


def prepare(path: Path, *, create: bool, read_only: bool, kind: FileKind = REGISTRY, unfinished: bool = False) -> bool:
    """Make sure that the file has this kind and the present schema: create, migrate, or (read-only) only check it.

    Returns whether there was a migration to apply.

    Refuses a registry that another is being copied into, unless it may be `unfinished`.

    A new file has mode 0600, since it will hold preshared keys. It belongs to the process's user or, if that is root,
    to the owner of its folder. SQLite gives the files -wal and -shm the same mode and owner. Raises StoreError.
    """
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        raise StoreError(f"SQLite {sqlite3.sqlite_version} is too old; this Python needs one of 3.37 or newer")
    if create and not read_only:
        create_file(path)
    try:
        with contextlib.closing(connect(path, read_only=read_only, timeout=_PATIENCE)) as connection:
            if verify(connection, path, kind) == len(migrations(kind)):
                _refuse_unfinished(connection, path, unfinished or kind is not REGISTRY)
                return False
            if read_only:
                raise StoreError(f"registry {shown(path)}: {is_old(connection, path, kind)}")
            _use_wal(connection)
            with _exclusive(connection):
                for number in range(verify(connection, path, kind), len(migrations(kind))):
                    for statement in _statements(migrations(kind)[number]):
                        connection.execute(statement)
                    connection.execute(f"PRAGMA user_version = {number + 1}")
            _refuse_unfinished(connection, path, unfinished or kind is not REGISTRY)
            return True
    except sqlite3.Error as error:
        raise translate(error, path) from error


def create_file(path: Path) -> None:
    """Make an empty file, as `prepare` says. Does nothing if there is one. Raises StoreError."""
    try:
        # O_EXCL: never open and close a database file by hand. That would drop the locks which SQLite holds on it
        # elsewhere in this process (https://sqlite.org/howtocorrupt.html, section 2.2).
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return
    except FileNotFoundError:
        raise StoreError(
            f"registry {path}: no folder {path.parent}; make it with `mkdir -p -m 0700 {path.parent}`"
        ) from None
    except OSError as error:
        raise StoreError(f"registry {shown(path)}: cannot create it: {error.strerror}") from error
    try:
        _give_to_folders_owner(file, path.parent)
    finally:
        os.close(file)


def _give_to_folders_owner(file: int, folder: Path) -> None:
    """Give a registry that root makes to the service's account. SQLite does the same for -wal and -shm."""
    if os.geteuid() != 0:
        return
    owner = os.stat(folder)
    if owner.st_uid != 0:
        with contextlib.suppress(PermissionError):  # root without CAP_CHOWN: the file stays root's
            os.fchown(file, owner.st_uid, owner.st_gid)


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch to WAL, so that readers never wait for a writer. SQLite does not wait for the lock that this needs."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if primary_code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _refuse_unfinished(connection: sqlite3.Connection, path: Path, may_be: bool) -> None:
    if not may_be and connection.execute("SELECT 1 FROM meta WHERE what = 'copying'").fetchone():
        raise StoreError(f"registry {path}: is not whole yet; finish it with `wgjit registry copy`")


@contextlib.contextmanager
def _exclusive(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN EXCLUSIVE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _statements(script: str) -> Iterator[str]:
    """Cut a script into its statements, with trigger bodies whole. (`executescript` would commit in between.)"""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement.strip():
        yield statement

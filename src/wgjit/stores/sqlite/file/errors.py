"""Turns SQLite's error codes into errors that a person can act on (https://sqlite.org/rescode.html)."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from wgjit.errors import StoreBusy, StoreDamaged, StoreError

_ADVICE = {
    sqlite3.SQLITE_FULL: "the disk is full; free space there, nothing else is needed",
    sqlite3.SQLITE_READONLY: "it cannot be written; check mode and owner, its folder's too, and the mount",
    sqlite3.SQLITE_PERM: "access is denied; check its mode and owner",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; check that it exists, and that you may read it and write its folder",
    sqlite3.SQLITE_CORRUPT: "it is damaged; put back a backup, or save what is left with `sqlite3 FILE .recover`",
    sqlite3.SQLITE_NOTADB: "it is not an SQLite database; give the path of a registry",
    sqlite3.SQLITE_IOERR: "reading or writing it failed; check the disk (a full one can do this) and the system log",
    sqlite3.SQLITE_NOMEM: "out of memory",
    sqlite3.SQLITE_CONSTRAINT: "a rule of the schema refuses this row",
}


def primary_code(error: sqlite3.Error) -> int | None:
    """The primary result code (without its extension); None if the error did not come from the database."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def translate(error: sqlite3.Error, path: Path) -> StoreError:
    """The StoreError for an error of SQLite. Its text has no parameter of a statement, so it holds no secret."""
    code = primary_code(error)
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreBusy(f"registry {path}: another process is writing; try again")
    kind = StoreDamaged if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) else StoreError
    advice = "" if code is None else _ADVICE.get(code, "")
    return kind(f"registry {path}: {advice} ({error})" if advice else f"registry {path}: {error}")

"""A connection to a registry file that recovers from errors. One thread at a time uses it.

`with link as db:` gives an open sqlite3 connection and leaves no transaction open: a transaction that the block did not
commit is rolled back. An sqlite3.Error in the block becomes a StoreError. After any error of SQLite except a lock error
the connection is closed, and the next use opens the file again. So no restart is needed once the cause is gone. The
next use also notices a file that was moved, deleted or replaced.

After a reader has waited for a lock in vain, it does not wait again until a use has succeeded. In WAL mode no writer
keeps a reader out, so this happens only if a program has switched the file to another journal. It may last long, and a
gateway's packets wait for its lookups.
"""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from types import TracebackType

from wgjit.errors import StoreBusy, StoreError
from wgjit.stores.sqlite.file import schema
from wgjit.stores.sqlite.file.errors import translate


class Link:
    """See the head of this file. `timeout`: seconds to wait for another thread or process; `cache`: KiB of pages."""

    def __init__(
        self,
        path: Path,
        *,
        read_only: bool,
        timeout: float,
        kind: schema.FileKind = schema.REGISTRY,
        cache: int = schema.PAGE_CACHE,
    ) -> None:
        self._path = path
        self._cache = cache
        self._kind = kind
        self._read_only = read_only
        self._timeout = timeout
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None  # device and inode of the open file
        self._closed = False
        self._waits = True

    def __enter__(self) -> sqlite3.Connection:
        # First try without a timeout, since a timeout reads the clock twice. Almost always the lock is free.
        if not self._lock.acquire(blocking=False) and not self._lock.acquire(timeout=self._timeout):
            raise StoreBusy(f"registry {self._path}: another thread is writing; try again")
        try:
            return self._open()
        except sqlite3.Error as error:
            failure = translate(error, self._path)
            self._drop()
            self._waits = not (self._read_only and isinstance(failure, StoreBusy))
            self._lock.release()
            raise failure from error
        except BaseException:
            self._drop()
            self._lock.release()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if error is None:
                if not self._waits:
                    self._wait(True)
                return
            failure = translate(error, self._path) if isinstance(error, sqlite3.Error) else None
            if failure is not None and not isinstance(failure, StoreBusy):
                self._drop()
            elif self._connection is not None and self._connection.in_transaction:
                self._roll_back(self._connection)
            if self._read_only and isinstance(failure, StoreBusy):
                self._wait(False)
            if failure is not None:
                raise failure from error
        finally:
            self._lock.release()

    @property
    def file(self) -> tuple[int, int] | None:
        """Device and inode of the open file, inside of a `with`; None if no file is open."""
        return self._file

    def close(self) -> None:
        """Close for good, as soon as the thread that uses the connection is done with it."""
        with self._lock:
            self._closed = True
            self._drop()

    def _open(self) -> sqlite3.Connection:
        if self._closed:
            raise StoreError(f"registry {self._path}: closed")
        file = schema.identity(self._path)
        if self._connection is not None and file == self._file:
            return self._connection
        self._drop()
        timeout = self._timeout if self._waits else 0.0
        connection = schema.connect(self._path, read_only=self._read_only, timeout=timeout, cache=self._cache)
        try:
            version = schema.verify(connection, self._path, self._kind)
            if version != len(schema.migrations(self._kind)):
                raise StoreError(f"registry {self._path}: {schema.is_old(connection, self._path, self._kind)}")
        except BaseException:
            connection.close()
            raise
        self._connection, self._file = connection, file
        return connection

    def _wait(self, waits: bool) -> None:
        self._waits = waits
        if self._connection is not None:
            self._connection.execute(f"PRAGMA busy_timeout = {round(1000 * self._timeout) if waits else 0}")

    def _roll_back(self, connection: sqlite3.Connection) -> None:
        try:
            connection.execute("ROLLBACK")
        except sqlite3.Error:
            self._drop()  # closing rolls back

    def _drop(self) -> None:
        connection, self._connection, self._file = self._connection, None, None
        if connection is not None:
            connection.close()

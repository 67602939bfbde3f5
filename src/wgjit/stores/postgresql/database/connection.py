"""Connections to the database, and transactions on them. Any thread may use them, each its own.

A use takes an idle connection or opens one, `MOST` at a time. The connection goes back afterwards without a transaction
or a setting left on it. A connection that broke is closed, and the next use opens another, so no restart is needed once
the server is back. An idle connection that the server has closed meanwhile is noticed before it is used.

A psycopg.Error in a use becomes a StoreError, here and nowhere else.

A server that hangs keeps its connections open. With `patience`, a use gives it up, and the connection with it.
"""

from __future__ import annotations

import contextlib
import select
import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

from wgjit.errors import StoreBusy, StoreError
from wgjit.stores.postgresql.database import schema
from wgjit.stores.postgresql.database.errors import READ_ONLY, is_lost, is_stale, translate
from wgjit.stores.postgresql.database.patience import NoAnswer
from wgjit.stores.postgresql.database.schema import Db
from wgjit.stores.postgresql.database.url import DatabaseUrl

MOST = 8
"""Connections of one registry at a time."""

_KEPT = 300.0
"""Seconds after which an idle connection is not used again, so that a new primary or a new address is found."""


class Database:
    """See the head of this file. `timeout`: seconds to wait for another program's lock, or for a free connection.

    `patience`: seconds to wait for the server's answer to one statement; None waits for ever.
    """

    def __init__(
        self, url: DatabaseUrl, *, timeout: float, read_only: bool = False, patience: float | None = None
    ) -> None:
        self.url = url
        self._timeout = timeout
        self._patience = patience
        self._limit = "" if self.limit is None else f"SET LOCAL statement_timeout = {self.limit};"
        self._read_only = read_only
        self._free = threading.BoundedSemaphore(MOST)
        self._lock = threading.Lock()
        self._idle: list[tuple[float, Db]] = []
        self._closed = False

    @contextlib.contextmanager
    def look(self) -> Iterator[Db]:
        """A connection without a transaction: each statement reads what is committed when it begins."""
        with self._use() as db:
            yield db

    @contextlib.contextmanager
    def view(self) -> Iterator[Db]:
        """A transaction that reads, in which all statements see the same moment."""
        with self._use(f"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {self._limit}") as db:
            yield db

    @property
    def wait(self) -> int:
        """Milliseconds to wait for another program's lock."""
        return max(1, round(1000 * self._timeout))

    @property
    def limit(self) -> int | None:
        """Milliseconds after which a statement is to be given up; None is never.

        A server that is alive gives up before the client does, so that it does nothing that nobody waits for.
        """
        return None if self._patience is None else max(1, round(800 * self._patience))

    @contextlib.contextmanager
    def call(self) -> Iterator[Db]:
        """A connection for one statement that writes, and is a transaction of its own: two round trips less.

        The statement has the server's defaults: it has to see to its isolation level, `wait` and `limit` by itself.
        """
        self._check_writable()
        with self._use() as db:
            yield db

    @contextlib.contextmanager
    def change(self, *, more: str = "", long: bool = False) -> Iterator[Db]:
        """A transaction that writes. It is committed at the end of the block, and undone if the block raises.

        `more`: further settings, as SQL. `long`: one statement of it may take any time.
        """
        self._check_writable()
        # READ COMMITTED whatever the server's default is: the check of addresses needs it (0002_disjoint.sql).
        with self._use(
            f"BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; {'' if long else self._limit} "
            f"SET LOCAL lock_timeout = {self.wait}; {more}"
        ) as db:
            if long:
                db.patience = None
            yield db

    def close(self) -> None:
        """Close for good. A connection in use is closed at the end of its use."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for _, db in idle:
            db.close()

    def _check_writable(self) -> None:
        if self._read_only:
            raise StoreError(f"registry {self.url}: was opened to read only")

    @contextlib.contextmanager
    def _use(self, begin: str | None = None) -> Iterator[Db]:
        if self._closed:
            raise StoreError(f"registry {self.url}: closed")
        if not self._free.acquire(timeout=max(1.0, self._timeout)):
            raise StoreBusy(f"registry {self.url}: all {MOST} connections are in use; try again")
        try:
            db = self._take(begin)
            try:
                yield db
                if begin is not None:
                    db.execute("COMMIT")
            except psycopg.Error as error:
                if is_lost(error) or is_stale(error):
                    db.close()
                raise translate(error, self.url) from None
            finally:
                self._give_back(db)
        finally:
            self._free.release()

    def _take(self, begin: str | None) -> Db:
        """An open connection, with a transaction if one is to begin. Raises StoreError."""
        while True:
            db = self._idle_one()
            is_new = db is None
            try:
                db = db or schema.connect(self.url, self._patience)
                db.patience = self._patience
                if begin is not None:
                    db.execute(begin)
                return db
            except psycopg.Error as error:
                if db is not None:
                    db.close()
                if is_new or not is_lost(error) or isinstance(error, NoAnswer):
                    # A hot standby cannot even begin a transaction that may write, and says so by a code for anything.
                    standby = isinstance(error, psycopg.errors.FeatureNotSupported)
                    raise translate(error, self.url, code=READ_ONLY if standby else None) from None
            except BaseException:
                if db is not None:
                    db.close()
                raise

    def _idle_one(self) -> Db | None:
        while True:
            with self._lock:
                if not self._idle:
                    return None
                since, db = self._idle.pop()
            if time.monotonic() - since < _KEPT and not _says_something(db):
                return db
            db.close()

    def _give_back(self, db: Db) -> None:
        status = db.info.transaction_status
        if status in (TransactionStatus.INTRANS, TransactionStatus.INERROR):
            db.patience = self._patience
            with contextlib.suppress(psycopg.Error):
                db.execute("ROLLBACK")
            status = db.info.transaction_status
        self._drop_old()
        with self._lock:
            if status == TransactionStatus.IDLE and not self._closed:
                self._idle.append((time.monotonic(), db))
                return
        db.close()

    def _drop_old(self) -> None:
        """Close connections that were idle for long. The longest idle ones are the first."""
        end = time.monotonic() - _KEPT
        with self._lock:
            count = sum(since < end for since, _ in self._idle)
            old, self._idle = self._idle[:count], self._idle[count:]
        for _, db in old:
            db.close()


def _says_something(db: psycopg.Connection[Any]) -> bool:
    """Whether an idle connection has something to read: its end, most likely."""
    if db.closed:
        return True
    poll = select.poll()
    poll.register(db.fileno(), select.POLLIN)
    return bool(poll.poll(0))

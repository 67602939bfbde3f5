"""Connections that give up on a server that does not answer: a stopped machine sends no error.

A use has a deadline. When it has passed, a thread of this module closes the connection's socket, and the use ends with
StoreUnreachable, like that of any connection that breaks.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator

from wgjit.database_url import DatabaseUrl
from wgjit.errors import StoreError
from wgjit.stores.postgresql.database.connection import Database
from wgjit.stores.postgresql.database.schema import Db


class Watchdog:
    """Closes the sockets of uses that take too long."""

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._uses: dict[object, tuple[float, int]] = {}
        threading.Thread(target=self._run, name="watchdog", daemon=True).start()

    @contextlib.contextmanager
    def over(self, db: Db, seconds: float) -> Iterator[Callable[[], None]]:
        """Watch a use of a connection. Gives a call that begins the time anew: the server is at work."""
        mark = object()
        descriptor = os.dup(db.fileno())  # the number stays ours, whatever happens to the connection meanwhile

        def extend() -> None:
            with self._lock:
                self._uses[mark] = time.monotonic() + seconds, descriptor

        try:
            extend()
            with self._lock:
                self._lock.notify()
            yield extend
        finally:
            with self._lock:
                self._uses.pop(mark, None)
            os.close(descriptor)

    def _run(self) -> None:
        with self._lock:
            while True:
                now = time.monotonic()
                for mark, (end, descriptor) in list(self._uses.items()):
                    if end <= now:
                        del self._uses[mark]
                        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as hung:
                            hung.shutdown(socket.SHUT_RDWR)
                self._lock.wait(min((end for end, _ in self._uses.values()), default=now + 60.0) - now)


class Server:
    """A database server, or the several that a URL names, with one deadline for all uses, in seconds."""

    def __init__(self, url: str, watchdog: Watchdog, *, patience: float = 15.0) -> None:
        self.url = DatabaseUrl(url)
        self.trouble: str | None = None
        """Why the last use failed; None if it did not."""
        self._database = Database(self.url, timeout=5.0)
        self._watchdog = watchdog
        self._patience = patience

    @contextlib.contextmanager
    def look(self) -> Iterator[tuple[Db, Callable[[], None]]]:
        """A connection without a transaction, and the call that begins its time anew. Raises StoreError."""
        with self._noting(), self._database.look() as db, self._watchdog.over(db, self._patience) as extend:
            yield db, extend

    @contextlib.contextmanager
    def view(self) -> Iterator[tuple[Db, Callable[[], None]]]:
        """A transaction that reads one moment. Raises StoreError."""
        with self._noting(), self._database.view() as db, self._watchdog.over(db, self._patience) as extend:
            yield db, extend

    def close(self) -> None:
        """Close the connections."""
        self._database.close()

    @contextlib.contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except StoreError as error:
            self.trouble = error.told
            raise
        else:
            self.trouble = None

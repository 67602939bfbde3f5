"""Answers of the HTTP API, kept for a day. A request that is sent again gets the same answer and changes nothing.

An answer is written in the transaction of its change, so a crash leaves both or neither. The body never holds a private
key or a client's configuration, because it lies in a file.
"""

from __future__ import annotations

import sqlite3
import time

from wgjit.stores.entries import Answer, AnsweredBefore, Author, IdempotentRequest
from wgjit.stores.sqlite.file.connection import Link

KEPT = 86400.0
"""Seconds that a record is kept."""

_PRUNED = 100
"""Old records deleted with each new record: enough to keep up, and few enough that no request waits for it."""


def find(db: sqlite3.Connection, by: Author, key: str, now: float) -> Answer | None:
    """The kept answer for an actor's key; `now` in Unix seconds."""
    row = db.execute(
        "SELECT fingerprint, status, body FROM idempotency WHERE actor = ? AND key = ? AND at > ?",
        (by.actor, key, now - KEPT),
    ).fetchone()
    return None if row is None else Answer(*row)


def check(db: sqlite3.Connection, by: Author, once: IdempotentRequest | None, now: float) -> None:
    """Refuse a change that was made before. Raises AnsweredBefore."""
    if once is not None and (answer := find(db, by, once.key, now)):
        raise AnsweredBefore(once.key, answer)


def write(db: sqlite3.Connection, by: Author, key: str, answer: Answer, now: float) -> None:
    """Keep an answer, and delete some that are a day old."""
    db.execute(
        "DELETE FROM idempotency WHERE rowid IN (SELECT rowid FROM idempotency WHERE at <= ? ORDER BY at LIMIT ?)",
        (now - KEPT, _PRUNED),
    )
    db.execute(
        "INSERT OR REPLACE INTO idempotency (actor, key, fingerprint, status, body, at) VALUES (?, ?, ?, ?, ?, ?)",
        (by.actor, key, answer.fingerprint, answer.status, answer.body, now),
    )


class Answers:
    """The kept answers of an open registry."""

    def __init__(self, reader: Link, writer: Link) -> None:
        self._reader = reader
        self._writer = writer

    def find(self, key: str, *, by: Author) -> Answer | None:
        """The answer to this author's request with this idempotency key, if there was one within the last day."""
        with self._reader as db:
            return find(db, by, key, time.time())

    def keep(self, key: str, answer: Answer, *, by: Author) -> None:
        """Keep an answer apart from any change, for requests that may be repeated without harm, such as an import.

        A change that must not be repeated takes an `IdempotentRequest`.
        """
        with self._writer as db:
            db.execute("BEGIN IMMEDIATE")
            write(db, by, key, answer, time.time())
            db.execute("COMMIT")

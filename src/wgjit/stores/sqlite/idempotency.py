"""Answers of the HTTP API, kept for a day, so that a request that is sent again is answered again and not done again.

A record is written in the transaction of the change that it answers: a crash leaves both or neither. Its body is what
may lie in a file: never a private key or a client's configuration.
"""

from __future__ import annotations

import sqlite3
import time

from wgjit.stores.entries import Answer, AnsweredBefore, Author, Once
from wgjit.stores.sqlite.file.connection import Link

KEPT = 86400.0
"""Seconds that a record is kept."""

_PRUNED = 100
"""Old records deleted with each new one: more than come in, so few that nobody waits for it."""


def find(db: sqlite3.Connection, by: Author, key: str, now: float) -> Answer | None:
    """The answer that is kept for an actor's key; `now` in Unix seconds."""
    row = db.execute(
        "SELECT fingerprint, status, body FROM idempotency WHERE actor = ? AND key = ? AND at > ?",
        (by.actor, key, now - KEPT),
    ).fetchone()
    return None if row is None else Answer(*row)


def check(db: sqlite3.Connection, by: Author, once: Once | None, now: float) -> None:
    """Begin a change that is to be made once. Raises AnsweredBefore."""
    if once is not None and (answer := find(db, by, once.key, now)):
        raise AnsweredBefore(once.key, answer)


def write(db: sqlite3.Connection, by: Author, key: str, answer: Answer, now: float) -> None:
    """Keep an answer, and forget some that are a day old."""
    db.execute(
        "DELETE FROM idempotency WHERE rowid IN (SELECT rowid FROM idempotency WHERE at <= ? ORDER BY at LIMIT ?)",
        (now - KEPT, _PRUNED),
    )
    db.execute(
        "INSERT OR REPLACE INTO idempotency (actor, key, fingerprint, status, body, at) VALUES (?, ?, ?, ?, ?, ?)",
        (by.actor, key, answer.fingerprint, answer.status, answer.body, now),
    )


class Answers:
    """The answers that a registry which is open keeps."""

    def __init__(self, reader: Link, writer: Link) -> None:
        self._reader = reader
        self._writer = writer

    def find(self, key: str, *, by: Author) -> Answer | None:
        """What was answered to this actor's request with this idempotency key within the last day."""
        with self._reader as db:
            return find(db, by, key, time.time())

    def keep(self, key: str, answer: Answer, *, by: Author) -> None:
        """Keep an answer by itself: of a request, such as an import, that may be done again without harm.

        A change that may not be is given a `Once`.
        """
        with self._writer as db:
            db.execute("BEGIN IMMEDIATE")
            write(db, by, key, answer, time.time())
            db.execute("COMMIT")

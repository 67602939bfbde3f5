"""Answers of the HTTP API, kept for a day. A request that is sent again gets the same answer and changes nothing.

An answer is written in the transaction of its change, so a crash leaves both or neither. The body never holds a private
key or a client's configuration, because it lies in the database.
"""

from __future__ import annotations

import time

from wgjit.stores.entries import Answer, AnsweredBefore, Author, Entry, IdempotentRequest
from wgjit.stores.postgresql.database.connection import Database
from wgjit.stores.postgresql.database.schema import REQUESTS, Db
from wgjit.stores.postgresql.rows.texts import storable

KEPT = 86400.0
"""Seconds that a record is kept."""

_PRUNED = 100
"""Old records deleted with each new record: enough to keep up, and few enough that no request waits for it."""


def find(db: Db, by: Author, key: str, now: float) -> Answer | None:
    """The kept answer for an actor's key; `now` in Unix seconds."""
    row = db.execute(
        "SELECT fingerprint, status, body FROM wgjit.idempotency WHERE actor = %s AND key = %s AND at > %s",
        (storable(by.actor), storable(key), now - KEPT),
    ).fetchone()
    return None if row is None else Answer(*row)


def check(db: Db, by: Author, once: IdempotentRequest | None, now: float) -> None:
    """Refuse a change that was made before. Raises AnsweredBefore.

    Another transaction that makes this change now is waited for.
    """
    if once is None:
        return
    db.execute("SELECT pg_advisory_xact_lock(%s::int, hashtext(%s))", (REQUESTS, storable(f"{by.actor}\n{once.key}")))
    if answer := find(db, by, once.key, now):
        raise AnsweredBefore(once.key, answer)


def answered(db: Db, by: Author, once: IdempotentRequest | None, entry: Entry) -> None:
    """Keep the answer for a changed peer."""
    if once is not None:
        status, body = once.answer(entry)
        write(db, by, once.key, Answer(once.fingerprint, status, body), time.time())


def write(db: Db, by: Author, key: str, answer: Answer, now: float) -> None:
    """Keep an answer, and delete some that are a day old."""
    db.execute(
        "DELETE FROM wgjit.idempotency WHERE ctid = ANY (ARRAY("
        "SELECT ctid FROM wgjit.idempotency WHERE at <= %s ORDER BY at LIMIT %s FOR UPDATE SKIP LOCKED))",
        (now - KEPT, _PRUNED),
    )
    db.execute(
        "INSERT INTO wgjit.idempotency (actor, key, fingerprint, status, body, at) VALUES (%s, %s, %s, %s, %s, %s) "
        "ON CONFLICT (actor, key) DO UPDATE SET fingerprint = excluded.fingerprint, status = excluded.status, "
        "body = excluded.body, at = excluded.at",
        (storable(by.actor), storable(key), answer.fingerprint, answer.status, answer.body, now),
    )


class Answers:
    """The kept answers of an open registry."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, key: str, *, by: Author) -> Answer | None:
        """The answer to this author's request with this idempotency key, if there was one within the last day."""
        with self._database.look() as db:
            return find(db, by, key, time.time())

    def keep(self, key: str, answer: Answer, *, by: Author) -> None:
        """Keep an answer apart from any change, for requests that may be repeated without harm, such as an import.

        A change that must not be repeated takes an `IdempotentRequest`.
        """
        with self._database.change() as db:
            write(db, by, key, answer, time.time())

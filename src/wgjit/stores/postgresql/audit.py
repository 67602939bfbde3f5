"""The audit log: who changed what, when. An entry is written in the transaction of its change.

The functions work on an open connection, and the caller commits the transaction. `audit_records` has what the entries
say.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from wgjit.stores import audit_records
from wgjit.stores.audit_records import ENTRY_SIZE, PRUNED, Record
from wgjit.stores.entries import AuditEntry, AuditFilter, AuditPage, Author
from wgjit.stores.pages import PAGE_SIZE
from wgjit.stores.postgresql.database.connection import Database
from wgjit.stores.postgresql.database.schema import Db
from wgjit.stores.postgresql.rows.texts import storable

_COLUMNS = "at, actor, verb, public_key, old_key, name, details"


def write(db: Db, by: Author, records: Iterable[Record]) -> None:
    """Add entries with the present time."""
    rows = [_storable((time.time(), *record.columns(by))) for record in records]
    if len(rows) == 1:
        db.execute(f"INSERT INTO wgjit.audit ({_COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s, %s)", rows[0])
    elif rows:
        with db.cursor() as cursor, cursor.copy(f"COPY wgjit.audit ({_COLUMNS}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)


def _storable(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(storable(value) if isinstance(value, str) else value for value in row)


def page(db: Db, wanted: AuditFilter, limit: int, after: int | None = None) -> AuditPage:
    """The newest `limit` entries that fit, or the next older ones after a page's cursor. Returns fewer entries if their
    size reaches `pages.PAGE_SIZE`."""
    conditions = ["TRUE"]
    if after is not None:
        conditions.append("id < %(after)s")
    if wanted.public_key is not None:
        conditions.append("(public_key = %(key)s OR old_key = %(key)s)")
    if wanted.actor is not None:
        conditions.append("actor = %(actor)s")
    if wanted.verb is not None:
        conditions.append("verb = %(verb)s")
    if wanted.since is not None:
        # Entries are in the order of writing, and a clock may be set back. So find the least id by time, and check each
        # time.
        conditions.append("id >= (SELECT min(id) FROM wgjit.audit WHERE at >= %(since)s) AND at >= %(since)s")
    rows = db.execute(
        "SELECT id, at, actor, verb, public_key, old_key, name, details::text FROM wgjit.audit "
        f"WHERE {' AND '.join(conditions)} ORDER BY id DESC LIMIT %(limit)s",
        {
            "after": after,
            "key": wanted.public_key,
            "actor": None if wanted.actor is None else storable(wanted.actor),
            "verb": None if wanted.verb is None else storable(wanted.verb),
            "since": wanted.since,
            "limit": limit + 1,
        },
    )
    entries: list[AuditEntry] = []
    left = PAGE_SIZE
    for row in rows:
        left -= ENTRY_SIZE + len(row[7])
        if len(entries) == limit or (left < 0 and entries):
            return AuditPage(entries, entries[-1].id)
        entries.append(audit_records.entry(*row))
    return AuditPage(entries)


def prune(db: Db, by: Author, before: float, limit: int) -> int:
    """Delete at most `limit` entries older than `before`, and note it. Returns their number."""
    count = db.execute(
        "DELETE FROM wgjit.audit WHERE id IN (SELECT id FROM wgjit.audit WHERE at < %s ORDER BY at LIMIT %s)",
        (before, limit),
    ).rowcount
    if count:
        write(db, by, [audit_records.pruned(before, count)])
    return count


class AuditLog:
    """The log of an open registry."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def page(self, wanted: AuditFilter, limit: int, after: int | None = None) -> AuditPage:
        """The newest `limit` entries that fit, or the next older ones after a page's cursor."""
        with self._database.look() as db:
            return page(db, wanted, limit, after)

    def prune(self, before: float, *, by: Author) -> int:
        """Delete entries older than `before` (Unix seconds). Returns their number.

        Entries are deleted in batches, one per transaction, and each batch is noted in the log.
        """
        total = 0
        while True:
            with self._database.change() as db:
                count = prune(db, by, before, PRUNED)
            total += count
            if count < PRUNED:
                return total

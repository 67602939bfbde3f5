"""The audit log: who changed what, when. An entry is written in the transaction of its change.

The functions work on an open connection, and the caller commits the transaction. `audit_records` has what the entries
say.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable

from wgjit.model import Claim, Peer, PublicKey
from wgjit.stores import audit_records
from wgjit.stores.audit_records import ENTRY_SIZE, PRUNED, Record
from wgjit.stores.entries import AuditEntry, AuditFilter, AuditPage, Author, Entry, Verb
from wgjit.stores.pages import PAGE_SIZE
from wgjit.stores.sqlite.file.connection import Link


def write(db: sqlite3.Connection, by: Author, record: Record) -> None:
    """Add an entry with the present time."""
    db.execute(
        "INSERT INTO audit (at, actor, verb, public_key, old_key, name, details) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (time.time(), *record.columns(by)),
    )


def registered(db: sqlite3.Connection, by: Author, verb: Verb, entries: Iterable[Entry]) -> None:
    """Note new peers."""
    for entry in entries:
        write(db, by, audit_records.registered(verb, entry))


def removed(db: sqlite3.Connection, by: Author, key: PublicKey, entry: Entry | None) -> None:
    """Note that a peer was removed; `entry` is None if its row could not be read."""
    write(db, by, audit_records.removed(key, entry))


def amended(db: sqlite3.Connection, by: Author, before: Entry, after: Entry) -> None:
    """Note what changed in a peer. Writes no entry if nothing changed."""
    if (record := audit_records.amended(before, after)) is not None:
        write(db, by, record)


def rotated(db: sqlite3.Connection, by: Author, old: PublicKey, peer: Peer) -> None:
    """Note that a peer has a new key."""
    write(db, by, audit_records.rotated(old, peer))


def claim_reset(db: sqlite3.Connection, by: Author, name: str | None, key: PublicKey, claim: Claim | None) -> None:
    """Note that a claim was reset; `claim` is None for a removed key that had no claim."""
    write(db, by, audit_records.claim_reset(name, key, claim))


def page(db: sqlite3.Connection, wanted: AuditFilter, limit: int, after: int | None = None) -> AuditPage:
    """The newest `limit` entries that fit, or the next older ones after a page's cursor. Returns fewer entries if their
    size reaches `pages.PAGE_SIZE`."""
    conditions = ["TRUE"]
    if after is not None:
        conditions.append("id < :after")
    if wanted.public_key is not None:
        conditions.append("(public_key = :key OR old_key = :key)")
    if wanted.actor is not None:
        conditions.append("actor = :actor")
    if wanted.verb is not None:
        conditions.append("verb = :verb")
    if wanted.since is not None:
        # Entries are in the order of writing, and a clock may be set back. So find the least id by time, and check each
        # time.
        conditions.append("id >= (SELECT min(id) FROM audit WHERE at >= :since) AND +at >= :since")
    rows = db.execute(
        "SELECT id, at, actor, verb, public_key, old_key, name, details FROM audit "
        f"WHERE {' AND '.join(conditions)} ORDER BY id DESC LIMIT :limit",
        {
            "after": after,
            "key": wanted.public_key,
            "actor": wanted.actor,
            "verb": wanted.verb,
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


def prune(db: sqlite3.Connection, by: Author, before: float, limit: int) -> int:
    """Delete at most `limit` entries older than `before`, and note it. Returns their number."""
    count = db.execute(
        "DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE at < ? ORDER BY at LIMIT ?)", (before, limit)
    ).rowcount
    if count:
        write(db, by, audit_records.pruned(before, count))
    return count


class AuditLog:
    """The log of an open registry."""

    def __init__(self, reader: Link, writer: Link) -> None:
        self._reader = reader
        self._writer = writer

    def page(self, wanted: AuditFilter, limit: int, after: int | None = None) -> AuditPage:
        """The newest `limit` entries that fit, or the next older ones after a page's cursor."""
        with self._reader as db:
            return page(db, wanted, limit, after)

    def prune(self, before: float, *, by: Author) -> int:
        """Delete entries older than `before` (Unix seconds). Returns their number.

        Entries are deleted in batches, one per transaction, and each batch is noted in the log.
        """
        total = 0
        while True:
            with self._writer as db:
                db.execute("BEGIN IMMEDIATE")
                count = prune(db, by, before, PRUNED)
                db.execute("COMMIT")
            total += count
            if count < PRUNED:
                return total

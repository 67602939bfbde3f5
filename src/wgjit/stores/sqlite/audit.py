"""The audit log: who changed what, when. An entry is written in the transaction of its change.

The functions work on an open connection, and the caller commits the transaction. `details` holds:

| verb                  | entries     | details                                                                        |
| --------------------- | ----------- | ------------------------------------------------------------------------------ |
| add, adopt, remove    | one a peer  | each field that is not its default: [before, after], null on the missing side  |
| set, enable, disable  | one         | each field that changed: [before, after]                                       |
| rotate                | one         | `public_key`: [before, after]; both keys find it                               |
| claim-reset           | one         | `claim`: [what was forgotten, null]                                            |
| import                | one a batch | `added`, `present`, `refused`, `source`                                        |
| token-create, -revoke | one         | `id`, and at its creation `scope`, `expires_at`, `rate`                        |
| audit-prune           | one a batch | `before`, `removed`                                                            |

Fields have the names of an export, and plain values: Unix seconds, texts. A preshared key appears as
`has_preshared_key`, true or false; a preshared key that was replaced by another reads [true, true]. No entry holds a
secret: a text with a key in it, other than under `public_key`, is not written, and is not shown if an older wgjit wrote
it.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Mapping
from typing import Any

from wgjit.model import Claim, Peer, PublicKey
from wgjit.stores.entries import AuditEntry, AuditFilter, AuditPage, Author, Entry, Verb
from wgjit.stores.peer_json import to_fields
from wgjit.stores.sqlite.file.connection import Link
from wgjit.stores.sqlite.rows.listing import PAGE_SIZE
from wgjit.wire.key_text import shown, without_keys

_ENTRY_SIZE = 1000
"""About the greatest size of an entry without details, bytes of JSON."""

_PRUNED = 100_000
"""Entries deleted per transaction."""

_ACTOR_LENGTH = 200
"""Greatest length of an actor, characters. Other people chose a part of it, so it needs a bound."""


def write(
    db: sqlite3.Connection,
    by: Author,
    verb: Verb,
    details: Mapping[str, Any],
    *,
    public_key: PublicKey | None = None,
    old_key: PublicKey | None = None,
    name: str | None = None,
) -> None:
    """Add an entry with the present time."""
    db.execute(
        "INSERT INTO audit (at, actor, verb, public_key, old_key, name, details) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            time.time(),
            without_keys(by.actor)[:_ACTOR_LENGTH],
            verb,
            public_key,
            old_key,
            None if name is None else shown(name),
            json.dumps(_without_keys(details)),
        ),
    )


def registered(db: sqlite3.Connection, by: Author, verb: Verb, entries: Iterable[Entry]) -> None:
    """Note new peers."""
    for entry in entries:
        peer = entry.peer
        details = {name: [None, value] for name, value in _said(entry).items()}
        write(db, by, verb, details, public_key=peer.public_key, name=peer.name)


def removed(db: sqlite3.Connection, by: Author, key: PublicKey, entry: Entry | None) -> None:
    """Note that a peer was removed; `entry` is None if its row could not be read."""
    if entry is None:
        write(db, by, Verb.REMOVE, {"damaged": True}, public_key=key)
        return
    details = {name: [value, None] for name, value in _said(entry).items()}
    write(db, by, Verb.REMOVE, details, public_key=key, name=entry.peer.name)


def amended(db: sqlite3.Connection, by: Author, before: Entry, after: Entry) -> None:
    """Note what changed in a peer. Writes no entry if nothing changed."""
    old, new = _fields(before), _fields(after)
    details = {name: [old[name], value] for name, value in new.items() if value != old[name]}
    if before.peer.preshared_key != after.peer.preshared_key:
        details["has_preshared_key"] = [old["has_preshared_key"], new["has_preshared_key"]]
    if not details:
        return
    verb = Verb.SET
    if details.keys() == {"enabled"}:
        verb = Verb.ENABLE if after.peer.enabled else Verb.DISABLE
    write(db, by, verb, details, public_key=after.peer.public_key, name=after.peer.name)


def rotated(db: sqlite3.Connection, by: Author, old: PublicKey, peer: Peer) -> None:
    """Note that a peer has a new key."""
    new = peer.public_key
    write(db, by, Verb.ROTATE, {"public_key": [str(old), str(new)]}, public_key=new, old_key=old, name=peer.name)


def claim_reset(db: sqlite3.Connection, by: Author, name: str | None, key: PublicKey, claim: Claim | None) -> None:
    """Note that a claim was reset; `claim` is None for a removed key that had no claim."""
    forgotten = claim and {
        "timestamp": str(claim.timestamp),
        "gateway": claim.gateway,
        "endpoint": str(claim.endpoint),
        "proven_at": claim.proven_at,
    }
    write(db, by, Verb.CLAIM_RESET, {"claim": [forgotten, None]}, public_key=key, name=name)


def page(db: sqlite3.Connection, wanted: AuditFilter, limit: int, after: int | None = None) -> AuditPage:
    """The newest `limit` entries that fit, or the next older ones after a page's cursor. Returns fewer entries if their
    size reaches `listing.PAGE_SIZE`."""
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
        left -= _ENTRY_SIZE + len(row[7])
        if len(entries) == limit or (left < 0 and entries):
            return AuditPage(entries, entries[-1].id)
        entries.append(_entry(*row))
    return AuditPage(entries)


def prune(db: sqlite3.Connection, by: Author, before: float, limit: int) -> int:
    """Delete at most `limit` entries older than `before`, and note it. Returns their number."""
    count = db.execute(
        "DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE at < ? ORDER BY at LIMIT ?)", (before, limit)
    ).rowcount
    if count:
        write(db, by, Verb.AUDIT_PRUNE, {"before": before, "removed": count})
    return count


def _entry(
    number: int,
    at: float,
    actor: str,
    verb: str,
    key: bytes | None,
    old: bytes | None,
    name: str | None,
    details: str,
) -> AuditEntry:
    try:
        read = json.loads(details)
    except ValueError:
        read = None
    if not isinstance(read, dict):  # another program wrote it; the rest of the log can still be read
        read = {"damaged": True}
    key_, old_ = (None if raw is None else PublicKey(raw) for raw in (key, old))
    name = None if name is None else shown(name)
    return AuditEntry(number, at, without_keys(actor), verb, key_, old_, name, _without_keys(read))


def _without_keys(details: Any) -> Any:
    """The details without keys in their texts, except under `public_key`."""
    match details:
        case str():
            return without_keys(details)
        case list():
            return [_without_keys(each) for each in details]
        case Mapping():
            return {
                without_keys(name): value if name == "public_key" else _without_keys(value)
                for name, value in details.items()
            }
    return details


def _said(entry: Entry) -> dict[str, Any]:
    """The fields that differ from their defaults."""
    default = _fields(Entry(Peer(entry.peer.public_key)))
    return {name: value for name, value in _fields(entry).items() if value != default[name]}


def _fields(entry: Entry) -> dict[str, Any]:
    """The fields of an export, without the key, which has a column of its own. `expires_at` is in Unix seconds."""
    fields = to_fields(entry) | {"expires_at": entry.peer.expires_at}
    del fields["public_key"]
    return fields


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
                count = prune(db, by, before, _PRUNED)
                db.execute("COMMIT")
            total += count
            if count < _PRUNED:
                return total

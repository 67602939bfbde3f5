"""Finds the peer that a person means: by name, public key, the beginning of a key, or an address.

A whole key is only looked up as a key. Otherwise a name that equals the handle comes first, then an address, then the
beginning of a key. A name that is another peer's address, or begins like its key, is ambiguous. Each is one B-tree
descent.
"""

from __future__ import annotations

import sqlite3

from wgjit.model import PublicKey
from wgjit.stores import checks, handle_rules, packing


def resolve(db: sqlite3.Connection, handle: str) -> PublicKey:
    """The public key of the peer that a handle means. Raises NoSuchPeer, AmbiguousHandle."""
    if (key := checks.parse_key(handle)) is not None:
        found = db.execute("SELECT public_key FROM peers WHERE public_key = ?", (key,)).fetchone()
    else:
        found = _named(db, handle) or _owner(db, handle) or _by_prefix(db, handle)
    if found is None:
        raise checks.no_such_peer(handle)
    return PublicKey(found[0])


def _named(db: sqlite3.Connection, handle: str) -> tuple[bytes] | None:
    """The key of the peer with this name. Raises AmbiguousHandle if it looks like another peer's address or key."""
    row = db.execute("SELECT public_key FROM peers WHERE name = ?", (handle,)).fetchone()
    if row is None:
        return None
    owner = _owner(db, handle)
    meant = [] if owner is None else [(owner[0], "an address of")]
    if len(handle) >= handle_rules.LIKE_A_KEY:
        meant += [(key, "the beginning of the key of") for key, _ in _beginning(db, handle)]
    return (handle_rules.unmistakable(handle, row[0], meant),)


def _owner(db: sqlite3.Connection, handle: str) -> tuple[bytes] | None:
    """The key of the peer that owns all of an address or prefix."""
    if (prefix := handle_rules.address(handle)) is None:
        return None
    first, last = packing.pack_range(prefix)
    query = "SELECT coalesce(last, first), public_key FROM addresses WHERE first <= ? ORDER BY first DESC LIMIT 1"
    row = db.execute(query, (first,)).fetchone()
    return None if row is None or row[0] < (last or first) else (row[1],)


def _by_prefix(db: sqlite3.Connection, handle: str) -> tuple[bytes] | None:
    key = handle_rules.only(handle, _beginning(db, handle))
    return None if key is None else (key,)


def _beginning(db: sqlite3.Connection, handle: str) -> list[tuple[bytes, str | None]]:
    """Key and name of the first peers whose key begins so."""
    if (bounds := handle_rules.key_range(handle)) is None:
        return []
    query = "SELECT public_key, name FROM peers WHERE public_key BETWEEN ? AND ? ORDER BY 1 LIMIT ?"
    return db.execute(query, (*bounds, handle_rules.CANDIDATES + 1)).fetchall()

"""Finds the peer that a person means: by name, public key, the beginning of a key, or an address.

A whole key is only looked up as a key. Otherwise a name that equals the handle comes first, then an address, then the
beginning of a key. A name that is another peer's address, or begins like its key, is ambiguous. Each is one B-tree
descent.
"""

from __future__ import annotations

from typing import Any

from wgjit.model import PublicKey
from wgjit.stores import checks, handle_rules
from wgjit.stores.postgresql.database.schema import Db
from wgjit.stores.postgresql.rows.texts import storable

OWNER = """
    SELECT public_key FROM (
        SELECT prefix, public_key FROM wgjit.addresses WHERE prefix <= %(prefix)s::cidr ORDER BY prefix DESC LIMIT 1
    ) AS a WHERE prefix >>= %(prefix)s::cidr"""
"""The key of the peer that owns all of a prefix. Prefixes sort as a tree, and the owned ones are disjoint."""


def resolve(db: Db, handle: str) -> PublicKey:
    """The public key of the peer that a handle means. Raises NoSuchPeer, AmbiguousHandle."""
    if (key := checks.parse_key(handle)) is not None:
        found = _one(db, "SELECT public_key FROM wgjit.peers WHERE public_key = %s", (key,))
    else:
        found = _named(db, handle) or _owner(db, handle) or _by_prefix(db, handle)
    if found is None:
        raise checks.no_such_peer(handle)
    return PublicKey(found)


def _named(db: Db, handle: str) -> bytes | None:
    """The key of the peer with this name. Raises AmbiguousHandle if it looks like another peer's address or key."""
    named = _one(db, "SELECT public_key FROM wgjit.peers WHERE name = %s", (storable(handle),))
    if named is None:
        return None
    owner = _owner(db, handle)
    meant = [] if owner is None else [(owner, "an address of")]
    if len(handle) >= handle_rules.LIKE_A_KEY:
        meant += [(key, "the beginning of the key of") for key, _ in _beginning(db, handle)]
    return handle_rules.unmistakable(handle, named, meant)


def _one(db: Db, query: str, parameters: Any) -> bytes | None:
    row = db.execute(query, parameters).fetchone()
    return None if row is None else row[0]


def _owner(db: Db, handle: str) -> bytes | None:
    prefix = handle_rules.address(handle)
    return None if prefix is None else _one(db, OWNER, {"prefix": str(prefix)})


def _by_prefix(db: Db, handle: str) -> bytes | None:
    return handle_rules.only(handle, _beginning(db, handle))


def _beginning(db: Db, handle: str) -> list[tuple[bytes, str | None]]:
    """Key and name of the first peers whose key begins so."""
    if (bounds := handle_rules.key_range(handle)) is None:
        return []
    query = "SELECT public_key, name FROM wgjit.peers WHERE public_key BETWEEN %s AND %s ORDER BY 1 LIMIT %s"
    return [(key, name) for key, name in db.execute(query, (*bounds, handle_rules.CANDIDATES + 1)).fetchall()]

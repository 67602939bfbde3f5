"""Finds the peer that a person means: by name, public key, the beginning of a key, or an address.

A whole key is only looked up as a key. Otherwise a name that equals the handle comes first, then an address, then the
beginning of a key. Each is one B-tree descent.
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
        found = _one(db, "SELECT public_key FROM wgjit.peers WHERE name = %s", (storable(handle),))
        found = found or _owner(db, handle) or _by_prefix(db, handle)
    if found is None:
        raise checks.no_such_peer(handle)
    return PublicKey(found)


def _one(db: Db, query: str, parameters: Any) -> bytes | None:
    row = db.execute(query, parameters).fetchone()
    return None if row is None else row[0]


def _owner(db: Db, handle: str) -> bytes | None:
    prefix = handle_rules.address(handle)
    return None if prefix is None else _one(db, OWNER, {"prefix": str(prefix)})


def _by_prefix(db: Db, handle: str) -> bytes | None:
    if (bounds := handle_rules.key_range(handle)) is None:
        return None
    query = "SELECT public_key, name FROM wgjit.peers WHERE public_key BETWEEN %s AND %s ORDER BY 1 LIMIT %s"
    rows = db.execute(query, (*bounds, handle_rules.CANDIDATES + 1)).fetchall()
    return handle_rules.only(handle, [(key, name) for key, name in rows])

"""Finds the peer that a person means: by name, public key, the beginning of a key, or an address.

A whole key is only looked up as a key. Otherwise a name that equals the handle comes first, then an address, then the
beginning of a key. Each is one B-tree descent.
"""

from __future__ import annotations

import base64
import re
import sqlite3

from wgjit.errors import AmbiguousHandle, InvalidValue
from wgjit.model import AllowedIP, PublicKey, parse_allowed_ip
from wgjit.stores import checks
from wgjit.stores.sqlite.rows import packing
from wgjit.wire.key_text import quoted

LEAST_PREFIX = 4
"""Least number of a key's first characters that may stand for the key."""

_CANDIDATES = 5
"""Peers that an error about an ambiguous handle names."""


def resolve(db: sqlite3.Connection, handle: str) -> PublicKey:
    """The public key of the peer that a handle means. Raises NoSuchPeer, AmbiguousHandle."""
    if (key := checks.parse_key(handle)) is not None:
        found = db.execute("SELECT public_key FROM peers WHERE public_key = ?", (key,)).fetchone()
    else:
        found = db.execute("SELECT public_key FROM peers WHERE name = ?", (handle,)).fetchone()
        found = found or _owner(db, handle) or _by_prefix(db, handle)
    if found is None:
        raise checks.no_such_peer(handle)
    return PublicKey(found[0])


def key_range(prefix: str) -> tuple[bytes, bytes] | None:
    """The least and the greatest key whose base64 form begins so; None if no key can begin so."""
    if not re.fullmatch(rf"[A-Za-z0-9+/]{{{LEAST_PREFIX},43}}", prefix):
        return None
    low, high = (base64.b64decode(prefix.ljust(43, fill) + "=") for fill in "A/")
    return low, high


def address(text: str) -> AllowedIP | None:
    """The prefix that a text spells; None if it spells none."""
    try:
        return parse_allowed_ip(text)
    except InvalidValue:
        return None


def _owner(db: sqlite3.Connection, handle: str) -> tuple[bytes] | None:
    """The key of the peer that owns all of an address or prefix."""
    if (prefix := address(handle)) is None:
        return None
    first, last = packing.pack_range(prefix)
    query = "SELECT coalesce(last, first), public_key FROM addresses WHERE first <= ? ORDER BY first DESC LIMIT 1"
    row = db.execute(query, (first,)).fetchone()
    return None if row is None or row[0] < (last or first) else (row[1],)


def _by_prefix(db: sqlite3.Connection, handle: str) -> tuple[bytes] | None:
    if (bounds := key_range(handle)) is None:
        return None
    query = f"SELECT public_key, name FROM peers WHERE public_key BETWEEN ? AND ? ORDER BY 1 LIMIT {_CANDIDATES + 1}"
    rows = db.execute(query, bounds).fetchall()
    if len(rows) > 1:
        names = [f"{PublicKey(key)}{f' ({quoted(name)})' if name else ''}" for key, name in rows[:_CANDIDATES]]
        more = ", and more" if len(rows) > _CANDIDATES else ""
        raise AmbiguousHandle(f"handle {quoted(handle)}: write more of the key; it begins {', '.join(names)}{more}")
    return (rows[0][0],) if rows else None

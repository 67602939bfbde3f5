"""The gateway's side of a registry in a PostgreSQL database.

Rules:
- The rules that matter (disjoint addresses, the change log, a removed peer's claim) are in the schema, so that they
  hold for every program that writes. This package only words the errors.
- Nothing is kept in a session: no prepared statement, no setting outside of a transaction, no listening.
- A lookup is one statement.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection, Sequence
from typing import Any

from wgjit.model import AllowedIP, Change, ChangeKind, Claim, Cover, PublicKey, Registration, Removed
from wgjit.stores import packing
from wgjit.stores.base import Fleet
from wgjit.stores.cover import Range, find_cover
from wgjit.stores.postgresql.database.connection import Database
from wgjit.stores.postgresql.database.url import DatabaseUrl
from wgjit.stores.postgresql.rows import claim_rows, peer_rows

_LOOKUP = f"""
    SELECT {packing.columns("p.", key=False)},
           c.timestamp, c.gateway, c.endpoint, c.proven_at, c.proven, {packing.holding_columns("h.")}
    FROM wgjit.peers AS p LEFT JOIN wgjit.claims AS c ON c.public_key = p.public_key
        LEFT JOIN wgjit.holdings AS h ON h.public_key = p.public_key
    WHERE p.public_key = %s"""

_REMOVED = f"""
    SELECT {claim_rows.COLUMNS} FROM wgjit.removed LEFT JOIN wgjit.claims USING (public_key)
    WHERE public_key = %s AND NOT EXISTS (SELECT FROM wgjit.peers WHERE public_key = %s)"""

_PINNED = """
    SELECT public_key FROM wgjit.peers
    WHERE idle_timeout = 0 AND enabled AND public_key > %s ORDER BY public_key LIMIT %s"""

_IDENTITY = """
    SELECT value, (SELECT oid::text FROM pg_database WHERE datname = current_database())
                  || '.' || 'wgjit.peers'::regclass::oid::text
    FROM wgjit.meta WHERE what = 'identity'"""


class PostgresStore:
    """The gateway's side: `wgjit.stores.base.Store` in the database at `url`.

    The schema is made by `schema.init` before. `read_only` changes nothing at all. `timeout`, seconds: how long a call
    may wait for another writer. `patience`, seconds: how long it waits for the server's answer to one statement, except
    of an import; None waits for ever. Raises StoreError if there is no registry of this version.
    """

    is_local = False
    fleet: Fleet | None = None

    def __init__(
        self, url: DatabaseUrl, *, read_only: bool = False, timeout: float = 0.25, patience: float | None = None
    ) -> None:
        self.url = url
        self._database = Database(url, timeout=timeout, read_only=read_only, patience=patience)
        with self._database.look():  # checks the version of the schema
            pass

    def lookup(self, key: PublicKey, *, for_knock: bool = True) -> Registration | None:
        with self._database.look() as db:
            row = db.execute(_LOOKUP, (key,), prepare=True).fetchone()
        if row is None:
            return None
        peer = packing.make_peer(key, *row[:7])
        claim = None if row[7] is None else packing.row_claim(key, *row[7:12])
        return Registration(peer, claim, None if row[12] is None else packing.row_holding(key, *row[12:]))

    def former(self, key: PublicKey) -> Removed | None:
        with self._database.look() as db:
            row = db.execute(_REMOVED, (key, key)).fetchone()
        if row is None:
            return None
        return Removed(key, None if row[0] is None else packing.row_claim(key, *row))

    def save_claims(self, claims: Sequence[Claim]) -> None:
        if not claims:
            return
        with self._database.change() as db:
            claim_rows.save(db, claims)

    def identity(self) -> bytes:
        """The registry's own number, the database's and the table's. A restored registry has another identity.

        A standby that becomes the primary keeps it.
        """
        with self._database.look() as db:
            row = db.execute(_IDENTITY).fetchone()
        return b"" if row is None else bytes(row[0]) + str(row[1]).encode()

    def last_change(self) -> int:
        with self._database.look() as db:
            row = db.execute("SELECT value FROM wgjit.numbers WHERE what = 'changes'").fetchone()
        return 0 if row is None else int(row[0])

    def changes(self, after: int, limit: int = 1000) -> list[Change]:
        query = "SELECT sequence, kind, public_key FROM wgjit.changes WHERE sequence > %s ORDER BY sequence LIMIT %s"
        with self._database.look() as db:
            found = db.execute(query, (after, limit)).fetchall()
        return [Change(sequence, ChangeKind(kind), PublicKey(key)) for sequence, kind, key in found]

    def keep_fresh(self, concerned: Callable[[], Collection[PublicKey]]) -> None:
        """Do nothing: a lookup in the database is never out of date."""

    def addresses_version(self) -> tuple[bytes, int, int]:
        # New peers are in no log, but are counted.
        return self.identity(), self.last_change(), self._count()

    def cover(self, within: Collection[AllowedIP], limit: int) -> Cover:
        return find_cover(self._ranges, within, limit)

    def _ranges(self, first: bytes, last: bytes, count: int) -> list[Range]:
        """See `cover.Ranges`. Each call is a statement of its own, so that lookups can run in between."""
        query = (
            "SELECT prefix FROM wgjit.addresses WHERE prefix >= %s::cidr AND prefix <= %s::cidr "
            f"ORDER BY prefix {'DESC' if count < 0 else 'ASC'} LIMIT %s"
        )
        with self._database.look() as db:
            found = db.execute(query, (_widest(first), str(_address(last)), abs(count))).fetchall()
        ranges = (packing.pack_range(prefix) for (prefix,) in found)
        return [(begin, end or begin) for begin, end in ranges]

    def pinned(self, after: PublicKey | None = None, limit: int = 10_000) -> list[PublicKey]:
        with self._database.look() as db:
            return [PublicKey(key) for (key,) in db.execute(_PINNED, (after or b"", limit)).fetchall()]

    def pinned_version(self) -> tuple[bytes, int, int]:
        return self.addresses_version()  # it changes with each addition, change and removal

    def figures(self) -> dict[str, Any]:
        return {}

    def close(self) -> None:
        self._database.close()

    def _count(self) -> int:
        with self._database.look() as db:
            return peer_rows.count(db)


def _address(packed: bytes) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return ipaddress.ip_address(packed[1:])


def _widest(packed: bytes) -> str:
    """The widest prefix that begins at an address. It sorts before all others that begin there or later."""
    value, bits = int.from_bytes(packed[1:], "big"), 8 * (len(packed) - 1)
    host_bits = bits if value == 0 else (value & -value).bit_length() - 1
    return f"{_address(packed)}/{bits - host_bits}"

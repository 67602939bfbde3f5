"""A registered peer's rows: read, inserted, replaced, with error texts for what the schema refuses."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import psycopg
from psycopg import errors as pg

from wgjit.errors import StoreError
from wgjit.model import AllowedIP, Peer, PublicKey
from wgjit.stores import checks, packing
from wgjit.stores.postgresql.database.schema import Db
from wgjit.stores.postgresql.rows.texts import array

COLUMNS = packing.columns()
"""The columns of a peer, in the order of `packing.make_peer`."""

_SET = ", ".join(f"{column} = %s" for column in packing.PEER_COLUMNS[1:])
_REPLACE = f"UPDATE wgjit.peers SET {_SET} WHERE public_key = %s"
_INSERT = f"INSERT INTO wgjit.peers ({COLUMNS}) VALUES ({', '.join(['%s'] * len(packing.PEER_COLUMNS))})"
_COPY = f"COPY wgjit.peers ({COLUMNS}) FROM STDIN"

_OVERLAPPING = """
    SELECT n.place, a.prefix, a.public_key
    FROM unnest(%(prefixes)s::cidr[]) WITH ORDINALITY AS n (prefix, place) CROSS JOIN LATERAL (
        (SELECT prefix, public_key FROM wgjit.addresses
         WHERE prefix <= n.prefix AND public_key <> %(but)s ORDER BY prefix DESC LIMIT 1)
        UNION ALL
        (SELECT prefix, public_key FROM wgjit.addresses
         WHERE prefix > n.prefix AND public_key <> %(but)s ORDER BY prefix LIMIT 1)) AS a
    WHERE a.prefix && n.prefix ORDER BY n.place LIMIT 1"""
"""The first of some prefixes that overlaps a registered one of another peer than `but`; see 0002_disjoint.sql."""

REFUSED = (pg.UniqueViolation, pg.ExclusionViolation)
"""A key, a name or an address is taken."""


def columns(peer: Peer) -> tuple[Any, ...]:
    """A peer as the columns of its row. Keep the row out of errors, since it holds the preshared key."""
    return packing.peer_columns(peer, array(peer.allowed_ips))


def find(db: Db, key: PublicKey, *, lock: bool = False) -> Peer:
    """The peer with this key. `lock`: nobody else changes it before this transaction ends.

    Raises NoSuchPeer, StoreError (a damaged row).
    """
    query = f"SELECT {COLUMNS} FROM wgjit.peers WHERE public_key = %s{' FOR UPDATE' if lock else ''}"
    row = db.execute(query, (key,)).fetchone()
    if row is None:
        raise checks.no_such_peer(str(key))
    return packing.make_peer(*row)


def behind(db: Db, key: bytes, limit: int) -> list[Peer]:
    """The first `limit` peers after a key, in the order of keys. Raises StoreError (a damaged row)."""
    query = f"SELECT {COLUMNS} FROM wgjit.peers WHERE public_key > %s ORDER BY public_key LIMIT %s"
    return [packing.make_peer(*row) for row in db.execute(query, (key, limit)).fetchall()]


def count(db: Db) -> int:
    """The number of registered peers. Triggers keep some partial sums, so the call takes the same time for any."""
    row = db.execute("SELECT coalesce(sum(peers), 0) FROM wgjit.tallies").fetchone()
    assert row is not None
    return int(row[0])


def is_registered(db: Db, key: PublicKey) -> bool:
    """Whether a peer has this key."""
    return db.execute("SELECT 1 FROM wgjit.peers WHERE public_key = %s", (key,)).fetchone() is not None


def replace(db: Db, peer: Peer) -> None:
    """Write a registered peer's new values. Raises NoSuchPeer, AddressConflict, PeerExists (the name)."""
    row = columns(peer)
    try:
        with db.transaction():
            done = db.execute(_REPLACE, (*row[1:], row[0]))
    except REFUSED:
        raise explain(db, [peer], replaces=True) or unexplained(peer) from None
    except (psycopg.IntegrityError, psycopg.DataError):
        raise unexplained(peer) from None
    if not done.rowcount:
        raise checks.no_such_peer(str(peer.public_key))


def insert(db: Db, peers: Sequence[Peer]) -> None:
    """Insert a round of peers. Raises PeerExists, AddressConflict, InvalidValue; the transaction may go on then."""
    ordered = sorted(peers, key=lambda peer: peer.public_key)
    for peer in ordered:
        checks.check_peer(peer)
    try:
        with db.transaction():
            if len(ordered) == 1:
                db.execute(_INSERT, columns(ordered[0]))
            else:
                with db.cursor() as cursor, cursor.copy(_COPY) as copy:
                    for peer in ordered:
                        copy.write_row(columns(peer))
    except REFUSED:
        raise explain(db, ordered) or unexplained(ordered[0]) from None
    except (psycopg.IntegrityError, psycopg.DataError):
        raise unexplained(ordered[0]) from None


def explain(db: Db, peers: Sequence[Peer], *, replaces: bool = False) -> StoreError | None:
    """The error for what is in the way of these peers, in their order. None if it has gone meanwhile."""
    return _taken(db, peers, replaces=replaces) or _conflict(db, peers, replaces=replaces)


def _taken(db: Db, peers: Sequence[Peer], *, replaces: bool) -> StoreError | None:
    """The error for the first key or name that is taken: by a registered peer, or earlier in the round."""
    by_key: dict[PublicKey, Peer] = {}
    by_name: dict[str, Peer] = {}
    query = f"SELECT {COLUMNS} FROM wgjit.peers WHERE public_key = ANY(%b) OR name = ANY(%s)"
    names = [peer.name for peer in peers if peer.name is not None]
    for row in db.execute(query, ([peer.public_key for peer in peers], names)).fetchall():
        present = packing.make_peer(*row)
        by_key[present.public_key] = present
        if present.name is not None:
            by_name[present.name] = present
    for peer in peers:
        if peer.name is not None and (other := by_name.get(peer.name)) and other.public_key != peer.public_key:
            return checks.name_exists(peer, other)
        if not replaces and (other := by_key.get(peer.public_key)):
            return checks.key_exists(peer, other)
        by_key[peer.public_key] = peer
        if peer.name is not None:
            by_name[peer.name] = peer
    return None


def _conflict(db: Db, peers: Sequence[Peer], *, replaces: bool) -> StoreError | None:
    """The error for the first address, in the order of addresses, that has an owner."""
    wanted = sorted(
        ((prefix, peer) for peer in peers for prefix in peer.allowed_ips), key=lambda each: _in_order(each[0])
    )
    for (around, owner), (prefix, peer) in pairwise(wanted):
        if around.version == prefix.version and around.overlaps(prefix):
            return checks.conflict(peer, prefix, owner, around)
    row = overlapping(db, [prefix for prefix, _ in wanted], peers[0].public_key if replaces else b"")
    if row is None:
        return None
    prefix, peer = wanted[row[0]]
    return checks.conflict(peer, prefix, find(db, row[1]), row[2])


def overlapping(db: Db, prefixes: Sequence[AllowedIP], but: bytes = b"") -> tuple[int, PublicKey, AllowedIP] | None:
    """The index of the first prefix that overlaps a registered one, the other's owner, and the other.

    `but`: the key of a peer whose prefixes do not count.
    """
    row = db.execute(_OVERLAPPING, {"prefixes": array(prefixes), "but": but}).fetchone()
    return None if row is None else (row[0] - 1, PublicKey(row[2]), row[1])


def _in_order(prefix: AllowedIP) -> tuple[int, int, int]:
    return prefix.version, int(prefix.network_address), prefix.prefixlen


def unexplained(peer: Peer) -> StoreError:
    """The error for a row that the schema refuses for another reason than what is taken."""
    return StoreError(f"peer {checks.label(peer)}: the schema refuses its row; a value is out of range")

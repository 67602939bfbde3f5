"""A registered peer's rows: read, inserted, replaced, with error texts for what the schema refuses.

The functions work on an open connection, and the caller commits the transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from wgjit.errors import StoreError
from wgjit.model import Peer, PublicKey
from wgjit.stores import checks, packing

COLUMNS = packing.columns()
"""The columns of a peer, in the order of `packing.peer_row` and `packing.row_peer`."""

_SET = ", ".join(f"{column} = ?{number}" for number, column in enumerate(packing.PEER_COLUMNS[1:], 2))
_REPLACE = f"UPDATE peers SET {_SET} WHERE public_key = ?1"
_INSERT = f"INSERT INTO peers ({COLUMNS}) VALUES ({', '.join('?' * len(packing.PEER_COLUMNS))})"


def forget_removal(db: sqlite3.Connection, key: PublicKey) -> bool:
    """Forget that a key was removed. Returns False if the key was not removed."""
    return db.execute("DELETE FROM removed WHERE public_key = ?", (key,)).rowcount > 0


def find(db: sqlite3.Connection, handle: str) -> Peer:
    """The peer with this name or base64 key. Raises NoSuchPeer, StoreError (a damaged row)."""
    key = checks.parse_key(handle)
    column, value = ("name", handle) if key is None else ("public_key", key)
    row = db.execute(f"SELECT {COLUMNS} FROM peers WHERE {column} = ?", (value,)).fetchone()
    if row is None:
        raise checks.no_such_peer(handle)
    return packing.row_peer(*row)


def behind(db: sqlite3.Connection, key: bytes, limit: int) -> list[Peer]:
    """The first `limit` peers after a key, in the order of keys. Raises StoreError (a damaged row)."""
    query = f"SELECT {COLUMNS} FROM peers WHERE public_key > ? ORDER BY public_key LIMIT ?"
    return [packing.row_peer(*row) for row in db.execute(query, (key, limit)).fetchall()]


def count(db: sqlite3.Connection) -> int:
    """The number of registered peers. Triggers keep this number, so the call takes the same time for any."""
    (number,) = db.execute("SELECT count FROM totals WHERE what = 'peers'").fetchone()
    return int(number)


def is_registered(db: sqlite3.Connection, key: PublicKey) -> bool:
    """Whether a peer has this key."""
    return db.execute("SELECT 1 FROM peers WHERE public_key = ?", (key,)).fetchone() is not None


def replace(db: sqlite3.Connection, peer: Peer) -> None:
    """Write a registered peer's new values. Raises NoSuchPeer, AddressConflict, PeerExists (the name)."""
    row = packing.peer_row(peer)
    before = db.execute("SELECT allowed_ips FROM peers WHERE public_key = ?", (peer.public_key,)).fetchone()
    if before is None:
        raise checks.no_such_peer(str(peer.public_key))
    try:
        db.execute(_REPLACE, row)
    except sqlite3.IntegrityError:
        raise _taken(db, peer) or _unexplained(peer) from None
    if before[0] != row[1]:  # a trigger has deleted the old addresses
        _insert_addresses(db, [(first, last, peer) for first, last in packing.pack_ranges(row[1], peer.allowed_ips)])


def insert(db: sqlite3.Connection, peers: list[Peer]) -> None:
    """Insert a round of peers with their addresses. Raises PeerExists, AddressConflict, InvalidValue."""
    addresses: list[tuple[bytes, bytes | None, Peer]] = []
    current = peers[0]  # where executemany stopped after an error

    def rows() -> Iterator[packing.PeerRow]:
        nonlocal current
        for current in sorted(peers, key=lambda peer: peer.public_key):
            checks.check_peer(current)
            row = packing.peer_row(current)
            addresses.extend((first, last, current) for first, last in packing.pack_ranges(row[1], current.allowed_ips))
            yield row

    try:
        db.executemany(_INSERT, rows())
    except sqlite3.IntegrityError:
        raise _taken(db, current) or _unexplained(current) from None
    _insert_addresses(db, addresses)


def _insert_addresses(db: sqlite3.Connection, addresses: list[tuple[bytes, bytes | None, Peer]]) -> None:
    """Insert first address, last address (None: the same) and owner. Raises AddressConflict."""
    addresses.sort(key=lambda address: address[0])
    current = None

    def rows() -> Iterator[tuple[bytes, bytes | None, PublicKey]]:
        nonlocal current
        for current in addresses:
            yield current[0], current[1], current[2].public_key

    try:
        db.executemany("INSERT INTO addresses (first, last, public_key) VALUES (?, ?, ?)", rows())
    except sqlite3.IntegrityError:
        assert current is not None
        raise _conflict(db, *current) from None


def _taken(db: sqlite3.Connection, peer: Peer) -> StoreError | None:
    """The error for the registered peer that has this peer's key or name; None if there is no such peer."""
    by_key = db.execute(f"SELECT {COLUMNS} FROM peers WHERE public_key = ?", (peer.public_key,)).fetchone()
    by_name = db.execute(f"SELECT {COLUMNS} FROM peers WHERE name = ?", (peer.name,)).fetchone()
    if by_name is not None and by_name[0] != peer.public_key:
        return checks.name_exists(peer, packing.row_peer(*by_name))
    return None if by_key is None else checks.key_exists(peer, packing.row_peer(*by_key))


def _conflict(db: sqlite3.Connection, first: bytes, last: bytes | None, peer: Peer) -> StoreError:
    """The error with the owner of the last range that starts at or before this range's end, as the trigger asks."""
    query = "SELECT first, last, public_key FROM addresses WHERE first <= ? ORDER BY first DESC LIMIT 1"
    row = db.execute(query, (last or first,)).fetchone()
    if row is None:
        return _unexplained(peer)
    owner = db.execute(f"SELECT {COLUMNS} FROM peers WHERE public_key = ?", (row[2],)).fetchone()
    if owner is None:
        return packing.damaged("addresses of peer", row[2])
    return checks.conflict(
        peer, packing.unpack_range(first, last), packing.row_peer(*owner), packing.unpack_range(row[0], row[1])
    )


def _unexplained(peer: Peer) -> StoreError:
    return StoreError(f"peer {checks.label(peer)}: the schema refuses its row; a value is out of range")

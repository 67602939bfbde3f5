"""The registry in one SQLite file: the default store. Layout, figures and rules for other programs: docs/REGISTRY.md

Rules:
- Readers never wait for a writer (WAL) and see what was committed. One writer at a time; who waits longer than
  `timeout` gets StoreBusy.
- The rules that matter (disjoint addresses, the change log, a removed peer's claim) live in the schema, so that they
  hold for every process that writes. Here their breach gets its words.
- Two connections, one to read and one to write, so that a lookup does not wait for a claim being saved on another
  thread. Any thread may call anything.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from wgjit.errors import StoreError
from wgjit.model import AllowedIP, Change, ChangeKind, Claim, Cover, Peer, PublicKey, Registration, Removed
from wgjit.stores import checks, claim_rows, packing, schema
from wgjit.stores.bulk import BeforeCommit, BulkLoad, unnoted
from wgjit.stores.bulk_aside import CACHE, temporary_folder
from wgjit.stores.connection import Link
from wgjit.stores.cover import Range, find_cover
from wgjit.stores.sqlite_errors import primary_code

_CHUNK = 10_000
"""Peers added per round: enough that sorting a round by key spares page writes, few enough to hold."""

_PAGE = 1000
"""Peers read per round of a listing, each a transaction of its own: a long listing holds up no checkpoint."""

_COLUMNS = "public_key, allowed_ips, preshared_key, keepalive, enabled, expires_at, name, idle_timeout"

_LOOKUP = """
    SELECT p.allowed_ips, p.preshared_key, p.keepalive, p.enabled, p.expires_at, p.name,
           p.idle_timeout,
           c.timestamp, c.gateway, c.endpoint, c.proven_at, c.proven
    FROM peers AS p LEFT JOIN claims AS c ON c.public_key = p.public_key
    WHERE p.public_key = ?"""

_SAVE_CLAIM = claim_rows.save(
    "(EXISTS (SELECT 1 FROM peers WHERE public_key = ?1) OR EXISTS (SELECT 1 FROM removed WHERE public_key = ?1))"
)

_REMOVED = f"""
    SELECT {claim_rows.COLUMNS} FROM removed LEFT JOIN claims USING (public_key)
    WHERE public_key = ?1 AND NOT EXISTS (SELECT 1 FROM peers WHERE public_key = ?1)"""

_REPLACE = """
    UPDATE peers SET allowed_ips = ?2, preshared_key = ?3, keepalive = ?4, enabled = ?5, expires_at = ?6, name = ?7,
                     idle_timeout = ?8
    WHERE public_key = ?1"""


class SqliteStore:
    """What neither registers nor changes a peer: `wgjit.stores.base.Roll` on the file `path`.

    `create` makes a missing file (its folder must be there) and migrates an old one; without it a missing file is a
    StoreError, an old one is still migrated. `read_only` changes nothing at all. `timeout`, seconds: how long a call
    may wait for another writer. `cache`: KiB of pages that each connection keeps. Raises StoreError if the file is
    missing, newer, damaged or not a registry.
    """

    is_local = True

    def __init__(
        self,
        path: Path | str,
        *,
        create: bool = True,
        read_only: bool = False,
        timeout: float = 0.25,
        cache: int = schema.PAGE_CACHE,
    ) -> None:
        self.path = Path(path).absolute()
        schema.prepare(self.path, create=create, read_only=read_only)
        self._timeout = timeout
        self._reader = Link(self.path, read_only=True, timeout=timeout, cache=cache)
        self._writer = Link(self.path, read_only=read_only, timeout=timeout, cache=cache)

    # --- Store: the gateway's side ----------------------------------------------------------------------------

    def lookup(self, key: PublicKey, *, for_knock: bool = True) -> Registration | None:
        with self._reader as db:
            row = db.execute(_LOOKUP, (key,)).fetchone()
        if row is None:
            return None
        peer = packing.row_peer(key, *row[:7])
        return Registration(peer, None if row[7] is None else packing.row_claim(key, *row[7:]))

    def former(self, key: PublicKey) -> Removed | None:
        with self._reader as db:
            row = db.execute(_REMOVED, (key,)).fetchone()
        if row is None:
            return None
        return Removed(key, None if row[0] is None else packing.row_claim(key, *row))

    def save_claims(self, claims: Sequence[Claim]) -> None:
        if not claims:
            return
        with self._writer as db:
            db.execute("BEGIN IMMEDIATE")
            db.executemany(_SAVE_CLAIM, map(packing.claim_row, claims))
            db.execute("COMMIT")

    def identity(self) -> bytes:
        """The registry's own number, and the file's: one that was copied is the same registry, but not the same file.

        Of a copy that was put in the registry's place nobody can say what it lacks.
        """
        with self._reader as db:
            row = db.execute("SELECT value FROM meta WHERE what = 'identity'").fetchone()
            return (b"" if row is None else bytes(row[0])) + repr(self._reader.file).encode()

    def last_change(self) -> int:
        # As cheap as PRAGMA data_version (about 4 µs), and it does not move when a claim is saved.
        with self._reader as db:
            row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'changes'").fetchone()
        return 0 if row is None else int(row[0])

    def changes(self, after: int, limit: int = 1000) -> list[Change]:
        query = "SELECT sequence, kind, public_key FROM changes WHERE sequence > ? ORDER BY sequence LIMIT ?"
        with self._reader as db:
            rows = db.execute(query, (after, limit)).fetchall()
        return [Change(sequence, ChangeKind(kind), PublicKey(key)) for sequence, kind, key in rows]

    def attend(self, concerned: Callable[[], Collection[PublicKey]]) -> None:
        """Nothing here grows old."""

    def addresses_version(self) -> tuple[bytes, int, int]:
        # Not PRAGMA data_version, which moves with each saved claim. Additions are in no log, but they are counted.
        return self.identity(), self.last_change(), self.count()

    def cover(self, within: Collection[AllowedIP], limit: int) -> Cover:
        return find_cover(self._ranges, within, limit)

    def _ranges(self, first: bytes, last: bytes, count: int) -> list[Range]:
        """See `cover.Ranges`. A read of its own each, so that lookups have their turn in between."""
        order = "DESC" if count < 0 else "ASC"
        query = f"SELECT first, coalesce(last, first) FROM addresses WHERE first BETWEEN ? AND ? ORDER BY first {order}"
        with self._reader as db:
            return db.execute(f"{query} LIMIT ?", (first, last, abs(count))).fetchall()

    def figures(self) -> dict[str, Any]:
        return {}

    def close(self) -> None:
        self._reader.close()
        self._writer.close()

    # --- Roll: reading all of it --------------------------------------------------------------------------------

    def find(self, handle: str) -> Peer:
        with self._reader as db:
            return _find(db, handle)

    def peers(self, after: PublicKey | None = None) -> Iterator[Peer]:
        """All peers in key order, from the one after `after` on; each as it is when its round is read."""
        query = f"SELECT {_COLUMNS} FROM peers WHERE public_key > ? ORDER BY public_key LIMIT {_PAGE}"
        last: bytes = b"" if after is None else after
        while True:
            with self._reader as db:
                rows = db.execute(query, (last,)).fetchall()
            for row in rows:
                yield packing.row_peer(*row)
            if len(rows) < _PAGE:
                return
            last = rows[-1][0]

    def count(self) -> int:
        """How many peers are registered; triggers keep it, so it does not depend on their number."""
        with self._reader as db:
            (count,) = db.execute("SELECT count FROM totals WHERE what = 'peers'").fetchone()
        return int(count)

    @contextmanager
    def _load(self, before_commit: BeforeCommit = unnoted, cache: int = CACHE) -> Iterator[BulkLoad]:
        link = Link(self.path, read_only=False, timeout=self._timeout)
        try:
            with link as db, closing(BulkLoad(db, _insert, before_commit, cache)) as load:
                yield load
        except StoreError as error:
            if isinstance(error.__cause__, sqlite3.Error) and primary_code(error.__cause__) == sqlite3.SQLITE_FULL:
                where = f"{self.path.parent}, or {temporary_folder()}, where peers are staged (SQLITE_TMPDIR)"
                raise StoreError(f"registry {self.path}: a disk is full; free space in {where}") from error
            raise
        finally:
            link.close()


class SqliteRegistry(SqliteStore):
    """Implements `wgjit.stores.base.Registry`: also changes peers, and notes nowhere who did.

    People's changes go through `ManagedRegistry`, which does.
    """

    def add(self, peers: Iterable[Peer]) -> int:
        """Register all of them or none; gives the count.

        Streams: `peers` may be a generator of any length. Other writers wait until it is through. Raises PeerExists,
        AddressConflict, InvalidValue (the name), StoreBusy, StoreError, and what the iterable itself raises.
        """
        count = 0
        source = iter(peers)
        with self._writer as db:
            db.execute("BEGIN IMMEDIATE")
            while chunk := list(islice(source, _CHUNK)):
                _insert(db, chunk)
                count += len(chunk)
            db.execute("COMMIT")
        return count

    def replace(self, peer: Peer) -> None:
        """Write a registered peer's new values. Raises NoSuchPeer, AddressConflict, PeerExists (the name)."""
        checks.check_peer(peer)
        with self._writer as db:
            db.execute("BEGIN IMMEDIATE")
            _replace(db, peer)
            db.execute("COMMIT")

    def change(self, handle: str, how: Callable[[Peer], Peer]) -> Peer:
        """Read, change and write in one transaction; see `Registry.change`."""
        with self._writer as db:
            db.execute("BEGIN IMMEDIATE")
            before = _find(db, handle)
            after = checks.changed(before, how)
            if after != before:
                _replace(db, after)
            db.execute("COMMIT")
        return after

    def remove(self, key: PublicKey) -> None:
        with self._writer as db:
            # One statement, and triggers: its own transaction.
            if db.execute("DELETE FROM peers WHERE public_key = ?", (key,)).rowcount == 0:
                raise checks.no_such_peer(str(key))

    @contextmanager
    def load(self) -> Iterator[BulkLoad]:
        """Register many peers, faster than `add` and, if wanted, without those that are refused; see `bulk`.

        On a connection of its own: until it commits a batch, nobody waits for it. What is staged and not committed is
        dropped. Raises StoreBusy, StoreError.
        """
        with self._load() as load:
            yield load

    def reset_claim(self, key: PublicKey) -> bool:
        with self._writer as db:
            db.execute("BEGIN IMMEDIATE")
            had_one = db.execute("DELETE FROM claims WHERE public_key = ?", (key,)).rowcount > 0
            forget_removal(db, key)
            db.execute("COMMIT")
        return had_one


def forget_removal(db: sqlite3.Connection, key: PublicKey) -> bool:
    """Let a key that was removed be one that was never heard of; False if it was not removed."""
    return db.execute("DELETE FROM removed WHERE public_key = ?", (key,)).rowcount > 0


def _find(db: sqlite3.Connection, handle: str) -> Peer:
    key = checks.parse_key(handle)
    column, value = ("name", handle) if key is None else ("public_key", key)
    row = db.execute(f"SELECT {_COLUMNS} FROM peers WHERE {column} = ?", (value,)).fetchone()
    if row is None:
        raise checks.no_such_peer(handle)
    return packing.row_peer(*row)


def _replace(db: sqlite3.Connection, peer: Peer) -> None:
    row = packing.peer_row(peer)
    before = db.execute("SELECT allowed_ips FROM peers WHERE public_key = ?", (peer.public_key,)).fetchone()
    if before is None:
        raise checks.no_such_peer(str(peer.public_key))
    try:
        db.execute(_REPLACE, row)
    except sqlite3.IntegrityError:
        raise _taken(db, peer) or _unexplained(peer) from None
    if before[0] != row[1]:  # a trigger has taken the old addresses out
        _insert_addresses(db, [(first, last, peer) for first, last in packing.pack_ranges(row[1], peer.allowed_ips)])


def _insert(db: sqlite3.Connection, peers: list[Peer]) -> None:
    """Insert a round of peers with their addresses. Raises PeerExists, AddressConflict, InvalidValue."""
    addresses: list[tuple[bytes, bytes | None, Peer]] = []
    current = peers[0]  # where executemany stopped, if it did

    def rows() -> Iterator[packing.PeerRow]:
        nonlocal current
        for current in sorted(peers, key=lambda peer: peer.public_key):
            checks.check_peer(current)
            row = packing.peer_row(current)
            addresses.extend((first, last, current) for first, last in packing.pack_ranges(row[1], current.allowed_ips))
            yield row

    try:
        db.executemany(f"INSERT INTO peers ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows())
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
    """The registered peer that has this one's key or name."""
    by_key = db.execute(f"SELECT {_COLUMNS} FROM peers WHERE public_key = ?", (peer.public_key,)).fetchone()
    by_name = db.execute(f"SELECT {_COLUMNS} FROM peers WHERE name = ?", (peer.name,)).fetchone()
    if by_name is not None and by_name[0] != peer.public_key:
        return checks.name_exists(peer, packing.row_peer(*by_name))
    return None if by_key is None else checks.key_exists(peer, packing.row_peer(*by_key))


def _conflict(db: sqlite3.Connection, first: bytes, last: bytes | None, peer: Peer) -> StoreError:
    """Who owns the last range that starts at or before this one's end: the question that the schema's trigger asked."""
    query = "SELECT first, last, public_key FROM addresses WHERE first <= ? ORDER BY first DESC LIMIT 1"
    row = db.execute(query, (last or first,)).fetchone()
    if row is None:
        return _unexplained(peer)
    owner = db.execute(f"SELECT {_COLUMNS} FROM peers WHERE public_key = ?", (row[2],)).fetchone()
    if owner is None:
        return packing.damaged("addresses of peer", row[2])
    return checks.conflict(
        peer, packing.unpack_range(first, last), packing.row_peer(*owner), packing.unpack_range(row[0], row[1])
    )


def _unexplained(peer: Peer) -> StoreError:
    return StoreError(f"peer {checks.label(peer)}: the schema refuses its row; a value is out of range")

"""The peers of a registry file, as people manage them. Each method is one transaction unless its text says otherwise.

Each change takes its author (`by`), and is written into the audit log in the same transaction. In each change, the file
notes which addresses lose their owner, for the pools that the registry was opened with.
"""

from __future__ import annotations

import dataclasses
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path

from wgjit.errors import NoSuchPeer, StoreError
from wgjit.model import AllowedIP, Peer, PublicKey, Registration
from wgjit.stores import audit_records, checks, label_rules
from wgjit.stores.entries import EVERY, Answer, Author, Entry, Filter, IdempotentRequest, Loaded, Page, Pool, Verb
from wgjit.stores.sqlite import audit, idempotency
from wgjit.stores.sqlite.bulk.aside import CACHE, temporary_folder
from wgjit.stores.sqlite.bulk.load import BulkLoad
from wgjit.stores.sqlite.file.connection import Link
from wgjit.stores.sqlite.file.errors import primary_code
from wgjit.stores.sqlite.rows import handles, labels, listing, peer_rows, pools

_PAGE = 1000
"""Peers that are read, registered or removed in one round."""


def _fine(_: object) -> None:
    """Accept everything."""


class Peers:
    """See the head of this file. Any thread may call anything; each of two connections serves one call at a time."""

    def __init__(
        self,
        path: Path,
        reader: Link,
        writer: Link,
        known: Sequence[Pool],
        timeout: float,
        lookup: Callable[[PublicKey], Registration | None],
    ) -> None:
        self._path = path
        self._reader = reader
        self._writer = writer
        self._known = tuple(known)
        self._timeout = timeout
        self._lookup = lookup

    # --- handles ------------------------------------------------------------------------------------------------

    def resolve(self, handle: str) -> PublicKey:
        """The key of the peer that has this name, key or address, or whose key begins so (4 characters at least).

        Works for a peer whose row is damaged, too, so that the peer can be removed. Raises NoSuchPeer, AmbiguousHandle.
        """
        with self._reader as db:
            return handles.resolve(db, handle)

    def registration(self, handle: str) -> Registration:
        """The peer that a handle means, with its last claim. Raises NoSuchPeer, AmbiguousHandle."""
        found = self._lookup(self.resolve(handle))
        if found is None:
            raise checks.no_such_peer(handle)  # removed in between
        return found

    def names(self, prefix: str, limit: int) -> list[str]:
        """The first `limit` names with this prefix, in order."""
        with self._reader as db:
            return listing.names(db, prefix, limit)

    # --- reading ------------------------------------------------------------------------------------------------

    def labels(self, key: PublicKey) -> dict[str, str]:
        """A peer's labels, empty if there are none."""
        with self._reader as db:
            return labels.read(db, [key]).get(key, {})

    def page(self, wanted: Filter, limit: int, after: str | None = None) -> Page:
        """The first `limit` peers that fit, or the next after a page's cursor. Raises InvalidValue for a bad cursor."""
        with self._reader as db:
            return listing.page(db, wanted, time.time(), limit, after)

    def entries(self, wanted: Filter, after: str | None = None, page: int = _PAGE) -> Iterator[Entry]:
        """All peers that fit, as a stream. Each `page` of peers is read in a transaction of its own."""
        while True:
            read = self.page(wanted, page, after)
            yield from read.entries
            if read.cursor is None:
                return
            after = read.cursor

    def count(self, wanted: Filter = EVERY) -> int:
        """The number of peers that fit. Reads all of these peers, except for the empty filter."""
        with self._reader as db:
            return peer_rows.count(db) if wanted.is_empty else listing.count(db, wanted, time.time())

    def search(self, text: str, limit: int, *, anywhere: bool = False) -> list[Entry]:
        """Peers that a text may mean, `limit` at most: see `listing.search`."""
        with self._reader as db:
            return listing.search(db, text, limit, anywhere=anywhere)

    def entry(self, key: PublicKey) -> Entry:
        """One peer as a listing shows it. Raises NoSuchPeer."""
        with self._reader as db:
            return listing.entry(db, key)

    def every(self, after: PublicKey | None = None) -> Iterator[Peer]:
        """All peers in key order after the key `after`, as a stream. Each peer is as it was when its part was read."""
        last: bytes = b"" if after is None else after
        while True:
            with self._reader as db:
                some = peer_rows.behind(db, last, _PAGE)
            yield from some
            if len(some) < _PAGE:
                return
            last = some[-1].public_key

    # --- changing --------------------------------------------------------------------------------------------

    def hand_out(
        self,
        peer: Peer,
        given: Mapping[str, str],
        some: Sequence[Pool] = (),
        before_commit: Callable[[Peer], None] = _fine,
        *,
        by: Author,
        once: IdempotentRequest | None = None,
    ) -> Peer:
        """Register a peer with labels, its own allowed IPs and an address of each pool. Returns the peer as registered.

        No two processes get the same address. An error that `before_commit` raises undoes everything. Raises
        PeerExists, AddressConflict, InvalidValue, PoolExhausted, AnsweredBefore.
        """
        with self._writer as db:
            fresh = self._allocate(db, some, by, once)  # begins the transaction
            label_rules.check_count(len(given))
            peer = dataclasses.replace(peer, allowed_ips=(*peer.allowed_ips, *fresh))
            peer_rows.insert(db, [peer])
            pools.taken(db, peer.allowed_ips)
            labels.write(db, peer.public_key, given)
            before_commit(peer)
            audit.registered(db, by, Verb.ADD, [Entry(peer, given)])
            _answered(db, by, once, Entry(peer, given))
            db.execute("COMMIT")
        return peer

    def adopt(self, peers: Iterable[Peer], *, by: Author) -> int:
        """Register the peers of an interface, either all of them or none. Returns their number.

        Raises PeerExists, AddressConflict, InvalidValue, and what the iterable raises.
        """
        count = 0
        source = iter(peers)
        with self._changing() as db:
            while some := list(islice(source, _PAGE)):
                peer_rows.insert(db, some)
                audit.registered(db, by, Verb.ADOPT, map(Entry, some))
                count += len(some)
            db.execute("COMMIT")
        return count

    @contextmanager
    def load(self, *, by: Author, cache: int = CACHE) -> Iterator[BulkLoad]:
        """Register many peers, faster than one by one and, if wanted, without the peers that are refused; see `bulk`.

        The load has connections of its own, so other writers wait only while it commits a batch. Peers that are staged
        but not committed are dropped. Each batch that adds peers is one entry of the audit log. `cache`: KiB of memory
        for each of the load's two connections. Raises StoreBusy, StoreError.
        """

        def note(db: sqlite3.Connection, loaded: Loaded, source: str) -> None:
            if loaded.added or loaded.updated:
                audit.write(db, by, audit_records.imported(loaded, source))

        def note_change(db: sqlite3.Connection, before: Entry, after: Entry) -> None:
            audit.amended(db, by, before, after)

        link = Link(self._path, read_only=False, timeout=self._timeout)
        try:
            with link as db, closing(BulkLoad(db, peer_rows.insert, note, cache, note_change)) as load:
                yield load
        except StoreError as error:
            if isinstance(error.__cause__, sqlite3.Error) and primary_code(error.__cause__) == sqlite3.SQLITE_FULL:
                where = f"{self._path.parent}, or {temporary_folder()}, where peers are staged (SQLITE_TMPDIR)"
                raise StoreError(f"registry {self._path}: a disk is full; free space in {where}") from error
            raise
        finally:
            link.close()

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that changes peers. The block commits it."""
        with self._writer as db:
            self._begin(db)
            yield db

    def _begin(self, db: sqlite3.Connection) -> None:
        db.execute("BEGIN IMMEDIATE")
        for pool in self._known:
            pools.know(db, pool)

    def _allocate(
        self, db: sqlite3.Connection, some: Sequence[Pool], by: Author, once: IdempotentRequest | None
    ) -> list[AllowedIP]:
        """Begin a transaction and take an address out of each pool. Raises AnsweredBefore, PoolExhausted."""
        while True:
            self._begin(db)
            idempotency.check(db, by, once, time.time())
            for pool in some:
                pools.know(db, pool)
            db.execute("SAVEPOINT known")
            try:
                return [pools.allocate(db, pool, time.time()) for pool in some]
            except pools.MarkMoves as moves:
                db.execute("ROLLBACK TO known")
                pools.move_mark(db, moves.pool, moves.mark)
                db.execute("COMMIT")

    def amend(
        self,
        key: PublicKey,
        how: Callable[[Peer], Peer],
        add: Mapping[str, str],
        remove: Iterable[str] = (),
        check: Callable[[Entry], None] = _fine,
        *,
        by: Author,
    ) -> Entry:
        """Change a peer to what `how` returns for it, and add and remove labels, in one transaction with the reading.

        `check` gets the peer as it was before. If `check` raises an error, nothing changes. Raises NoSuchPeer,
        AddressConflict, PeerExists (the name), InvalidValue (another key), and what `how` raises.
        """
        with self._changing() as db:
            before = _entry(db, key)
            check(before)
            after = checks.changed(before.peer, how)
            if after != before.peer:
                peer_rows.replace(db, after)
                pools.taken(db, after.allowed_ips)
            labels.write(db, key, add, remove)
            entry = Entry(after, labels.read(db, [key]).get(key, {}))
            if len(entry.labels) > len(before.labels):  # a peer that had too many before may still lose some
                label_rules.check_count(len(entry.labels))
            audit.amended(db, by, before, entry)
            db.execute("COMMIT")
        return entry

    def rotate(
        self,
        key: PublicKey,
        new: PublicKey,
        before_commit: Callable[[Peer], None] = _fine,
        check: Callable[[Entry], None] = _fine,
        *,
        by: Author,
        once: IdempotentRequest | None = None,
    ) -> Peer:
        """Replace a peer's key by a new one. Everything else stays, except the claim, which belonged to the old key.

        A gateway sees a removal: the old key loses its session within a second. `check` gets the peer as it was before.
        An error that `before_commit` or `check` raises undoes the change. Raises NoSuchPeer, PeerExists,
        AnsweredBefore.
        """
        with self._changing() as db:
            idempotency.check(db, by, once, time.time())
            before = _entry(db, key)
            check(before)
            entry = Entry(dataclasses.replace(before.peer, public_key=new), before.labels)
            peer = entry.peer
            db.execute("DELETE FROM peers WHERE public_key = ?", (key,))
            peer_rows.insert(db, [peer])
            pools.taken(db, peer.allowed_ips)
            labels.write(db, new, entry.labels)
            before_commit(peer)
            audit.rotated(db, by, key, peer)
            _answered(db, by, once, entry)
            db.execute("COMMIT")
        return peer

    def remove_all(self, keys: Sequence[PublicKey], check: Callable[[Entry], None] | None = None, *, by: Author) -> int:
        """Remove these peers in one transaction. Returns how many were registered.

        `check` gets each peer that is registered; if `check` raises an error, no peer is removed. With `check`, a
        damaged row is a StoreError.
        """
        with self._changing() as db:
            count = _remove(db, keys, check, by)
            db.execute("COMMIT")
        return count

    def remove_fitting(self, wanted: Filter, *, by: Author) -> int:
        """Remove all peers that fit, one page per transaction, so that a gateway can save claims in between.

        A page is read in the transaction that removes its peers, so no peer is removed that does not fit any more.
        """
        count, after = 0, None
        while True:
            with self._changing() as db:
                page = listing.page(db, wanted, time.time(), _PAGE, after)
                count += _remove(db, [entry.peer.public_key for entry in page.entries], None, by)
                db.execute("COMMIT")
            if page.cursor is None:
                return count
            after = page.cursor


def _remove(
    db: sqlite3.Connection, keys: Sequence[PublicKey], check: Callable[[Entry], None] | None, by: Author
) -> int:
    """Remove these peers. Returns how many were registered."""
    count = 0
    for key in keys:
        try:
            entry = _entry(db, key)
        except NoSuchPeer:
            continue
        except (StoreError, sqlite3.OperationalError):  # damaged (no UTF-8): a reason more to remove it
            if check is not None:
                raise
            entry = None
        if check is not None and entry is not None:
            check(entry)
        db.execute("DELETE FROM peers WHERE public_key = ?", (key,))
        audit.removed(db, by, key, entry)
        count += 1
    return count


def _entry(db: sqlite3.Connection, key: PublicKey) -> Entry:
    """Raises NoSuchPeer, StoreError (damaged)."""
    return Entry(peer_rows.find(db, str(key)), labels.read(db, [key]).get(key, {}))


def _answered(db: sqlite3.Connection, by: Author, once: IdempotentRequest | None, entry: Entry) -> None:
    if once is not None:
        status, body = once.answer(entry)
        idempotency.write(db, by, once.key, Answer(once.fingerprint, status, body), time.time())

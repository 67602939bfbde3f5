"""The peers of a registry file as people manage them. Each method is one transaction, or says otherwise.

What changes a peer asks who does (`by`), and writes it into the audit log in the same transaction. The pools that the
registry was opened with learn, in each change, which of their addresses lose their owner.
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
from wgjit.stores import checks, label_rules
from wgjit.stores.entries import EVERY, Answer, Author, Entry, Filter, Loaded, Once, Page, Pool, Verb
from wgjit.stores.sqlite import audit, idempotency
from wgjit.stores.sqlite.bulk.aside import CACHE, temporary_folder
from wgjit.stores.sqlite.bulk.load import BulkLoad
from wgjit.stores.sqlite.file.connection import Link
from wgjit.stores.sqlite.file.errors import primary_code
from wgjit.stores.sqlite.rows import handles, labels, listing, peer_rows, pools

_PAGE = 1000
"""Peers read per round of a listing, registered or removed per round of a transaction."""


def _fine(_: object) -> None:
    """Nothing is said against it."""


class Peers:
    """See the head of this file. Any thread may call anything, one at a time on each of the two connections."""

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

    # --- who is meant -------------------------------------------------------------------------------------------

    def resolve(self, handle: str) -> PublicKey:
        """The key of the peer with this name, key, address, or beginning of a key (4 characters at least).

        Raises NoSuchPeer, AmbiguousHandle. Works for a peer whose row is damaged, so that it can be removed.
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
        """Names that begin so, in order."""
        with self._reader as db:
            return listing.names(db, prefix, limit)

    # --- looking ------------------------------------------------------------------------------------------------

    def labels(self, key: PublicKey) -> dict[str, str]:
        """A peer's labels, empty if there are none."""
        with self._reader as db:
            return labels.read(db, [key]).get(key, {})

    def page(self, wanted: Filter, limit: int, after: str | None = None) -> Page:
        """The first `limit` peers that fit, or the next behind a page's cursor. Raises InvalidValue (the cursor)."""
        with self._reader as db:
            return listing.page(db, wanted, time.time(), limit, after)

    def entries(self, wanted: Filter, after: str | None = None, page: int = _PAGE) -> Iterator[Entry]:
        """All peers that fit, streamed; each `page` of them is a transaction of its own."""
        while True:
            read = self.page(wanted, page, after)
            yield from read.entries
            if read.cursor is None:
                return
            after = read.cursor

    def count(self, wanted: Filter = EVERY) -> int:
        """How many fit; visits all that do, unless that is every peer."""
        with self._reader as db:
            return peer_rows.count(db) if wanted.is_empty else listing.count(db, wanted, time.time())

    def search(self, text: str, limit: int, *, anywhere: bool = False) -> list[Entry]:
        """Peers that a text points at, `limit` at most: see `listing.search`."""
        with self._reader as db:
            return listing.search(db, text, limit, anywhere=anywhere)

    def entry(self, key: PublicKey) -> Entry:
        """One peer as a listing shows it. Raises NoSuchPeer."""
        with self._reader as db:
            return listing.entry(db, key)

    def every(self, after: PublicKey | None = None) -> Iterator[Peer]:
        """All peers in key order, streamed, from the one after `after` on; each as it is when its round is read."""
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
        once: Once | None = None,
    ) -> Peer:
        """Register a peer with labels and, besides its own allowed IPs, an address of each pool; gives what it became.

        No two processes get the same address. What `before_commit` raises undoes all of it. Raises PoolExhausted,
        AnsweredBefore and what `add` raises.
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
        """Register the peers of an interface, all of them or none; gives the count. Raises what `add` raises, and what
        the iterable raises."""
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
        """Register many peers, faster than one by one and, if wanted, without those that are refused; see `bulk`.

        On a connection of its own: until it commits a batch, nobody waits for it. What is staged and not committed is
        dropped. Each batch is one entry of the audit log, whatever its size. `cache`: KiB of memory for each of its two
        connections. Raises StoreBusy, StoreError.
        """

        def note(db: sqlite3.Connection, loaded: Loaded, source: str) -> None:
            if loaded.added:
                audit.write(db, by, Verb.IMPORT, dataclasses.asdict(loaded) | {"source": source})

        link = Link(self._path, read_only=False, timeout=self._timeout)
        try:
            with link as db, closing(BulkLoad(db, peer_rows.insert, note, cache)) as load:
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
        """A transaction that changes peers; the block commits it."""
        with self._writer as db:
            self._begin(db)
            yield db

    def _begin(self, db: sqlite3.Connection) -> None:
        db.execute("BEGIN IMMEDIATE")
        for pool in self._known:
            pools.know(db, pool)

    def _allocate(self, db: sqlite3.Connection, some: Sequence[Pool], by: Author, once: Once | None) -> list[AllowedIP]:
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
        """Write what `how` makes of a peer, and its labels given and taken, in one go with reading it.

        `check` is told what it was before; what it raises leaves that so. Raises NoSuchPeer, AddressConflict,
        PeerExists (the name), InvalidValue (another key), and what `how` raises.
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
            if len(entry.labels) > len(before.labels):  # who has too many from before may still lose some
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
        once: Once | None = None,
    ) -> Peer:
        """Put a new key in the place of a peer's; all else stays, but its claim, which was the old key's.

        For a gateway it is a removal: the old key loses its session within a second. What `before_commit` raises
        undoes it, and what `check`, which is told what it was before. Raises NoSuchPeer, PeerExists, AnsweredBefore.
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
        """Take these peers out, in one go; gives how many of them were still there. What `check` raises, which is told
        of each that is, leaves all in; with it a damaged row is a StoreError."""
        count = 0
        with self._changing() as db:
            for key in keys:
                try:
                    entry = _entry(db, key)
                except NoSuchPeer:
                    continue
                except (StoreError, sqlite3.OperationalError):  # damaged (no UTF-8): all the more reason to remove it
                    if check is not None:
                        raise
                    entry = None
                if check is not None and entry is not None:
                    check(entry)
                db.execute("DELETE FROM peers WHERE public_key = ?", (key,))
                audit.removed(db, by, key, entry)
                count += 1
            db.execute("COMMIT")
        return count

    def remove_fitting(self, wanted: Filter, *, by: Author) -> int:
        """Take out all peers that fit, a page a transaction, so that a gateway's claims come in between."""
        count, after = 0, None
        while True:
            page = self.page(wanted, _PAGE, after)
            count += self.remove_all([entry.peer.public_key for entry in page.entries], by=by)
            if page.cursor is None:
                return count
            after = page.cursor


def _entry(db: sqlite3.Connection, key: PublicKey) -> Entry:
    """Raises NoSuchPeer, StoreError (damaged)."""
    return Entry(peer_rows.find(db, str(key)), labels.read(db, [key]).get(key, {}))


def _answered(db: sqlite3.Connection, by: Author, once: Once | None, entry: Entry) -> None:
    if once is not None:
        status, body = once.answer(entry)
        idempotency.write(db, by, once.key, Answer(once.fingerprint, status, body), time.time())

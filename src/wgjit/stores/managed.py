"""The registry file with all that people who manage peers need: handles, labels, pages, addresses, new keys.

A gateway needs none of it, and works on `SqliteRegistry`. Each method is one transaction, or says otherwise.
"""

from __future__ import annotations

import dataclasses
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from wgjit.model import AllowedIP, Peer, PublicKey, Registration
from wgjit.stores import checks, handles, labels, listing, pools
from wgjit.stores import sqlite as rows
from wgjit.stores.listing import Entry, Filter, Page
from wgjit.stores.pools import Pool
from wgjit.stores.sqlite import SqliteRegistry

_PAGE = 1000
"""Peers read per round of a listing, removed per transaction."""


class ManagedRegistry(SqliteRegistry):
    """See the head of this file; opened as SqliteRegistry is, and raises what that raises."""

    # --- who is meant -------------------------------------------------------------------------------------------

    def resolve(self, handle: str) -> PublicKey:
        """The key of the peer with this name, key, address, or beginning of a key (4 characters at least).

        Raises NoSuchPeer, AmbiguousHandle. Works for a peer whose row is damaged, so that it can be removed.
        """
        with self._reader as db:
            return handles.resolve(db, handle)

    def registration(self, handle: str) -> Registration:
        """The peer that a handle means, with its last claim. Raises NoSuchPeer, AmbiguousHandle."""
        found = self.lookup(self.resolve(handle))
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

    def count_fitting(self, wanted: Filter) -> int:
        """How many fit; visits all that do, unless that is every peer."""
        if wanted.is_empty:
            return self.count()
        with self._reader as db:
            return listing.count(db, wanted, time.time())

    def search(self, text: str, limit: int, *, anywhere: bool = False) -> list[Entry]:
        """Peers that a text points at, `limit` at most: see `listing.search`."""
        with self._reader as db:
            return listing.search(db, text, limit, anywhere=anywhere)

    # --- changing -----------------------------------------------------------------------------------------------

    def know(self, some: Iterable[Pool]) -> None:
        """Note from now on which addresses of these pools lose their owner, for their quarantine."""
        with self._writer as db:
            db.execute("BEGIN IMMEDIATE")
            for pool in some:
                pools.know(db, pool)
            db.execute("COMMIT")

    def hand_out(
        self,
        peer: Peer,
        given: Mapping[str, str],
        some: Sequence[Pool] = (),
        before_commit: Callable[[Peer], None] = lambda peer: None,
    ) -> Peer:
        """Register a peer with labels and, besides its own allowed IPs, an address of each pool; gives what it became.

        No two processes get the same address. What `before_commit` raises undoes all of it. Raises PoolExhausted and
        what `add` raises.
        """
        with self._writer as db:
            fresh = self._allocate(db, some)  # begins the transaction
            peer = dataclasses.replace(peer, allowed_ips=(*peer.allowed_ips, *fresh))
            rows._insert(db, [peer])
            pools.taken(db, peer.allowed_ips)
            labels.write(db, peer.public_key, given)
            before_commit(peer)
            db.execute("COMMIT")
        return peer

    def _allocate(self, db: sqlite3.Connection, some: Sequence[Pool]) -> list[AllowedIP]:
        """Begin a transaction and take an address out of each pool. Raises PoolExhausted."""
        while True:
            db.execute("BEGIN IMMEDIATE")
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
        self, key: PublicKey, how: Callable[[Peer], Peer], add: Mapping[str, str], remove: Iterable[str] = ()
    ) -> Entry:
        """`change`, and labels given and taken, in one go. Raises what `change` raises."""
        with self._writer as db:
            db.execute("BEGIN IMMEDIATE")
            before = rows._find(db, str(key))
            after = checks.changed(before, how)
            if after != before:
                rows._replace(db, after)
                pools.taken(db, after.allowed_ips)
            labels.write(db, key, add, remove)
            entry = Entry(after, labels.read(db, [key]).get(key, {}))
            db.execute("COMMIT")
        return entry

    def rotate(self, key: PublicKey, new: PublicKey, before_commit: Callable[[Peer], None] = lambda peer: None) -> Peer:
        """Put a new key in the place of a peer's; all else stays, but its claim, which was the old key's.

        For a gateway it is a removal: the old key loses its session within a second. What `before_commit` raises
        undoes it. Raises NoSuchPeer, PeerExists.
        """
        with self._writer as db:
            db.execute("BEGIN IMMEDIATE")
            peer = dataclasses.replace(rows._find(db, str(key)), public_key=new)
            kept = labels.read(db, [key]).get(key, {})
            db.execute("DELETE FROM peers WHERE public_key = ?", (key,))
            rows._insert(db, [peer])
            pools.taken(db, peer.allowed_ips)
            labels.write(db, new, kept)
            before_commit(peer)
            db.execute("COMMIT")
        return peer

    def remove_all(self, keys: Sequence[PublicKey]) -> int:
        """Take these peers out, in one go; gives how many of them were still there."""
        with self._writer as db:
            db.execute("BEGIN IMMEDIATE")
            statement = "DELETE FROM peers WHERE public_key = ?"
            count = sum(db.execute(statement, (key,)).rowcount for key in keys)
            db.execute("COMMIT")
        return count

    def remove_fitting(self, wanted: Filter) -> int:
        """Take out all peers that fit, a page a transaction, so that a gateway's claims come in between."""
        count, after = 0, None
        while True:
            page = self.page(wanted, _PAGE, after)
            count += self.remove_all([entry.peer.public_key for entry in page.entries])
            if page.cursor is None:
                return count
            after = page.cursor

"""The peers of a registry, as people manage them. Each method is one transaction unless its text says otherwise.

Each change takes its author (`by`), and is written into the audit log in the same transaction. In each change, the
database notes which addresses lose their owner, for the pools that the registry was opened with.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from itertools import islice

from wgjit.errors import StoreBusy, StoreError
from wgjit.model import AllowedIP, Peer, PublicKey, Registration
from wgjit.stores import audit_records, checks, label_rules, packing
from wgjit.stores.entries import EVERY, Author, Entry, Filter, IdempotentRequest, Page, Pool, Verb
from wgjit.stores.postgresql import audit, idempotency
from wgjit.stores.postgresql.database.connection import Database
from wgjit.stores.postgresql.database.schema import LOCKS, Db
from wgjit.stores.postgresql.load import CACHE, BulkLoad
from wgjit.stores.postgresql.rows import handles, labels, listing, peer_rows, pools, registering

_PAGE = 1000
"""Peers that are read, registered or removed in one round."""

_LOCK = "SELECT FROM wgjit.peers WHERE public_key = ANY(%b) ORDER BY public_key FOR UPDATE"

_TRIES = 20
"""How often an address is asked for, if other programs register the very addresses that were found free."""


def _fine(_: object) -> None:
    """Accept everything."""


class Peers:
    """See the head of this file. Any thread may call anything."""

    def __init__(
        self, database: Database, known: Sequence[Pool], lookup: Callable[[PublicKey], Registration | None]
    ) -> None:
        self._database = database
        self._known = tuple(known)
        self._lookup = lookup
        self._numbers: dict[AllowedIP, int] = {}
        self._at_once = True

    # --- handles ------------------------------------------------------------------------------------------------

    def resolve(self, handle: str) -> PublicKey:
        """The key of the peer that has this name, key or address, or whose key begins so (4 characters at least).

        Works for a peer whose row is damaged, too, so that the peer can be removed. Raises NoSuchPeer, AmbiguousHandle.
        """
        with self._database.look() as db:
            return handles.resolve(db, handle)

    def registration(self, handle: str) -> Registration:
        """The peer that a handle means, with its last claim. Raises NoSuchPeer, AmbiguousHandle."""
        found = self._lookup(self.resolve(handle))
        if found is None:
            raise checks.no_such_peer(handle)  # removed in between
        return found

    def names(self, prefix: str, limit: int) -> list[str]:
        """The first `limit` names with this prefix, in order."""
        with self._database.look() as db:
            return listing.names(db, prefix, limit)

    # --- reading ------------------------------------------------------------------------------------------------

    def labels(self, key: PublicKey) -> dict[str, str]:
        """A peer's labels, empty if there are none."""
        with self._database.look() as db:
            return labels.read(db, [key]).get(key, {})

    def page(self, wanted: Filter, limit: int, after: str | None = None) -> Page:
        """The first `limit` peers that fit, or the next after a page's cursor. Raises InvalidValue for a bad cursor."""
        now = time.time()
        with self._database.look() as db:
            found = listing.page_at_once(db, wanted, now, limit, after)
        if found is None:
            with self._database.view() as db:
                found = listing.page(db, wanted, now, limit, after)
        return found

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
        if wanted.is_empty:
            with self._database.look() as db:
                return peer_rows.count(db)
        with self._database.view() as db:
            return listing.count(db, wanted, time.time())

    def search(self, text: str, limit: int, *, anywhere: bool = False) -> list[Entry]:
        """Peers that a text may mean, `limit` at most: see `listing.search`."""
        with self._database.view() as db:
            return listing.search(db, text, limit, anywhere=anywhere)

    def entry(self, key: PublicKey) -> Entry:
        """One peer as a listing shows it. Raises NoSuchPeer."""
        with self._database.look() as db:
            found = listing.entry_at_once(db, key)
        if found is None:
            with self._database.view() as db:
                found = listing.entry(db, key)
        return found

    def every(self, after: PublicKey | None = None) -> Iterator[Peer]:
        """All peers in key order after the key `after`, as a stream. Each peer is as it was when its part was read."""
        last: bytes = b"" if after is None else after
        while True:
            with self._database.look() as db:
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

        No two programs get the same address. An error that `before_commit` raises undoes everything. Raises
        PeerExists, AddressConflict, InvalidValue, PoolExhausted, AnsweredBefore.
        """
        numbers = self._know([*self._known, *some])
        wanted = [(pool, numbers[pool.prefix]) for pool in some]
        lost = 0
        while True:
            at_once = self._at_once and before_commit is _fine and once is None
            try:
                with self._database.call() if at_once else self._database.change() as db:
                    idempotency.check(db, by, once, time.time())
                    label_rules.check_count(len(given))
                    wait, limit = self._database.wait, self._database.limit
                    whole = registering.register(db, peer, given, wanted, by=by, wait=wait, limit=limit)
                    before_commit(whole)
                    idempotency.answered(db, by, once, Entry(whole, given))
                return whole
            except registering.NeedsTransaction:
                self._at_once = False
            except registering.AddressLost:
                lost += 1
                if lost == _TRIES:
                    raise StoreBusy("pool: other programs register its addresses all the time; try again") from None
            except pools.NotReady as none:
                with self._database.change(more="SET LOCAL synchronous_commit = off") as db:
                    exhausted = pools.prepare(db, none.pool, numbers[none.pool.prefix])
                if exhausted is not None:
                    raise exhausted from None

    def adopt(self, peers: Iterable[Peer], *, by: Author) -> int:
        """Register the peers of an interface, either all of them or none. Returns their number.

        Raises PeerExists, AddressConflict, InvalidValue, and what the iterable raises.
        """
        count = 0
        source = iter(peers)
        with self._changing() as db:
            while some := list(islice(source, _PAGE)):
                if count == 0 and len(some) == _PAGE:
                    # More rounds may come. As a writer of wide prefixes from the first on (0002_disjoint.sql): two
                    # programs that begin with single addresses, and both come to a wide prefix, would block each other.
                    db.execute("SELECT pg_advisory_xact_lock(%s, 1)", (LOCKS,))
                peer_rows.insert(db, some)
                audit.write(db, by, (audit_records.registered(Verb.ADOPT, Entry(peer)) for peer in some))
                count += len(some)
        return count

    @contextmanager
    def load(self, *, by: Author, cache: int = CACHE) -> Iterator[BulkLoad]:
        """Register many peers, faster than one by one and, if wanted, without the peers that are refused; see `load`.

        Peers that are staged but not committed are dropped. Each batch that adds peers is one entry of the audit log.
        `cache`: KiB of memory for each sort on the server. Raises StoreBusy, StoreError.
        """
        self._know(self._known)
        with closing(BulkLoad(self._database, by, cache)) as load:
            yield load

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
            before, hides_labels = _locked(db, key)
            check(before)
            after = checks.changed(before.peer, how)
            if after != before.peer:
                peer_rows.replace(db, after)
                if after.allowed_ips != before.peer.allowed_ips:
                    pools.taken(db, after.allowed_ips)
            remove = list(remove)
            if add or remove or hides_labels:
                labels.write(db, key, add, remove)
            entry = Entry(after, labels.read(db, [key]).get(key, {}))
            if len(entry.labels) > len(before.labels):  # a peer that had too many before may still lose some
                label_rules.check_count(len(entry.labels))
            if (record := audit_records.amended(before, entry)) is not None:
                audit.write(db, by, [record])
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
            before, _ = _locked(db, key)
            check(before)
            entry = Entry(dataclasses.replace(before.peer, public_key=new), before.labels)
            peer = entry.peer
            db.execute("DELETE FROM wgjit.peers WHERE public_key = %s", (key,))
            peer_rows.insert(db, [peer])
            pools.taken(db, peer.allowed_ips)
            labels.add_new(db, new, entry.labels)
            before_commit(peer)
            audit.write(db, by, [audit_records.rotated(key, peer)])
            idempotency.answered(db, by, once, entry)
        return peer

    def remove_all(self, keys: Sequence[PublicKey], check: Callable[[Entry], None] | None = None, *, by: Author) -> int:
        """Remove these peers in one transaction. Returns how many were registered.

        `check` gets each peer that is registered; if `check` raises an error, no peer is removed. With `check`, a
        damaged row is a StoreError.
        """
        count = 0
        with self._changing() as db:
            for start in range(0, len(keys), _PAGE):
                count += _remove(db, keys[start : start + _PAGE], check, by)
        return count

    def remove_fitting(self, wanted: Filter, *, by: Author) -> int:
        """Remove all peers that fit, one page per transaction, so that a gateway can save claims in between.

        A page is read again when its rows are locked, so no peer is removed that does not fit any more.
        """
        count, after = 0, None
        while True:
            with self._changing() as db:
                now = time.time()
                page = listing.page(db, wanted, now, _PAGE, after)
                keys = [entry.peer.public_key for entry in page.entries]
                db.execute(_LOCK, (keys,))
                still = {entry.peer.public_key for entry in listing.page(db, wanted, now, _PAGE, after).entries}
                count += _remove(db, [key for key in keys if key in still], None, by)
            if page.cursor is None:
                return count
            after = page.cursor

    # --- pools -------------------------------------------------------------------------------------------------

    @contextmanager
    def _changing(self) -> Iterator[Db]:
        """A transaction that changes peers."""
        self._know(self._known)
        with self._database.change() as db:
            yield db

    def _know(self, some: Sequence[Pool]) -> dict[AllowedIP, int]:
        """The numbers of these pools by prefix. A pool that is new to the registry is written down at once."""
        for pool in some:
            if pool.prefix not in self._numbers:
                with self._database.change() as db:
                    number = pools.know(db, pool)
                self._numbers[pool.prefix] = number
        return self._numbers


def _remove(db: Db, keys: Sequence[PublicKey], check: Callable[[Entry], None] | None, by: Author) -> int:
    """Remove some peers. Returns how many were registered."""
    query = f"SELECT {peer_rows.COLUMNS} FROM wgjit.peers WHERE public_key = ANY(%b) ORDER BY public_key FOR UPDATE"
    rows = {row[0]: row for row in db.execute(query, (list(keys),)).fetchall()}
    its = labels.read(db, [PublicKey(key) for key in rows])
    records = []
    for key in dict.fromkeys(key for key in keys if key in rows):
        try:
            entry = Entry(packing.make_peer(*rows[key]), its.get(key, {}))
        except StoreError:  # a reason more to remove it
            if check is not None:
                raise
            entry = None
        if check is not None and entry is not None:
            check(entry)
        records.append(audit_records.removed(key, entry))
    if rows:
        db.execute("DELETE FROM wgjit.peers WHERE public_key = ANY(%b)", (list(rows),))
        audit.write(db, by, records)
    return len(rows)


def _locked(db: Db, key: PublicKey) -> tuple[Entry, bool]:
    """A peer that nobody else changes before this transaction ends, and whether it has labels that are never shown.

    Raises NoSuchPeer, StoreError (damaged).
    """
    peer = peer_rows.find(db, key, lock=True)
    its, withheld = labels.read_all(db, [key])
    return Entry(peer, its.get(key, {})), key in withheld

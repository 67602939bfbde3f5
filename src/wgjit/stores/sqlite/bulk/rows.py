"""One peer of a load at a time, for peers that are in conflict with others: `loading.again` has the rules."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from wgjit.errors import NoSuchPeer, PeerRefused
from wgjit.model import Peer, PublicKey
from wgjit.stores import label_rules
from wgjit.stores.entries import Entry
from wgjit.stores.sqlite.rows import labels, peer_rows, pools

NoteChange = Callable[[sqlite3.Connection, Entry, Entry], None]
"""Gets a registered peer before and after an update, in the batch's transaction."""

_FIRST = """
SELECT min(line) FROM (
    SELECT min(line) AS line FROM staged.plain WHERE substr(record, 1, 32) = ?1
    UNION ALL SELECT min(line) FROM temp.other WHERE public_key = ?1)"""

_INDEXED = (
    "CREATE INDEX IF NOT EXISTS staged.plain_by_key ON plain (substr(record, 1, 32))",
    "CREATE INDEX IF NOT EXISTS temp.other_by_key ON other (public_key)",
)


def unnoted_change(_db: sqlite3.Connection, _before: Entry, _after: Entry) -> None:
    """Do nothing."""


class Rows:
    """See `again.Rows`. `insert` registers a round of peers with all triggers."""

    def __init__(
        self,
        db: sqlite3.Connection,
        insert: Callable[[sqlite3.Connection, list[Peer]], None],
        note_change: NoteChange,
    ) -> None:
        self._db = db
        self._insert = insert
        self._note_change = note_change
        self._is_indexed = False

    def registered(self, key: PublicKey) -> Entry | None:
        """The peer of this key, None if there is none."""
        try:
            return Entry(peer_rows.find(self._db, str(key)), labels.read(self._db, [key]).get(key, {}))
        except NoSuchPeer:
            return None

    def insert(self, peer: Peer, given: Mapping[str, str]) -> None:
        """Register a peer. Raises PeerExists, AddressConflict."""
        with self._whole():
            self._insert(self._db, [peer])
            pools.taken(self._db, peer.allowed_ips)
            labels.write(self._db, peer.public_key, given)

    def replace(self, before: Entry, after: Entry) -> None:
        """Change a peer's name and labels. Raises PeerExists (the name), InvalidValue (too many labels)."""
        label_rules.check_count(len(after.labels))
        with self._whole():
            if after.peer != before.peer:
                peer_rows.replace(self._db, after.peer)
            labels.write(self._db, after.peer.public_key, after.labels)
            self._note_change(self._db, before, after)

    def first_line(self, error: PeerRefused, line: int) -> int | None:
        """The line above `line` of the peer that is in the way. None if that peer is not in this batch.

        The first call makes indexes: most batches have no refused peer, or come again without it.
        """
        if error.other is None:
            return None
        if not self._is_indexed:
            self._is_indexed = True
            for statement in _INDEXED:
                self._db.execute(statement)
        (first,) = self._db.execute(_FIRST, (error.other,)).fetchone()
        return first if first is not None and first < line else None

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """Undo the block's changes if it raises a PeerRefused."""
        self._db.execute("SAVEPOINT one")
        try:
            yield
        except PeerRefused:
            self._db.execute("ROLLBACK TO one")
            raise
        finally:
            self._db.execute("RELEASE one")

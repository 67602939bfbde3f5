"""One peer of a load at a time, for peers that are in conflict with others: `loading.again` has the rules."""

from __future__ import annotations

from collections.abc import Mapping

from wgjit.errors import NoSuchPeer, PeerRefused
from wgjit.model import Peer, PublicKey
from wgjit.stores import audit_records, label_rules
from wgjit.stores.entries import Author, Entry
from wgjit.stores.postgresql import audit
from wgjit.stores.postgresql.database.schema import Db
from wgjit.stores.postgresql.rows import labels, peer_rows, pools


class Rows:
    """See `again.Rows`. `by` is the author of what an update changes."""

    def __init__(self, db: Db, by: Author) -> None:
        self._db = db
        self._by = by
        self._is_indexed = False

    def registered(self, key: PublicKey) -> Entry | None:
        """The peer of this key, None if there is none. Nobody else changes it before this transaction ends."""
        try:
            peer = peer_rows.find(self._db, key, lock=True)
        except NoSuchPeer:
            return None
        return Entry(peer, labels.read(self._db, [key]).get(key, {}))

    def insert(self, peer: Peer, given: Mapping[str, str]) -> None:
        """Register a peer. Raises PeerExists, AddressConflict."""
        with self._db.transaction():
            peer_rows.insert(self._db, [peer])
            pools.taken(self._db, peer.allowed_ips)
            labels.write(self._db, peer.public_key, given)

    def replace(self, before: Entry, after: Entry) -> None:
        """Change a peer's name and labels. Raises PeerExists (the name), InvalidValue (too many labels)."""
        label_rules.check_count(len(after.labels))
        with self._db.transaction():
            if after.peer != before.peer:
                peer_rows.replace(self._db, after.peer)
            labels.write(self._db, after.peer.public_key, after.labels)
            if (record := audit_records.amended(before, after)) is not None:
                audit.write(self._db, self._by, [record])

    def first_line(self, error: PeerRefused, line: int) -> int | None:
        """The line above `line` of the peer that is in the way. None if that peer is not in this batch.

        The first call makes an index: most batches have no refused peer, or come again without it.
        """
        if error.other is None:
            return None
        if not self._is_indexed:
            self._is_indexed = True
            self._db.execute("CREATE INDEX IF NOT EXISTS stage_by_key ON pg_temp.stage (public_key)")
        row = self._db.execute("SELECT min(line) FROM pg_temp.stage WHERE public_key = %s", (error.other,)).fetchone()
        return None if row is None or row[0] is None or row[0] >= line else row[0]

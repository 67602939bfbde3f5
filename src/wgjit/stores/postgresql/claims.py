"""The claims of a registry, as people manage them: found by a handle, and reset."""

from __future__ import annotations

from collections.abc import Callable

from wgjit.model import Claim, PublicKey, Registration, Removed
from wgjit.stores import audit_records, checks, packing
from wgjit.stores.entries import Author
from wgjit.stores.postgresql import audit
from wgjit.stores.postgresql.database.connection import Database
from wgjit.stores.postgresql.rows import claim_rows, peer_rows


class Claims:
    """See the head of this file."""

    def __init__(
        self,
        database: Database,
        registration: Callable[[str], Registration],
        former: Callable[[PublicKey], Removed | None],
    ) -> None:
        self._database = database
        self._registration = registration
        self._former = former

    def holder(self, handle: str) -> Registration | Removed:
        """The peer whose claim a handle means. A removed peer is found by its whole key. Raises NoSuchPeer,
        AmbiguousHandle."""
        return checks.claim_holder(handle, self._registration, self._former)

    def reset(self, key: PublicKey, *, by: Author) -> Claim | None:
        """Delete a peer's claim, so that a client whose clock was set back may connect. Returns the claim, or None.

        For a removed key, all that is left of the peer is deleted.
        """
        with self._database.change() as db:
            gone = f"DELETE FROM wgjit.claims WHERE public_key = %s RETURNING {claim_rows.COLUMNS}"
            row = db.execute(gone, (key,)).fetchone()
            claim = None if row is None else packing.row_claim(key, *row)
            was_removed = db.execute("DELETE FROM wgjit.removed WHERE public_key = %s", (key,)).rowcount > 0
            if claim is not None or (was_removed and not peer_rows.is_registered(db, key)):
                named = db.execute("SELECT name FROM wgjit.peers WHERE public_key = %s", (key,)).fetchone()
                audit.write(db, by, [audit_records.claim_reset(None if named is None else named[0], key, claim)])
        return claim

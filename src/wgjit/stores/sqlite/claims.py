"""The claims of a registry file, as people manage them: found by a handle, and reset."""

from __future__ import annotations

from collections.abc import Callable

from wgjit.model import Claim, PublicKey, Registration, Removed
from wgjit.stores import checks, packing
from wgjit.stores.entries import Author
from wgjit.stores.sqlite import audit
from wgjit.stores.sqlite.file.connection import Link
from wgjit.stores.sqlite.rows import claim_rows, peer_rows


class Claims:
    """See the head of this file."""

    def __init__(
        self,
        writer: Link,
        registration: Callable[[str], Registration],
        former: Callable[[PublicKey], Removed | None],
    ) -> None:
        self._writer = writer
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
        with self._writer as db:
            db.execute("BEGIN IMMEDIATE")
            row = db.execute(
                f"SELECT {claim_rows.COLUMNS}, p.name FROM claims AS c "
                "LEFT JOIN peers AS p USING (public_key) WHERE c.public_key = ?",
                (key,),
            ).fetchone()
            claim = None if row is None else packing.row_claim(key, *row[:5])
            was_removed = peer_rows.forget_removal(db, key)
            if claim is not None:
                db.execute("DELETE FROM claims WHERE public_key = ?", (key,))
            if claim is not None or (was_removed and not peer_rows.is_registered(db, key)):
                audit.claim_reset(db, by, None if row is None else row[5], key, claim)
            db.execute("COMMIT")
        return claim

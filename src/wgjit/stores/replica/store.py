"""The gateway's side of a replica: an ordinary registry file, with who holds each peer, and its fleet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wgjit.errors import StoreDeferred, StoreError
from wgjit.model import Claim, PublicKey, Registration
from wgjit.stores import packing
from wgjit.stores.replica.fleet import ReplicaFleet
from wgjit.stores.replica.messages import Terms
from wgjit.stores.replica.process import Follower
from wgjit.stores.sqlite.file import schema
from wgjit.stores.sqlite.rows import claim_rows
from wgjit.stores.sqlite.store import SqliteStore

_LOOKUP = f"""
    SELECT {packing.columns("p.", key=False)},
           c.timestamp, c.gateway, c.endpoint, c.proven_at, c.proven, {packing.holding_columns("h.")}
    FROM peers AS p LEFT JOIN claims AS c ON c.public_key = p.public_key
        LEFT JOIN holdings AS h ON h.public_key = p.public_key
    WHERE p.public_key = ?"""

_SAVE_CLAIM = claim_rows.save("TRUE")


class ReplicaStore(SqliteStore):
    """Implements `wgjit.stores.base.Store` on the replica `path`, which is made if it is missing.

    `fleet.start()` starts the follower; before, the store works with what the replica has. Raises StoreError.
    """

    def __init__(
        self, path: Path | str, terms: Terms, *, timeout: float = 0.25, cache: int = schema.PAGE_CACHE
    ) -> None:
        super().__init__(path, create=True, timeout=timeout, cache=cache)
        self._fleet = ReplicaFleet(terms, self._reader, self._writer, Follower(self.path, terms))

    @property
    def fleet(self) -> ReplicaFleet:
        """The fleet whose registry of record this is a copy of."""
        return self._fleet

    def lookup(self, key: PublicKey, *, for_knock: bool = True) -> Registration | None:
        """The peer of this key, with its claim and who holds it. None if the replica does not have it.

        With `for_knock=False` None is certain: while the replica is being made, the registry of record is asked for a
        key that is not in it, and StoreDeferred is raised if it does not answer.
        """
        with self._reader as db:
            row = db.execute(_LOOKUP, (key,)).fetchone()
        if row is None:
            return None if for_knock else self._ask(key)
        peer = packing.row_peer(key, *row[:7])
        claim = None if row[7] is None else packing.row_claim(key, *row[7:12])
        return Registration(peer, claim, None if row[12] is None else packing.row_holding(key, *row[12:]))

    def save_claims(self, claims: Sequence[Claim]) -> None:
        """Save claims in the replica alone: they are not said to the fleet. Also claims of unknown keys are saved."""
        if not claims:
            return
        self.fleet.make_way()
        with self._writer as db:
            db.execute("BEGIN IMMEDIATE")
            db.executemany(_SAVE_CLAIM, map(packing.claim_row, claims))
            db.execute("COMMIT")

    def identity(self) -> bytes:
        """The identity of the registry of record. A replica that is made anew is the same registry."""
        with self._reader as db:
            row = db.execute("SELECT value FROM replica WHERE what = 'record'").fetchone()
        return b"" if row is None else bytes(row[0])

    def figures(self) -> dict[str, Any]:
        return self.fleet.status()

    def close(self) -> None:
        self.fleet.close()
        super().close()

    def _ask(self, key: PublicKey) -> Registration | None:
        if self.fleet.is_complete():
            return None
        try:
            found = self.fleet.ask(key)
        except StoreError as error:
            raise StoreDeferred(f"registry {self.path}: is being copied, and {error}") from error
        return found if isinstance(found, Registration) else None

"""The gateway's side of a replica: an ordinary registry file, with who holds each peer, and its fleet."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wgjit.errors import StoreDamaged, StoreDeferred, StoreError, StoreMissing
from wgjit.model import Claim, PublicKey, Registration
from wgjit.stores import packing
from wgjit.stores.replica import anew
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
        try:
            super().__init__(path, create=True, timeout=timeout, cache=cache)
        except StoreDamaged:
            where = Path(path).absolute()
            anew.start_anew(where, anew.salvage_file(where))
            super().__init__(path, create=False, timeout=timeout, cache=cache)
        try:
            self._take()
        except BaseException:
            super().close()
            raise
        self._fleet = ReplicaFleet(self.path, terms, self._reader, self._writer, Follower(self.path, terms))

    @property
    def fleet(self) -> ReplicaFleet:
        """The fleet whose registry of record this is a copy of."""
        return self._fleet

    def lookup(self, key: PublicKey, *, for_knock: bool = True) -> Registration | None:
        """The peer of this key, with its claim and who holds it. None if the replica does not have it.

        With `for_knock=False` None is certain: as long as the replica is not whole, StoreDeferred is raised for a key
        that it does not have. For a knock, None is also the answer while the replica cannot be read: `fleet.is_behind`
        is true then, so the registry of record is asked.
        """
        try:
            with self._reader as db:
                row = db.execute(_LOOKUP, (key,)).fetchone()
        except StoreError as error:
            if isinstance(error, (StoreDamaged, StoreMissing)):
                self.fleet.file_fails()
            if for_knock and not self.fleet.is_complete():
                return None
            raise
        if row is None:
            if not for_knock and not self.fleet.is_complete() and not self._was_removed(key):
                raise StoreDeferred(f"registry {self.path}: the replica is being made, and does not have this key yet")
            return None
        return packing.row_registration(key, row)

    def save_claims(self, claims: Sequence[Claim]) -> None:
        """Save claims in the replica alone: they are not said to the fleet. Also claims of unknown keys are saved."""
        if claims:
            with self.fleet.writing() as db:
                db.executemany(_SAVE_CLAIM, map(packing.claim_row, claims))

    def identity(self) -> bytes:
        """A replica is always the same registry. What changes in it is in its log of changes, also when it becomes the
        copy of another registry of record. One that was made anew has a gap in its log."""
        return b"replica"

    def last_change(self) -> int:
        with self.fleet.reading():  # notices a file that fails, at each poll
            pass
        return super().last_change()

    def figures(self) -> dict[str, Any]:
        return self.fleet.status()

    def close(self) -> None:
        self.fleet.close()
        super().close()

    def _take(self) -> None:
        """Mark the file as a replica. Raises StoreError if it is a registry of its own."""
        with self._writer as db:
            db.execute("BEGIN IMMEDIATE")
            if db.execute("SELECT 1 FROM replica WHERE what = 'instance'").fetchone() is None:
                for table in ("peers", "audit", "tokens"):
                    if db.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone():
                        raise StoreError(
                            f"registry {self.path}: is a registry of its own, and would be overwritten by a copy; give "
                            "another path, or bring its peers into the registry of record and delete it"
                        )
                instance = secrets.token_bytes(16)
                db.execute("INSERT INTO replica (what, value) VALUES ('instance', ?)", (instance,))
            db.execute("COMMIT")

    def _was_removed(self, key: PublicKey) -> bool:
        with self.fleet.reading() as db:
            return db.execute("SELECT 1 FROM removed WHERE public_key = ?", (key,)).fetchone() is not None

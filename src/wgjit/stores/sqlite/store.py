"""The registry in one SQLite file: the default store. docs/REGISTRY.md has layout, figures, rules for other programs.

Rules:
- Readers never wait for a writer (WAL), and see only what is committed. There is one writer at a time. A writer that
  waits longer than `timeout` gets StoreBusy.
- The rules that matter (disjoint addresses, the change log, a removed peer's claim) are in the schema, so that they
  hold for every process that writes. This package only words the errors.
- There are two connections, one to read and one to write, so that a lookup does not wait while another thread saves a
  claim. Any thread may call anything.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from wgjit.model import AllowedIP, Change, ChangeKind, Claim, Cover, PublicKey, Registration, Removed
from wgjit.stores import packing
from wgjit.stores.base import Fleet
from wgjit.stores.cover import Range, find_cover
from wgjit.stores.sqlite.file import schema
from wgjit.stores.sqlite.file.connection import Link
from wgjit.stores.sqlite.rows import claim_rows, peer_rows

_LOOKUP = f"""
    SELECT {packing.columns("p.", key=False)},
           c.timestamp, c.gateway, c.endpoint, c.proven_at, c.proven
    FROM peers AS p LEFT JOIN claims AS c ON c.public_key = p.public_key
    WHERE p.public_key = ?"""

_SAVE_CLAIM = claim_rows.save(
    "(EXISTS (SELECT 1 FROM peers WHERE public_key = ?1) OR EXISTS (SELECT 1 FROM removed WHERE public_key = ?1))"
)

_REMOVED = f"""
    SELECT {claim_rows.COLUMNS} FROM removed LEFT JOIN claims USING (public_key)
    WHERE public_key = ?1 AND NOT EXISTS (SELECT 1 FROM peers WHERE public_key = ?1)"""

_PINNED = """
    SELECT public_key FROM peers INDEXED BY peers_pinned
    WHERE idle_timeout = 0 AND enabled = 1 AND public_key > ? ORDER BY public_key LIMIT ?"""


class SqliteStore:
    """The gateway's side: `wgjit.stores.base.Store` on the file `path`.

    `create` makes a missing file, whose folder must exist. Without `create` a missing file is a StoreError. An old file
    is migrated in both cases. `read_only` changes nothing at all, and then an old file is a StoreError. `timeout`,
    seconds: how long a call may wait for another writer. `cache`: KiB of pages that each connection keeps. Raises
    StoreError if the file is missing, newer, damaged or not a registry.
    """

    is_local = True

    def __init__(
        self,
        path: Path | str,
        *,
        create: bool = True,
        read_only: bool = False,
        timeout: float = 0.25,
        cache: int = schema.PAGE_CACHE,
    ) -> None:
        self.path = Path(path).absolute()
        schema.prepare(self.path, create=create, read_only=read_only)
        self._timeout = timeout
        self._reader = Link(self.path, read_only=True, timeout=timeout, cache=cache)
        self._writer = Link(self.path, read_only=read_only, timeout=timeout, cache=cache)

    @property
    def fleet(self) -> Fleet | None:
        """None: a file of this machine alone."""
        return None

    # --- Store: the gateway's side ----------------------------------------------------------------------------

    def lookup(self, key: PublicKey, *, for_knock: bool = True) -> Registration | None:
        with self._reader as db:
            row = db.execute(_LOOKUP, (key,)).fetchone()
        if row is None:
            return None
        peer = packing.row_peer(key, *row[:7])
        return Registration(peer, None if row[7] is None else packing.row_claim(key, *row[7:]))

    def former(self, key: PublicKey) -> Removed | None:
        with self._reader as db:
            row = db.execute(_REMOVED, (key,)).fetchone()
        if row is None:
            return None
        return Removed(key, None if row[0] is None else packing.row_claim(key, *row))

    def save_claims(self, claims: Sequence[Claim]) -> None:
        if not claims:
            return
        with self._writer as db:
            db.execute("BEGIN IMMEDIATE")
            db.executemany(_SAVE_CLAIM, map(packing.claim_row, claims))
            db.execute("COMMIT")

    def identity(self) -> bytes:
        """The registry's own number, and device and inode of the file. A copy of a registry has another identity.

        If a copy is put in the registry's place, its changes since are unknown, so nothing that was known counts.
        """
        with self._reader as db:
            row = db.execute("SELECT value FROM meta WHERE what = 'identity'").fetchone()
            return (b"" if row is None else bytes(row[0])) + repr(self._reader.file).encode()

    def last_change(self) -> int:
        # As cheap as PRAGMA data_version (about 4 µs), and it does not move when a claim is saved.
        with self._reader as db:
            row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'changes'").fetchone()
        return 0 if row is None else int(row[0])

    def changes(self, after: int, limit: int = 1000) -> list[Change]:
        query = "SELECT sequence, kind, public_key FROM changes WHERE sequence > ? ORDER BY sequence LIMIT ?"
        with self._reader as db:
            found = db.execute(query, (after, limit)).fetchall()
        return [Change(sequence, ChangeKind(kind), PublicKey(key)) for sequence, kind, key in found]

    def keep_fresh(self, concerned: Callable[[], Collection[PublicKey]]) -> None:
        """Do nothing: a lookup in the file is never out of date."""

    def addresses_version(self) -> tuple[bytes, int, int]:
        # PRAGMA data_version changes with each saved claim, so it is of no use here. New peers are in no log, but are
        # counted.
        return self.identity(), self.last_change(), self._count()

    def cover(self, within: Collection[AllowedIP], limit: int) -> Cover:
        return find_cover(self._ranges, within, limit)

    def _ranges(self, first: bytes, last: bytes, count: int) -> list[Range]:
        """See `cover.Ranges`. Each call is a transaction of its own, so that lookups can run in between."""
        order = "DESC" if count < 0 else "ASC"
        query = f"SELECT first, coalesce(last, first) FROM addresses WHERE first BETWEEN ? AND ? ORDER BY first {order}"
        with self._reader as db:
            return db.execute(f"{query} LIMIT ?", (first, last, abs(count))).fetchall()

    def pinned(self, after: PublicKey | None = None, limit: int = 10_000) -> list[PublicKey]:
        with self._reader as db:
            return [PublicKey(key) for (key,) in db.execute(_PINNED, (after or b"", limit)).fetchall()]

    def pinned_version(self) -> tuple[bytes, int, int]:
        return self.addresses_version()  # it changes with each addition, change and removal

    def figures(self) -> dict[str, Any]:
        return {}

    def close(self) -> None:
        self._reader.close()
        self._writer.close()

    def _count(self) -> int:
        with self._reader as db:
            return peer_rows.count(db)

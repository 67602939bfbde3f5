"""The answers of a remote registry, and the claims of its peers, in one SQLite file.

Rules:
- A file that is locked, damaged, full or missing never stops the service. What cannot be written is kept in memory, and
  written when the cause is gone. What cannot be read counts as never asked for. `trouble` has the error.
- The file may be deleted at any time, and is made again. This loses the claims of peers that are not resident, so a
  recorded handshake of such a peer would count as new. This process still knows the claims that it has saved or read.
- The number of answers is bounded, and the least recently used are deleted first. Claims are not bounded: a claim is
  one small row for each peer that ever connected, and protects against replays.
- The answers of one service do not count for another. They are deleted when `url` changes. Claims stay.

Any thread may call anything.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

from wgjit.errors import StoreError
from wgjit.model import Claim, PublicKey
from wgjit.stores import packing
from wgjit.stores.remote.cached_answer import CachedAnswer
from wgjit.stores.sqlite.file import schema
from wgjit.stores.sqlite.file.connection import Link
from wgjit.stores.sqlite.rows import claim_rows

MOST = 1_000_000
"""Greatest number of answers in the file."""

IN_MEMORY = 65_536
"""Greatest number of answers, and of claims, in memory."""

REST = 1.0
"""Seconds for which a file that failed is not used, so that lookups do not wait for it."""

HOUR = 3600
"""Seconds: the last use of an answer is noted about once an hour, so that a lookup is no write."""

_COLUMNS = packing.columns(key=False)

_GET = f"SELECT is_peer, etag, asked_at, lives, is_valid, used_at, {_COLUMNS} FROM answers WHERE public_key = ?"
_PINNED = """
    SELECT public_key FROM answers
    WHERE idle_timeout = 0 AND is_peer = 1 AND enabled = 1 AND public_key > ? ORDER BY public_key LIMIT ?"""

_PUT = f"""
    INSERT OR REPLACE INTO answers (public_key, is_peer, etag, asked_at, lives, is_valid, used_at, {_COLUMNS})
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""

_SAVE_CLAIM = claim_rows.save("TRUE")

_NOTHING = (b"", None, 0, 1, None, None, None)
"""The columns of an answer without a peer."""


class AnswerCache:
    """See the head of this file. Only `save_claims` raises errors."""

    def __init__(
        self, path: Path, url: str, *, most: int = MOST, timeout: float = 0.25, now: Callable[[], float] = time.time
    ) -> None:
        """`timeout`: seconds to wait for another program that holds the file. `now` gives Unix seconds."""
        self.path = path.absolute()
        self._url = url
        self._most = most
        self._now = now
        self._lock = threading.RLock()
        self._unwritten: OrderedDict[PublicKey, CachedAnswer] = OrderedDict()
        self._claims: OrderedDict[PublicKey, Claim] = OrderedDict()
        self._marks: dict[str, str] = {}
        self._trouble: StoreError | None = None
        self._reads_from = self._writes_from = float("-inf")
        self._is_ready = False
        self.pinned_version = 0
        """Grows with each answer that has a pinned peer."""
        self._reader = Link(self.path, read_only=True, timeout=timeout, kind=schema.CACHE)
        self._writer = Link(self.path, read_only=False, timeout=timeout, kind=schema.CACHE)
        self.mend()

    # --- answers ----------------------------------------------------------------------------------------------

    def get(self, key: PublicKey) -> CachedAnswer | None:
        """The service's last answer for a key; None if it is not known."""
        with self._lock:
            if (entry := self._unwritten.get(key)) is not None:
                return entry
            if time.monotonic() < self._reads_from:
                return None
            try:
                with self._reader as db:
                    row = db.execute(_GET, (key,)).fetchone()
            except StoreError as error:
                self._reads_from = self._failed(error)
                return None
            if row is None:
                return None
            is_peer, etag, asked_at, lives, is_valid, used_at, *columns = row
            try:
                peer = packing.row_peer(key, *columns) if is_peer else None
            except StoreError:  # a damaged row: the next answer replaces it
                return None
            entry = CachedAnswer(key, peer, etag, asked_at, lives, bool(is_valid))
            if abs(self._now() - used_at) > HOUR:
                self._write(lambda: self._put_rows([entry]))
            return entry

    def put(self, entry: CachedAnswer) -> None:
        """Remember an answer in place of an older one."""
        with self._lock:
            if entry.peer is not None and entry.peer.is_pinned:
                self.pinned_version += 1
            if self._write(lambda: self._put_rows([entry])):
                self._unwritten.pop(entry.key, None)
                return
            self._unwritten[entry.key] = entry
            self._unwritten.move_to_end(entry.key)
            if len(self._unwritten) > IN_MEMORY:
                self._unwritten.popitem(last=False)

    def pinned(self, after: PublicKey | None, limit: int) -> list[PublicKey]:
        """Keys of the pinned and enabled peers, in their order after `after`. Empty if the file cannot be read."""
        with self._lock:
            if time.monotonic() < self._reads_from:
                return []
            try:
                with self._reader as db:
                    return [PublicKey(key) for (key,) in db.execute(_PINNED, (after or b"", limit)).fetchall()]
            except StoreError as error:
                self._reads_from = self._failed(error)
                return []

    def invalidate(self, key: PublicKey) -> None:
        """Note that the peer has changed. Of the known answer only the ETag is used from now on."""
        with self._lock:
            if (entry := self.get(key)) is not None:
                self.put(replace(entry, is_valid=False))
            elif time.monotonic() < self._reads_from:  # the row may exist, and be readable later
                self.put(CachedAnswer(key, None, None, 0.0, 0.0, is_valid=False))

    # --- claims -----------------------------------------------------------------------------------------------

    def claim(self, key: PublicKey) -> Claim | None:
        """The claim of a peer, also of a peer that the service does not know; None if it has none."""
        with self._lock:
            known = self._claims.get(key)
            if time.monotonic() < self._reads_from:
                return known
            try:
                with self._reader as db:
                    row = db.execute(f"SELECT {claim_rows.COLUMNS} FROM claims WHERE public_key = ?", (key,)).fetchone()
                stored = None if row is None else packing.row_claim(key, *row)
            except StoreError as error:
                self._reads_from = self._failed(error)
                return known
            if stored is None:
                return known
            newest = stored if known is None else stored.over(known)
            if newest is not known:
                self._hold(newest)
            return newest

    def save_claims(self, claims: Sequence[Claim]) -> None:
        """Save claims in one transaction. A stored claim with a greater timestamp stays. Raises StoreError."""
        with self._lock:
            for claim in claims:
                self._hold(claim.over(self._claims.get(claim.public_key)))
            if not self._is_ready:
                raise self._trouble or StoreError(f"cache {self.path}: not ready")
            try:
                self._save(claims)
            except StoreError as error:
                self._writes_from = self._failed(error)
                raise self._trouble or error from error

    def _hold(self, claim: Claim) -> None:
        self._claims[claim.public_key] = claim
        self._claims.move_to_end(claim.public_key)
        if len(self._claims) > IN_MEMORY:
            self._claims.popitem(last=False)

    def _save(self, claims: Collection[Claim]) -> None:
        if not claims:
            return
        with self._writer as db:
            db.execute("BEGIN IMMEDIATE")
            db.executemany(_SAVE_CLAIM, map(packing.claim_row, claims))
            db.execute("COMMIT")

    # --- marks ------------------------------------------------------------------------------------------------

    def mark(self, what: str) -> str | None:
        """The text that was remembered under this name."""
        with self._lock:
            return self._marks.get(what)

    def remember(self, what: str, value: str) -> None:
        """Remember a text under a name, across restarts."""
        with self._lock:
            self._marks[what] = value
            self._write(lambda: self._put_marks({what: value}))

    # --- the file ---------------------------------------------------------------------------------------------

    def mend(self) -> None:
        """Open or make the file if it is not in use, and write what waits in memory. Call this about once a second.

        This may take seconds if another program holds the file. Other calls do not wait for that.
        """
        try:
            if not self._is_ready:
                schema.prepare(self.path, create=True, read_only=False, kind=schema.CACHE)
        except StoreError as error:
            with self._lock:
                self._writes_from = self._failed(error)
            return
        with self._lock:
            try:
                if not self._is_ready:
                    self._begin()
                if time.monotonic() < self._writes_from:
                    return
                while self._unwritten:
                    entries = list(self._unwritten.values())[:1000]
                    self._put_rows(entries)
                    for entry in entries:
                        del self._unwritten[entry.key]
            except StoreError as error:
                self._writes_from = self._failed(error)
            else:
                self._trouble = None

    def _begin(self) -> None:
        with self._writer as db:
            db.execute("BEGIN IMMEDIATE")
            marks = dict(db.execute("SELECT what, value FROM marks"))
            if marks.get("url") != self._url:
                db.execute("DELETE FROM answers")
                db.execute("DELETE FROM marks")
                marks = {"url": self._url}
            marks |= self._marks
            db.executemany("INSERT OR REPLACE INTO marks (what, value) VALUES (?, ?)", list(marks.items()))
            db.execute("COMMIT")
        self._marks = marks
        self._save(self._claims.values())
        self._is_ready = True
        self._reads_from = self._writes_from = float("-inf")

    def prune(self, keep: Collection[PublicKey]) -> int:
        """Delete the least recently used answers beyond the bound, but none of `keep`. Returns how many."""
        gone = 0
        with self._lock:
            try:
                with self._writer as db:
                    (rows,) = db.execute("SELECT count(*) FROM answers").fetchone()
                    if rows > self._most:
                        db.execute("BEGIN IMMEDIATE")
                        oldest = db.execute(
                            "SELECT public_key FROM answers ORDER BY used_at LIMIT ?", (rows - self._most + len(keep),)
                        ).fetchall()
                        leaving = [(key,) for (key,) in oldest if key not in keep][: rows - self._most]
                        db.executemany("DELETE FROM answers WHERE public_key = ?", leaving)
                        db.execute("COMMIT")
                        gone = len(leaving)
            except StoreError as error:
                self._writes_from = self._failed(error)
        return gone

    @property
    def trouble(self) -> StoreError | None:
        """The present error of the file; None if there is none."""
        return self._trouble

    def close(self) -> None:
        """Close the file. A second call does nothing."""
        if self._is_ready:
            self.mend()
        self._reader.close()
        self._writer.close()

    def _write(self, write: Callable[[], None]) -> bool:
        if not self._is_ready or time.monotonic() < self._writes_from:
            return False
        try:
            write()
        except StoreError as error:
            self._writes_from = self._failed(error)
            return False
        return True

    def _failed(self, error: StoreError) -> float:
        """Note the error. Returns the time (monotonic) until which the file is not used."""
        self._is_ready = False
        self._trouble = StoreError(
            f"store.path: answers and claims are kept in memory until it works again; it may be deleted, which loses "
            f"the claims in it: {error}"
        )
        return time.monotonic() + REST

    def _put_rows(self, entries: Sequence[CachedAnswer]) -> None:
        used_at = int(self._now())
        rows = [
            (e.key, e.peer is not None, e.etag, e.asked_at, e.lives, e.is_valid, used_at)
            + (_NOTHING if e.peer is None else packing.peer_row(e.peer)[1:])
            for e in entries
        ]
        with self._writer as db:
            db.execute("BEGIN IMMEDIATE")
            db.executemany(_PUT, rows)
            db.execute("COMMIT")

    def _put_marks(self, marks: dict[str, str]) -> None:
        with self._writer as db:
            db.execute("BEGIN IMMEDIATE")
            db.executemany("INSERT OR REPLACE INTO marks (what, value) VALUES (?, ?)", list(marks.items()))
            db.execute("COMMIT")

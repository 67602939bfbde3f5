"""A registry in memory, held to the real one by tests/contracts/store.py.

It overlaps addresses the slow, obvious way, so it is the oracle of the real check too. Tests make it fail with
`fail`, and slow or observable with `on_call`.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any

from wgjit.errors import StoreError
from wgjit.model import AllowedIP, Change, ChangeKind, Claim, Cover, Peer, PublicKey, Registration, Removed
from wgjit.stores import checks
from wgjit.stores.base import Fleet


class FakeRegistry:
    """Implements `wgjit.stores.base.Store`, with the verbs of `lab.registry.Signed`.

    `failure`: raised by every call while it is set (or by those in `failing`, names of methods, if that is not empty).
    `on_call`: called with the method's name first, on the caller's thread: block, count, or change the registry there.
    """

    fleet: Fleet | None = None
    """Tests set it for a gateway of a fleet."""

    def __init__(self, peers: Iterable[Peer] = (), *, is_local: bool = True) -> None:
        self.is_local = is_local
        self.failure: StoreError | None = None
        self.failing: frozenset[str] = frozenset()
        self.on_call: Callable[[str], None] = lambda method: None
        self.calls: list[str] = []
        self.closed = False
        self._lock = threading.RLock()
        self._peers: dict[PublicKey, Peer] = {}
        self._claims: dict[PublicKey, Claim] = {}
        self._removed: set[PublicKey] = set()
        self._identity = secrets.token_bytes(16)
        self._changes: list[Change] = []
        self._sequence = 0
        self._insert(peers)

    def fail(self, failure: StoreError | None, *methods: str) -> None:
        """Fail from now on, in all methods or in those named; None heals."""
        self.failure, self.failing = failure, frozenset(methods)

    def forget_changes(self) -> None:
        """Prune the change log, as the real one does with old entries."""
        self._changes.clear()

    def put_in_place(self, other: FakeRegistry) -> None:
        """Another registry's file is renamed over this one's."""
        with self._lock:
            self._peers, self._claims, self._removed = dict(other._peers), dict(other._claims), set(other._removed)
            self._changes, self._sequence, self._identity = list(other._changes), other._sequence, other._identity

    # --- Store ----------------------------------------------------------------------------------------------

    def lookup(self, key: PublicKey, *, for_knock: bool = True) -> Registration | None:
        self._enter("lookup")
        with self._lock:
            peer = self._peers.get(key)
            return None if peer is None else Registration(peer, self._claims.get(key))

    def save_claims(self, claims: Sequence[Claim]) -> None:
        self._enter("save_claims")
        with self._lock:
            for claim in claims:
                if claim.public_key in self._peers or claim.public_key in self._removed:
                    self._claims[claim.public_key] = claim.over(self._claims.get(claim.public_key))

    def former(self, key: PublicKey) -> Removed | None:
        self._enter("former")
        with self._lock:
            if key in self._peers or key not in self._removed:
                return None
            return Removed(key, self._claims.get(key))

    def identity(self) -> bytes:
        self._enter("identity")
        return self._identity

    def last_change(self) -> int:
        self._enter("last_change")
        return self._sequence

    def changes(self, after: int, limit: int = 1000) -> list[Change]:
        self._enter("changes")
        with self._lock:
            return [change for change in self._changes if change.sequence > after][:limit]

    def keep_fresh(self, concerned: Callable[[], Collection[PublicKey]]) -> None:
        pass

    def addresses_version(self) -> int:
        self._enter("addresses_version")
        return hash((self._identity, self._sequence, tuple(self._peers)))

    def cover(self, within: Collection[AllowedIP], limit: int) -> Cover | None:
        """Every registered prefix, whatever the limit; that of the real one is a matter of its own tests."""
        self._enter("cover")
        if not self.is_local:
            return None
        with self._lock:
            prefixes = [prefix for peer in self._peers.values() for prefix in peer.allowed_ips]
        inside = [p for p in prefixes if any(w != p and w.version == p.version and p.subnet_of(w) for w in within)]  # type: ignore[arg-type]
        return Cover(tuple(inside))

    def pinned(self, after: PublicKey | None = None, limit: int = 10_000) -> list[PublicKey]:
        self._enter("pinned")
        with self._lock:
            keys = (key for key, peer in self._peers.items() if peer.is_pinned and peer.enabled)
            return sorted(key for key in keys if after is None or key > after)[:limit]

    def pinned_version(self) -> int:
        self._enter("pinned_version")
        return hash((self._identity, self._sequence, tuple(self._peers)))

    def figures(self) -> dict[str, Any]:
        return {}

    def close(self) -> None:
        self.closed = True

    # --- Registry -------------------------------------------------------------------------------------------

    def add(self, peers: Iterable[Peer]) -> int:
        self._enter("add")
        return self._insert(peers)

    def _insert(self, peers: Iterable[Peer]) -> int:
        with self._lock:
            before = dict(self._peers)
            try:
                for peer in peers:
                    if present := self._peers.get(peer.public_key):
                        raise checks.key_exists(peer, present)
                    self._put(peer)
            except BaseException:
                self._peers = before
                raise
            return len(self._peers) - len(before)

    def replace(self, peer: Peer) -> None:
        self._enter("replace")
        with self._lock:
            if peer.public_key not in self._peers:
                raise checks.no_such_peer(str(peer.public_key))
            self._put(peer)
            self._log(ChangeKind.UPDATED, peer.public_key)

    def change(self, handle: str, how: Callable[[Peer], Peer]) -> Peer:
        self._enter("change")
        with self._lock:
            before = self._find(handle)
            after = checks.changed(before, how)
            if after != before:
                self._put(after)
                self._log(ChangeKind.UPDATED, after.public_key)
            return after

    def remove(self, key: PublicKey) -> None:
        self._enter("remove")
        with self._lock:
            if self._peers.pop(key, None) is None:
                raise checks.no_such_peer(str(key))
            self._removed.add(key)
            self._log(ChangeKind.REMOVED, key)

    def find(self, handle: str) -> Peer:
        self._enter("find")
        with self._lock:
            return self._find(handle)

    def every(self, after: PublicKey | None = None) -> Iterator[Peer]:
        self._enter("every")
        with self._lock:
            keys = sorted(key for key in self._peers if after is None or key > after)
        yield from (peer for key in keys if (peer := self._peers.get(key)) is not None)

    def count(self) -> int:
        self._enter("count")
        return len(self._peers)

    def reset_claim(self, key: PublicKey) -> bool:
        self._enter("reset_claim")
        with self._lock:
            self._removed.discard(key)
            if self._claims.pop(key, None) is None:
                return False
            if key in self._peers:
                self._log(ChangeKind.UPDATED, key)
            return True

    # --- inside ---------------------------------------------------------------------------------------------

    def _enter(self, method: str) -> None:
        self.calls.append(method)
        self.on_call(method)
        if self.closed:
            raise StoreError("the registry is closed")
        if self.failure is not None and (not self.failing or method in self.failing):
            raise self.failure

    def _find(self, handle: str) -> Peer:
        key = checks.parse_key(handle)
        for peer in self._peers.values():
            if peer.public_key == key or (key is None and peer.name == handle):
                return peer
        raise checks.no_such_peer(handle)

    def _put(self, peer: Peer) -> None:
        checks.check_name(peer.name)
        others = [other for other in self._peers.values() if other.public_key != peer.public_key]
        for other in others:
            if peer.name is not None and peer.name == other.name:
                raise checks.name_exists(peer, other)
        taken = [(owned, other) for other in others for owned in other.allowed_ips]
        for prefix in peer.allowed_ips:
            for owned, other in taken:
                if prefix.version == owned.version and prefix.overlaps(owned):
                    raise checks.conflict(peer, prefix, other, owned)
            taken.append((prefix, peer))
        self._peers[peer.public_key] = peer

    def _log(self, kind: ChangeKind, key: PublicKey) -> None:
        self._sequence += 1
        self._changes.append(Change(self._sequence, kind, key))

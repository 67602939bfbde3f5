"""Is this proof newer than the last one? The replay protection that WireGuard forgets when a peer is removed.

The greatest proven timestamp of a peer is in the store. What is newer than the store knows is kept here until it
has been saved; a resident's is kept for as long as the peer stays.
"""

from __future__ import annotations

from wgjit.core.vocabulary import Now
from wgjit.model import Claim, PublicKey, Tai64n
from wgjit.refusal import Refusal


class Claims:
    """The greatest proven timestamps of the peers that this gateway deals with right now."""

    def __init__(self, max_skew: float) -> None:
        """`max_skew`: how many seconds a client's clock may be ahead of ours.

        A stamp from the future, once accepted, would lock the true client out until that time (CVE-2021-46873).
        """
        self._max_skew = max_skew
        self._greatest: dict[PublicKey, Tai64n] = {}
        self._unsaved: set[PublicKey] = set()

    def judge(self, key: PublicKey, timestamp: Tai64n, stored: Claim | None, now: Now) -> Refusal | None:
        """May this proven timestamp act? STALE if one at least as great was accepted, FUTURE beyond the skew."""
        known = self._greatest.get(key)
        if known is not None and timestamp <= known:
            return Refusal.STALE
        if stored is not None and timestamp <= stored.timestamp:
            return Refusal.STALE
        if timestamp.unix > now.wall + self._max_skew:
            return Refusal.FUTURE
        return None

    def accept(self, key: PublicKey, timestamp: Tai64n) -> None:
        """Remember a timestamp that is being acted upon, unless a greater one was."""
        if timestamp > self._greatest.get(key, b""):
            self._greatest[key] = timestamp
            self._unsaved.add(key)

    def learn(self, claim: Claim) -> None:
        """The store has this claim of a resident: what is not newer is old."""
        if claim.timestamp > self._greatest.get(claim.public_key, b""):
            self._greatest[claim.public_key] = claim.timestamp

    def is_unsaved(self, key: PublicKey) -> bool:
        """Whether only this process knows how new the peer's last proof was."""
        return key in self._unsaved

    def saved(self, claim: Claim, is_resident: bool) -> None:
        """The store has this claim; what is newer here still waits."""
        if self._greatest.get(claim.public_key) == claim.timestamp:
            self._unsaved.discard(claim.public_key)
            if not is_resident:
                del self._greatest[claim.public_key]

    def was_reset(self, key: PublicKey, stored: Claim | None) -> bool:
        """True if the store has no claim where it was given one: an operator lets the client's clock begin anew."""
        if stored is not None or key not in self._greatest or key in self._unsaved:
            return False
        del self._greatest[key]
        return True

    def left(self, key: PublicKey) -> None:
        """The peer is resident no more: the store's copy is enough, once it has one."""
        if key not in self._unsaved:
            self._greatest.pop(key, None)

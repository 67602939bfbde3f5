"""Tells whether a proof is newer than the last one. WireGuard forgets this when a peer is removed.

The greatest proven timestamp of a peer is in the store. A newer timestamp is kept here until it is saved; a resident's
timestamp is kept while the peer is resident.

    not greater than a proven timestamp   ── STALE
    too far ahead of the gateway's clock  ── FUTURE
    seems old (`freshness`)               ── STALE, unless a second knock is in step with the gateway's clock
    else new

The third check is for handshakes that no gateway saw: no gateway ran, or the packet passed unseen. Residents are not
checked for it, because the kernel has seen their handshakes. Their claims are only updated.
"""

from __future__ import annotations

from dataclasses import replace

from wgjit.core.knock.freshness import Freshness
from wgjit.core.knock.knocks import Knock
from wgjit.core.vocabulary.moment import Now
from wgjit.model import NEVER_PROVEN, Claim, Endpoint, PublicKey, Tai64n
from wgjit.refusal import Refusal

MARGIN = 1.0
"""Seconds that are added to an inferred timestamp. The client's real timestamp may be greater than the times of arrival
suggest: the delays of packets differ, and WireGuard rounds timestamps down to 17 ms (noise.c, `tai64n_now`). The
client's next timestamp is 5 s later (REKEY_TIMEOUT)."""

SAME = 0.25
"""Seconds between a proof and the end of a handshake within which the handshake most likely belongs to the proof."""


class Claims:
    """The greatest timestamps of the peers that this gateway deals with now."""

    def __init__(self, gateway: str, max_skew: float) -> None:
        """`gateway`: this gateway's name in claims. `max_skew`: seconds that a client's clock may be ahead of ours.

        A timestamp from the future, once accepted, would lock the true client out until that time (CVE-2021-46873).
        """
        self._gateway = gateway
        self._max_skew = max_skew
        self._newest: dict[PublicKey, Claim] = {}
        self._unsaved: set[PublicKey] = set()
        self._freshness = Freshness()
        self._ahead = 0.0
        """Seconds by which the fleet's clock is ahead of ours; 0 without a fleet."""

    def fleet_clock(self, offset: float) -> None:
        """The fleet's common clock is ahead of ours by `offset` seconds. All times in claims are by that clock."""
        self._ahead = offset
        self._freshness.fleet_clock(offset)

    def watching(self, now: Now) -> None:
        """The gateway sees knocks from now on. Only the first call counts."""
        self._freshness.watching(now)

    # --- a proven knock ---------------------------------------------------------------------------------------

    def judge(self, knock: Knock, stored: Claim | None, now: Now) -> Refusal | None:
        """None if this proven knock may install its peer; STALE if it is or seems old; FUTURE if beyond `max_skew`."""
        known = self._known(knock.key, stored)
        if refusal := self._old_or_future(knock, known, now):
            return refusal
        return None if self._freshness.accepts(knock, known) else Refusal.STALE

    def follow(self, knock: Knock, stored: Claim | None, now: Now) -> Refusal | None:
        """None if this proven knock may update its peer's claim, without an install; else STALE or FUTURE."""
        return self._old_or_future(knock, self._known(knock.key, stored), now)

    def _old_or_future(self, knock: Knock, known: Claim | None, now: Now) -> Refusal | None:
        if known is not None and knock.timestamp <= known.greatest_proven:
            return Refusal.STALE
        return Refusal.FUTURE if knock.timestamp.unix > now.wall + self._ahead + self._max_skew else None

    def _known(self, key: PublicKey, stored: Claim | None) -> Claim | None:
        newest = self._newest.get(key)
        return stored if newest is None else newest.over(stored)

    def made(self, knock: Knock) -> Claim:
        """The claim of a knock that was judged to be new."""
        record = knock.record
        return Claim(knock.key, knock.timestamp, self._gateway, knock.source, (record.time or 0.0) + self._ahead)

    def followed(self, knock: Knock, stored: Claim | None) -> Claim:
        """The claim of a knock that is newer than all that was proven, but may be a recording.

        So the claim does not say what the client's clock shows now, and it keeps what was inferred.
        """
        known = self._known(knock.key, stored)
        claim = replace(self.made(knock), proven_at=self._freshness.made_at(knock, known))
        if known is not None and claim.timestamp <= known.timestamp:
            return replace(known, proven=claim.timestamp, endpoint=claim.endpoint)
        return claim

    def accept(self, claim: Claim) -> Claim:
        """Remember a claim that the gateway acts on; return the claim that the store should have."""
        key, known = claim.public_key, self._newest.get(claim.public_key)
        newest = claim.over(known)
        if newest != known:
            self._newest[key] = newest
            self._unsaved.add(key)
        return newest

    # --- a device's last handshake ----------------------------------------------------------------------------

    def infer(
        self, key: PublicKey, stored: Claim | None, handshake: float, endpoint: Endpoint, now: Now
    ) -> Claim | None:
        """Infer a claim from a handshake at `handshake` (Unix seconds by our clock) that perhaps no gateway saw.

        The client's clock then showed its time at the last proof plus the time since; if no proof is known, it is
        assumed to have shown the gateway's time. Returns the new claim, None if there is none.
        """
        known = self._known(key, stored)
        at = min(handshake, now.wall) + self._ahead + MARGIN
        if known is None:
            return self.accept(Claim(key, Tai64n.from_unix(at), self._gateway, endpoint, at, NEVER_PROVEN))
        if at - known.proven_at <= MARGIN + SAME:
            return None
        timestamp = known.timestamp.later(at - known.proven_at)
        return self.accept(Claim(key, timestamp, self._gateway, endpoint, at, known.greatest_proven))

    # --- the store --------------------------------------------------------------------------------------------

    def newest(self, key: PublicKey) -> Claim | None:
        """The greatest claim of a resident that this gateway knows of."""
        return self._newest.get(key)

    def learn(self, claim: Claim) -> None:
        """The store has this claim of a resident. A timestamp that is not newer is old."""
        key, known = claim.public_key, self._newest.get(claim.public_key)
        newest = claim.over(known)
        if newest != known:
            self._newest[key] = newest

    def lacked(self, key: PublicKey, stored: Claim | None) -> Claim | None:
        """Another store has replaced the old one. Return the claim of a resident that it lacks, None if it lacks none.

        `stored` is the new store's claim of the resident.
        """
        newest = self._newest.get(key)
        if newest is None or newest == stored:
            return None
        self._unsaved.add(key)
        return newest

    def is_unsaved(self, key: PublicKey) -> bool:
        """Whether the peer's last proof is not in the store yet."""
        return key in self._unsaved

    def saved(self, claim: Claim, is_resident: bool) -> None:
        """The store has saved this claim. A newer claim still waits."""
        if self._newest.get(claim.public_key) == claim:
            self._unsaved.discard(claim.public_key)
            if not is_resident:
                del self._newest[claim.public_key]

    def was_reset(self, key: PublicKey, stored: Claim | None) -> bool:
        """True if the store had a claim and has none now: an operator has reset it (`wgjit claim reset`)."""
        if stored is not None or key not in self._newest or key in self._unsaved:
            return False
        del self._newest[key]
        return True

    def left(self, key: PublicKey) -> None:
        """The peer has left the device. The store's copy is enough, once the store has one."""
        if key not in self._unsaved:
            self._newest.pop(key, None)

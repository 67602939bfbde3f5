"""Is this proof newer than the last one? The replay protection that WireGuard forgets when a peer is removed.

The greatest proven timestamp of a peer is in the store. What is newer than the store knows is kept here until it
has been saved; a resident's is kept for as long as the peer stays.

    not greater than one that was proven ── STALE
    too far ahead of our clock           ── FUTURE
    old by all that is known, `freshness` ── STALE, unless a second knock is in step with our clock
    else new

The last is for what no gateway saw: a handshake made while none ran, or one that passed unseen. Residents are not asked
it, for the kernel has seen their handshakes: their timestamps are only followed.
"""

from __future__ import annotations

from dataclasses import replace

from wgjit.core.knock.freshness import Freshness
from wgjit.core.knock.knocks import Knock
from wgjit.core.vocabulary import Now
from wgjit.model import NEVER_PROVEN, Claim, Endpoint, PublicKey, Tai64n
from wgjit.refusal import Refusal

MARGIN = 1.0
"""Seconds that an inferred timestamp is put later. The client's last one may be greater than what the times of arrival
let expect, by what the delays of packets differ and by 17 ms, since WireGuard rounds its stamps down (noise.c,
`tai64n_now`); its next one is 5 s later (REKEY_TIMEOUT)."""

SAME = 0.25
"""Seconds from a proof to the end of a handshake that is most likely its own."""


class Claims:
    """The greatest timestamps of the peers that this gateway deals with right now."""

    def __init__(self, gateway: str, max_skew: float) -> None:
        """`gateway`: our name in claims. `max_skew`: how many seconds a client's clock may be ahead of ours.

        A stamp from the future, once accepted, would lock the true client out until that time (CVE-2021-46873).
        """
        self._gateway = gateway
        self._max_skew = max_skew
        self._newest: dict[PublicKey, Claim] = {}
        self._unsaved: set[PublicKey] = set()
        self._freshness = Freshness()

    def watching(self, now: Now) -> None:
        """Knocks are seen from now on; only the first call counts."""
        self._freshness.watching(now)

    # --- a proven knock ---------------------------------------------------------------------------------------

    def judge(self, knock: Knock, stored: Claim | None, now: Now) -> Refusal | None:
        """May this proven knock act? STALE if it is, or seems to be, an old one; FUTURE beyond the skew."""
        known = self._known(knock.key, stored)
        if refusal := self._old_or_future(knock, known, now):
            return refusal
        return None if self._freshness.accepts(knock, known) else Refusal.STALE

    def follow(self, knock: Knock, stored: Claim | None, now: Now) -> Refusal | None:
        """May the claim of a peer that is not installed for it follow this proven knock? STALE or FUTURE if not."""
        return self._old_or_future(knock, self._known(knock.key, stored), now)

    def _old_or_future(self, knock: Knock, known: Claim | None, now: Now) -> Refusal | None:
        if known is not None and knock.timestamp <= known.greatest_proven:
            return Refusal.STALE
        return Refusal.FUTURE if knock.timestamp.unix > now.wall + self._max_skew else None

    def _known(self, key: PublicKey, stored: Claim | None) -> Claim | None:
        newest = self._newest.get(key)
        return stored if newest is None else newest.over(stored)

    def made(self, knock: Knock) -> Claim:
        """What a knock that was judged to be new leaves in the store."""
        record = knock.record
        return Claim(knock.key, knock.timestamp, self._gateway, knock.source, record.time or 0.0)

    def followed(self, knock: Knock, stored: Claim | None) -> Claim:
        """What a knock leaves in the store of which it is not known whether it is new, only that it is no older.

        It may be a recording: so it does not tell what the client's clock says now, and takes nothing inferred back.
        """
        known = self._known(knock.key, stored)
        claim = replace(self.made(knock), proven_at=self._freshness.made_at(knock, known))
        if known is not None and claim.timestamp <= known.timestamp:
            return replace(known, proven=claim.timestamp, endpoint=claim.endpoint)
        return claim

    def accept(self, claim: Claim) -> Claim:
        """Remember what is being acted upon; gives what the store is to have of the peer."""
        key, known = claim.public_key, self._newest.get(claim.public_key)
        newest = claim.over(known)
        if newest != known:
            self._newest[key] = newest
            self._unsaved.add(key)
        return newest

    # --- what a device tells ----------------------------------------------------------------------------------

    def infer(
        self, key: PublicKey, stored: Claim | None, handshake: float, endpoint: Endpoint, now: Now
    ) -> Claim | None:
        """A handshake that perhaps no gateway saw was completed at `handshake`, Unix seconds by our clock.

        What its client's clock said then is what it said at the last proof plus the time since; if none is known, what
        ours said. Gives the claim that follows, None if none does.
        """
        known = self._known(key, stored)
        at = min(handshake, now.wall) + MARGIN
        if known is None:
            return self.accept(Claim(key, Tai64n.from_unix(at), self._gateway, endpoint, at, NEVER_PROVEN))
        if at - known.proven_at <= MARGIN + SAME:
            return None
        timestamp = known.timestamp.later(at - known.proven_at)
        return self.accept(Claim(key, timestamp, self._gateway, endpoint, at, known.greatest_proven))

    # --- the store --------------------------------------------------------------------------------------------

    def learn(self, claim: Claim) -> None:
        """The store has this claim of a resident: what is not newer is old."""
        key, known = claim.public_key, self._newest.get(claim.public_key)
        newest = claim.over(known)
        if newest != known:
            self._newest[key] = newest

    def lacked(self, key: PublicKey, stored: Claim | None) -> Claim | None:
        """Another store has come, with this claim of a resident or none: what it is to have; None if nothing else."""
        newest = self._newest.get(key)
        if newest is None or newest == stored:
            return None
        self._unsaved.add(key)
        return newest

    def is_unsaved(self, key: PublicKey) -> bool:
        """Whether only this process knows how new the peer's last proof was."""
        return key in self._unsaved

    def saved(self, claim: Claim, is_resident: bool) -> None:
        """The store has this claim; what is newer here still waits."""
        if self._newest.get(claim.public_key) == claim:
            self._unsaved.discard(claim.public_key)
            if not is_resident:
                del self._newest[claim.public_key]

    def was_reset(self, key: PublicKey, stored: Claim | None) -> bool:
        """True if the store has no claim where it was given one: an operator lets the client's clock begin anew."""
        if stored is not None or key not in self._newest or key in self._unsaved:
            return False
        del self._newest[key]
        return True

    def left(self, key: PublicKey) -> None:
        """The peer is resident no more: the store's copy is enough, once it has one."""
        if key not in self._unsaved:
            self._newest.pop(key, None)

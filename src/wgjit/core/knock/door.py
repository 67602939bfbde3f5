"""The door in front of all arithmetic: the memories of `admission` and the `budget`, asked in the order of their cost.

    mac1 fits ── seen a moment ago? ── source within its rate? ── budget for one X25519? ── es ... budget? ── ss

What comes of a knock is told to the door, so that next time it knows its source.
"""

from __future__ import annotations

from wgjit.core.knock.admission import RecentInitiations, Reputations, SourceLimits
from wgjit.core.knock.budget import Budget
from wgjit.refusal import Refusal

BURST = 0.5
"""Seconds of that rate which may come at once."""


class Door:
    """Who may make us work, for one interface. Constant time; memory bounded at about 40 MiB."""

    def __init__(self, exchanges: float = 8000.0, source_rate: float = 100.0) -> None:
        """`exchanges`: X25519 calls per second. `source_rate`: initiations per second of one source, twice at once."""
        self._recent = RecentInitiations()
        self._sources = SourceLimits(source_rate, 2 * source_rate)
        self._reputations = Reputations()
        self._budget = Budget(exchanges, exchanges * BURST)

    def admit(self, mac1: bytes, address: bytes, now: float) -> Refusal | None:
        """May the initiation with this good mac1, from this packed address, be opened (`es`)?

        DUPLICATE, RATE_LIMITED or OVERLOADED if not. If it may, one X25519 is paid for.
        """
        if self._recent.seen_before(mac1, now):
            return Refusal.DUPLICATE
        if not self._sources.admit(address, now):
            return Refusal.RATE_LIMITED
        return self.exchange(address, now)

    def exchange(self, address: bytes, now: float) -> Refusal | None:
        """Pay for one more X25519 for a knock from this address, or OVERLOADED."""
        if self._budget.take(now, 1, self._reputations.of(address, now)):
            return None
        return Refusal.OVERLOADED

    def proven(self, address: bytes, now: float) -> None:
        """A registered peer was proven from this address, with a timestamp that is new."""
        self._reputations.proven(address, now)

    def refused(self, address: bytes, refusal: Refusal, now: float) -> None:
        """A knock from this address was refused, for whatever reason."""
        self._reputations.refused(address, refusal, now)

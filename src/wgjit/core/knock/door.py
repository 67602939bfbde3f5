"""The checks before any X25519: the memories of `admission` and the `budget`, the cheapest first.

    mac1 fits ── seen a moment ago? ── source within its rate? ── budget for one X25519? ── es ... budget? ── ss

The gateway tells the door the outcome of each knock, and the door keeps the source's reputation.
"""

from __future__ import annotations

from wgjit.core.knock.admission import RecentInitiations, Reputations, SourceLimits
from wgjit.core.knock.budget import Budget
from wgjit.refusal import Refusal

BURST = 0.5
"""The burst of X25519 calls, as seconds of their rate."""


class Door:
    """The limits of work for one interface. Constant time; memory bounded at about 40 MiB."""

    def __init__(self, exchanges: float = 8000.0, source_rate: float = 100.0) -> None:
        """`exchanges`: X25519 calls per second. `source_rate`: initiations per second of a source, twice that at
        once."""
        self._recent = RecentInitiations()
        self._sources = SourceLimits(source_rate, 2 * source_rate)
        self._reputations = Reputations()
        self._budget = Budget(exchanges, exchanges * BURST)

    def admit(self, mac1: bytes, address: bytes, now: float) -> Refusal | None:
        """None if the initiation with this good mac1, from this packed address, may be opened (`es`).

        Then one X25519 is paid for. Else DUPLICATE, RATE_LIMITED or OVERLOADED.
        """
        if self._recent.seen_before(mac1, now):
            return Refusal.DUPLICATE
        if not self._sources.admit(address, now):
            return Refusal.RATE_LIMITED
        return self.exchange(address, now)

    def exchange(self, address: bytes, now: float) -> Refusal | None:
        """Pay for one more X25519 for a knock from this address; OVERLOADED if the budget does not cover it."""
        if self._budget.take(now, 1, self._reputations.of(address, now)):
            return None
        return Refusal.OVERLOADED

    def proven(self, address: bytes, now: float) -> None:
        """A registered peer was proven from this address, with a timestamp that is new."""
        self._reputations.proven(address, now)

    def refused(self, address: bytes, refusal: Refusal, now: float) -> None:
        """A knock from this address was refused, for any reason."""
        self._reputations.refused(address, refusal, now)

"""How much arithmetic strangers may cause: X25519 calls per second, shared out by standing.

A flood of initiations with a good mac1 costs its sender a hash each and us a Diffie-Hellman each. Without a limit it
takes all the time that this process has, and knocks of clients stand behind it in the kernel's queue. A packet that the
budget does not cover costs a few microseconds, so the queue moves on, and whoever is in it is seen.

Each standing has a bucket of its own, filled with its share of the rate and holding so much of the burst. What a full
bucket cannot hold goes to the others, best first. So:

- all of the rate is used as long as anybody asks for it;
- a standing that asks for no more than its share gets it, whatever the others do: no flood, not even one of
  sources with a good name, starves a newcomer, and none of newcomers starves those with a good name;
- over any time, no more is granted than burst + rate x time.
"""

from __future__ import annotations

from collections.abc import Sequence

from wgjit.core.admission import Standing
from wgjit.errors import InvalidValue

SHARES = (0.5, 0.3, 0.2)
"""Of the rate, for GOOD, NEW and BAD. A newcomer whose address has got a bad name lives on the last."""


class Budget:
    """Three token buckets; a token is one X25519. Constant time and memory."""

    def __init__(self, rate: float, burst: float, shares: Sequence[float] = SHARES) -> None:
        """`rate` X25519 calls per second, `burst` at once; `shares` by standing, together 1. Raises InvalidValue."""
        if len(shares) != len(Standing) or min(shares) < 0 or abs(sum(shares) - 1) > 1e-9:
            raise InvalidValue(f"budget: shares {tuple(shares)}: give one for each standing, together 1")
        if rate <= 0 or burst <= 0:
            raise InvalidValue(f"budget: rate {rate} and burst {burst} must be above 0")
        self._rates = [share * rate for share in shares]
        self._most = [share * burst for share in shares]
        self._tokens = list(self._most)
        self._since: float | None = None

    def take(self, now: float, cost: float, standing: Standing) -> bool:
        """Spend `cost` tokens of this standing; False, and none spent, if it has not as many."""
        self._fill(now)
        if self._tokens[standing] < cost:
            return False
        self._tokens[standing] -= cost
        return True

    def _fill(self, now: float) -> None:
        if self._since is None:
            self._since = now
        elapsed, self._since = max(0.0, now - self._since), max(now, self._since)
        if not elapsed:
            return
        tokens, spare = self._tokens, 0.0
        for standing, most in enumerate(self._most):
            filled = tokens[standing] + elapsed * self._rates[standing]
            tokens[standing] = min(filled, most)
            spare += max(0.0, filled - most)
        for standing, most in enumerate(self._most):
            if spare <= 0.0:
                break
            given = min(spare, most - tokens[standing])
            tokens[standing] += given
            spare -= given

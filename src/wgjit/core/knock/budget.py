"""How much arithmetic strangers may cause: X25519 calls per second, shared out by reputation.

A flood of initiations with a good mac1 costs its sender a hash each and us a Diffie-Hellman each. Without a limit it
takes all the time that this process has, and knocks of clients stand behind it in the kernel's queue. A packet that the
budget does not cover costs a few microseconds, so the queue moves on, and whoever is in it is seen.

Each reputation has a bucket of its own, filled with its share of the rate and holding so much of the burst. What the
full bucket of GOOD or NEW cannot hold goes to the other of the two. BAD never gets more than its share, even if nobody
else asks: each proof saved on a source that was refused a moment ago is time in which the queue moves. So:

- a reputation that asks for no more than its share gets it, whatever the others do: no flood, not even one of
  sources with a good name, starves a newcomer, and none of newcomers starves those with a good name;
- GOOD and NEW together use all that BAD does not own;
- over any time, no more is granted than burst + rate x time.

The rate is best set near what one CPU can do. Far below it, a flood of sources that never come twice, all of them NEW,
would find the budget spent when the kernel's full queue, which drops for nothing and blindly, would have served more.
"""

from __future__ import annotations

from collections.abc import Sequence

from wgjit.core.knock.admission import Reputation
from wgjit.errors import InvalidValue

SHARES = (0.5, 0.3, 0.2)
"""Of the rate, for GOOD, NEW and BAD. A newcomer whose address has got a bad name lives on the last."""


GRAIN = 0.001
"""Seconds that have to pass before the buckets are filled on: in a flood, once for some twenty packets."""


class Budget:
    """Three token buckets; a token is one X25519. Constant time and memory."""

    def __init__(self, rate: float, burst: float, shares: Sequence[float] = SHARES) -> None:
        """`rate` X25519 calls per second, `burst` at once; `shares` by reputation, together 1. Raises InvalidValue."""
        if len(shares) != len(Reputation) or min(shares) < 0 or abs(sum(shares) - 1) > 1e-9:
            raise InvalidValue(f"budget: shares {tuple(shares)}: give one for each reputation, together 1")
        if rate <= 0 or burst <= 0:
            raise InvalidValue(f"budget: rate {rate} and burst {burst} must be above 0")
        self._rates = [share * rate for share in shares]
        self._most = [share * burst for share in shares]
        self._tokens = list(self._most)
        self._since: float | None = None

    def take(self, now: float, cost: float, reputation: Reputation) -> bool:
        """Spend `cost` tokens of this reputation; False, and none spent, if it has not as many."""
        self._fill(now)
        if self._tokens[reputation] < cost:
            return False
        self._tokens[reputation] -= cost
        return True

    def _fill(self, now: float) -> None:
        if self._since is None:
            self._since = now
        elapsed = now - self._since
        if elapsed < GRAIN:
            return
        self._since = now
        tokens, most = self._tokens, self._most
        filled = [have + elapsed * rate for have, rate in zip(tokens, self._rates, strict=True)]
        spare_good, spare_new, _ = (max(0.0, have - limit) for have, limit in zip(filled, most, strict=True))
        filled[Reputation.GOOD] += spare_new
        filled[Reputation.NEW] += spare_good
        self._tokens = [min(have, limit) for have, limit in zip(filled, most, strict=True)]

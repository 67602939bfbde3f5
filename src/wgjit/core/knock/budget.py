"""A limit for the X25519 calls per second that strangers may cause, shared out by reputation.

In a flood of initiations with a good mac1, each packet costs its sender a hash and the gateway a Diffie-Hellman.
Without a limit the flood takes all the time of this process, and the clients' knocks wait behind it in the kernel's
queue. A packet that the budget does not cover costs a few microseconds only, so the queue moves on and reaches the
clients.

Each reputation has its own bucket, with its share of the rate and of the burst. If the bucket of GOOD or of NEW is
full, what it cannot hold goes to the other of these two. BAD never gets more than its share, even if nobody else asks:
each proof that is saved on a source that was just refused is time in which the queue moves. So:

- A reputation that asks for no more than its share gets it, whatever the others do. No flood starves a new source, not
  even a flood of good sources, and no flood of new sources starves the good ones.
- GOOD and NEW together can use all that does not belong to BAD.
- Over any time, no more is granted than burst + rate x time.

The best rate is near what one CPU can do. If the rate is far lower, a flood of sources that never come twice (all NEW)
spends the budget, and the gateway serves fewer clients than if the kernel's full queue dropped packets at random.
"""

from __future__ import annotations

from collections.abc import Sequence

from wgjit.core.knock.admission import Reputation
from wgjit.errors import InvalidValue

SHARES = (0.5, 0.3, 0.2)
"""Shares of the rate for GOOD, NEW and BAD. A new client at an address with a bad reputation has only the last."""


GRAIN = 0.001
"""Least seconds between two fillings of the buckets: in a flood, one filling for some twenty packets."""


class Budget:
    """Three token buckets; a token is one X25519. Constant time and memory."""

    def __init__(self, rate: float, burst: float, shares: Sequence[float] = SHARES) -> None:
        """`rate`: X25519 calls per second. `burst`: calls at once. `shares`: by reputation, sum 1. Raises
        InvalidValue."""
        if len(shares) != len(Reputation) or min(shares) < 0 or abs(sum(shares) - 1) > 1e-9:
            raise InvalidValue(f"budget: shares {tuple(shares)}: give one for each reputation, together 1")
        if rate <= 0 or burst <= 0:
            raise InvalidValue(f"budget: rate {rate} and burst {burst} must be above 0")
        self._rates = [share * rate for share in shares]
        self._most = [share * burst for share in shares]
        self._tokens = list(self._most)
        self._since: float | None = None

    def take(self, now: float, cost: float, reputation: Reputation) -> bool:
        """Spend `cost` tokens of this reputation. False, and no token is spent, if it has fewer."""
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

"""Whether a client that another gateway of the fleet serves is taken over for its knock.

    this gateway drains        ── DRAINING, unless the client has knocked here for `PATIENCE`
    it has just come back      ── RETURNING beyond `RATE` takeovers a second
    else                       ── taken over

Only a client of another gateway that lives and does not drain is refused: any other client would be served by nobody.
If it is not known who lives, since the registry of record is away, nobody is refused. Constant time; memory bounded.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from wgjit.core.vocabulary.moment import Now
from wgjit.model import Holding, OtherGateway, PublicKey
from wgjit.refusal import Refusal

PATIENCE = 15.0
"""Seconds from a client's first knock at a draining gateway after which it is served. By then it has knocked four
times, and nothing has led it elsewhere: it evidently reaches no other gateway."""

FORGOTTEN = 120.0
"""Seconds from a client's last knock at a draining gateway after which its first knock is forgotten. A client gives up
after 90 s (REKEY_ATTEMPT_TIME), and begins anew with its next packet."""

RETURN = 60.0
"""Seconds after the end of a drain during which takeovers are paced."""

RATE, BURST = 500.0, 500.0
"""Takeovers a second after the end of a drain, and how many may come at once."""

REMEMBERED = 65536
"""Clients whose first knock is remembered. The one that knocked longest ago is forgotten first."""


class Takeovers:
    """The state of one gateway: it serves, drains, or has just come back."""

    def __init__(self) -> None:
        self.is_draining = False
        self._serving: frozenset[str] = frozenset()
        """The other gateways that live and do not drain."""
        self._knocked: OrderedDict[PublicKey, tuple[float, float]] = OrderedDict()
        """When clients of other gateways knocked here first and last, while this gateway drains. Monotonic seconds."""
        self._returned = float("-inf")
        self._tokens, self._since = 0.0, 0.0

    @property
    def serving(self) -> int:
        """Number of other gateways that live and do not drain, as far as is known."""
        return len(self._serving)

    def drain(self) -> None:
        """Take over no more clients."""
        self.is_draining = True

    def undrain(self, now: Now) -> None:
        """Take clients over again, at first not all at once."""
        if self.is_draining:
            self.is_draining = False
            self._knocked.clear()
            self._returned = self._since = now.monotonic
            self._tokens = BURST

    def others(self, gateways: Iterable[OtherGateway]) -> None:
        """These are the other gateways of the fleet."""
        self._serving = frozenset(other.name for other in gateways if other.lives and not other.draining)

    def judge(self, key: PublicKey, holding: Holding | None, now: Now) -> Refusal | None:
        """None if the peer of this proven knock may be installed. Call this once for a knock.

        `holding`: who holds the peer, by its registration. It may be this gateway.
        """
        if holding is None or holding.until is not None or holding.gateway not in self._serving:
            return None
        if self.is_draining:
            return Refusal.DRAINING if self._may_find_another(key, now.monotonic) else None
        return None if self._may_take(now.monotonic) else Refusal.RETURNING

    def _may_find_another(self, key: PublicKey, now: float) -> bool:
        first, last = self._knocked.pop(key, (now, now))
        if now - last > FORGOTTEN:
            first = now
        self._knocked[key] = first, now
        if len(self._knocked) > REMEMBERED:
            self._knocked.popitem(last=False)
        return now - first < PATIENCE

    def _may_take(self, now: float) -> bool:
        if now - self._returned >= RETURN:
            return True
        self._tokens = min(BURST, self._tokens + (now - self._since) * RATE)
        self._since = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

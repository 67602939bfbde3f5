"""How often a remote registry is asked: a token bucket, half of which is kept for knocks. Pure.

A service that answers 429 allows less than was configured. The rate is then halved, and grows back within half an hour.
It grows slowly because knocks wait a second or more each time that it reaches the service's limit.
"""

from __future__ import annotations

from wgjit.stores.remote.breaker import LONGEST

LEAST = 1.0
"""Least rate after a 429, requests a second."""

RECOVERY = 1800.0
"""Seconds in which the rate grows from zero to the configured rate."""

AT_ONCE = 1.0
"""Seconds within which several 429 count as one: they answer requests from before the first 429 came."""


REQUESTS = 200.0
"""Requests a second at most, and as many at once. Half of them are kept for knocks."""


class RequestBudget:
    """Allows `rate` requests a second, and as many at once, but two at least.

    Requests for what is no knock get half of the rate, and leave half of the bucket. Times are monotonic seconds.
    """

    def __init__(self, rate: float) -> None:
        self._configured = self._rate = rate
        self._tokens = self._most
        self._spare = self._most / 2
        self._since = self._not_before = self._slowed_at = float("-inf")

    @property
    def rate(self) -> float:
        """Requests a second at present."""
        return self._rate

    @property
    def _most(self) -> float:
        return max(self._rate, 2.0)

    def take(self, now: float, *, for_knock: bool) -> bool:
        """Take one request from the budget; False if none is left."""
        self._fill(now)
        if now < self._not_before or self._tokens < (1.0 if for_knock else 1.0 + self._most / 2):
            return False
        if not for_knock:
            if self._spare < 1.0:
                return False
            self._spare -= 1.0
        self._tokens -= 1.0
        return True

    def slow_down(self, now: float, peace: float) -> bool:
        """Note that the service wants fewer requests, and none for `peace` seconds. True if the rate is lowered."""
        self._fill(now)
        self._not_before = max(self._not_before, now + min(peace, LONGEST))
        if now - self._slowed_at < AT_ONCE:
            return False
        self._slowed_at = now
        self._rate = max(min(LEAST, self._configured), self._rate / 2)
        self._tokens = self._spare = 0.0
        return True

    def _fill(self, now: float) -> None:
        passed = min(max(0.0, now - self._since), RECOVERY)
        self._since = now
        self._rate = min(self._configured, self._rate + passed * self._configured / RECOVERY)
        self._tokens = min(self._most, self._tokens + passed * self._rate)
        self._spare = min(max(1.0, self._most / 2), self._spare + passed * self._rate / 2)

"""How often a registry elsewhere is asked: a token bucket, half of which is kept for knocks. Pure.

A service that answers 429 allows less than was configured. Then the rate is halved, and grows back within half an
hour: slowly, since each time that it meets the service's limit costs knocks a second or more of peace.
"""

from __future__ import annotations

from wgjit.stores.remote.breaker import LONGEST

LEAST = 1.0
"""Requests a second below which the rate never falls."""

RECOVERY = 1800.0
"""Seconds in which the rate grows from nothing to what is configured."""

AT_ONCE = 1.0
"""Seconds in which several 429 are one: they answer what was sent before the first of them came."""


class Budget:
    """`rate` requests a second, as many at once, but at least two: one for a knock, and one beyond the half.

    Who only asks again has half of the rate, and leaves half of what there is. Times are monotonic seconds.
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
        """Take leave for one request; False if there is none."""
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
        """The service wants fewer requests, and none for `peace` seconds; True if the rate is less from now on."""
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

"""How often a registry elsewhere is asked: a token bucket, half of which is kept for knocks. Pure."""

from __future__ import annotations


class Budget:
    """`rate` requests a second, as many at once, but at least two: one for a knock, and one beyond the half."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._most = self._tokens = max(rate, 2.0)
        self._since = float("-inf")

    def take(self, now: float, *, for_knock: bool) -> bool:
        """Take leave for one request at `now` (monotonic seconds); False if there is none.

        A knock may use all there is; who only asks again leaves half of it.
        """
        self._tokens = min(self._most, self._tokens + max(0.0, now - self._since) * self._rate)
        self._since = now
        if self._tokens < (1.0 if for_knock else 1.0 + self._most / 2):
            return False
        self._tokens -= 1.0
        return True

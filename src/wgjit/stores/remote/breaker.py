"""Decides whether a remote registry counts as down, so that no lookup waits in vain. Pure."""

from __future__ import annotations

FAILURES = 3
"""Failures in a row after which the service counts as down."""

PROBE = 1.0
"""Seconds between two requests to a service that is down."""

LONGEST = 60.0
"""Greatest time that a service may ask to be left alone (Retry-After), seconds. A longer time counts as this."""


class Breaker:
    """Opens after failures in a row or a Retry-After, closes at the first success. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._failures = 0
        self._next = float("-inf")
        self.why = ""
        """The text of the last failure."""

    @property
    def is_down(self) -> bool:
        """Whether the service counts as down."""
        return self._failures >= FAILURES

    def may_ask(self, now: float) -> bool:
        """Whether a request may go out. While the service is down, this allows one request a second, and counts it."""
        if not self.is_down:
            return True
        if now < self._next:
            return False
        self._next = now + PROBE
        return True

    def failed(self, now: float, why: str, retry_after: float | None = None) -> None:
        """Note that a request got no answer. `retry_after`: seconds for which the service wants no requests."""
        self._failures += 1
        self.why = why
        if retry_after is not None:
            self._failures = max(self._failures, FAILURES)
        if self.is_down:
            self._next = max(self._next, now + (PROBE if retry_after is None else min(retry_after, LONGEST)))

    def succeeded(self) -> None:
        """Note that the service answered."""
        self._failures = 0
        self._next = float("-inf")

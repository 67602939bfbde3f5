"""Whether a registry elsewhere counts as down, so that nobody waits for what will not answer. Pure."""

from __future__ import annotations

FAILURES = 3
"""In a row, after which the service counts as down."""

PROBE = 1.0
"""Seconds between two requests to a service that is down."""

LONGEST = 60.0
"""Seconds for which a service may ask to be left alone (Retry-After): more is taken as this."""


class Breaker:
    """Opened by failures in a row or by Retry-After, closed by the first success. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._failures = 0
        self._next = float("-inf")
        self.why = ""
        """What failed last."""

    @property
    def is_down(self) -> bool:
        """Whether waiting for an answer is in vain, as far as is known."""
        return self._failures >= FAILURES

    def may_ask(self, now: float) -> bool:
        """Whether a request may go out; while the service is down, that is one a second, and this is it."""
        if not self.is_down:
            return True
        if now < self._next:
            return False
        self._next = now + PROBE
        return True

    def failed(self, now: float, why: str, retry_after: float | None = None) -> None:
        """A request got no answer; `retry_after`: seconds for which the service asked for peace."""
        self._failures += 1
        self.why = why
        if retry_after is not None:
            self._failures = max(self._failures, FAILURES)
        if self.is_down:
            self._next = max(self._next, now + (PROBE if retry_after is None else min(retry_after, LONGEST)))

    def succeeded(self) -> None:
        """The service answered."""
        self._failures = 0
        self._next = float("-inf")

"""One timer for a moving deadline.

A strike that comes too early does no harm, since it only asks what is due. So the timer is only moved to an earlier
time, never to a later one: a deadline that moves with each packet does not cost a new timer each time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Alarm:
    """Calls `strike` at a deadline, or before it."""

    def __init__(self, strike: Callable[[], None]) -> None:
        self._strike = strike
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0

    def set(self, loop: asyncio.AbstractEventLoop, deadline: float | None) -> None:
        """Set the next deadline, seconds of the loop's clock. None leaves the timer as it is."""
        if deadline is None or (self._timer and self._due <= deadline):
            return
        self.cancel()
        self._timer, self._due = loop.call_at(deadline, self._struck), deadline

    def cancel(self) -> None:
        """Stop the timer. Does nothing if no timer runs."""
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _struck(self) -> None:
        self._timer = None
        self._strike()

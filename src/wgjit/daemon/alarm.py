"""One timer for a moving deadline.

A strike that comes too early does no harm where it only asks what is due. So the timer is moved forward, never back: a
deadline that moves with each packet costs no timer each time.
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
        """The next deadline, seconds of the loop's clock; with None nothing is waited for."""
        if deadline is None or (self._timer and self._due <= deadline):
            return
        self.cancel()
        self._timer, self._due = loop.call_at(deadline, self._struck), deadline

    def cancel(self) -> None:
        """Wait no more; harmless if nothing was waited for."""
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _struck(self) -> None:
        self._timer = None
        self._strike()

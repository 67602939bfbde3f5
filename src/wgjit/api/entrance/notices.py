"""Logs repeated events: the first lines at once, then a few lines per minute, with the number of omitted lines.

Strangers can cause these events as often as they like, and that must not fill a disk. The first lines say enough.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import structlog

log = structlog.get_logger()

PERIOD = 60.0
"""Seconds in which an event is logged `most` times at most."""


class Notices:
    """Logs events within limits. Use it on one thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began: dict[str, float] = {}
        self._told: Counter[str] = Counter()
        self._untold: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        """How often each event came."""

    def tell(self, event: str, most: int = 1, level: str = "warning", **about: Any) -> None:
        """Log an event, unless it was logged `most` times in this minute. The next line says how many were omitted."""
        self.counts[event] += 1
        now = self._clock()
        if now - self._began.get(event, -PERIOD) >= PERIOD:
            self._began[event] = now
            self._told[event] = 0
        if self._told[event] >= most:
            self._untold[event] += 1
            return
        self._told[event] += 1
        if untold := self._untold.pop(event, 0):
            about["not_told_before"] = untold
        getattr(log, level)(event, **about)

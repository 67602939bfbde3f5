"""Trouble in the log: told when it begins, then a few lines a minute at most, with the number of those left out.

What strangers can cause as often as they like must not fill a disk, and the first lines say all there is to know.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import structlog

log = structlog.get_logger()

PERIOD = 60.0
"""Seconds in which so many lines of a kind may come."""


class Notices:
    """Use it on one thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began: dict[str, float] = {}
        self._told: Counter[str] = Counter()
        self._untold: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        """By event, how often it came."""

    def tell(self, event: str, most: int = 1, level: str = "warning", **about: Any) -> None:
        """Log an event, unless `most` of it were logged within this minute; the next one tells how many were not."""
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

"""Broken machinery, told once: a fault that strikes with every packet must not fill a disk."""

from __future__ import annotations

import time
import traceback

import structlog

from wgjit.daemon.metrics import Metrics
from wgjit.errors import WgjitError

log = structlog.get_logger()

QUIET = 60.0
"""Seconds after which a fault that goes on is told again."""


class Faults:
    """Counts every fault by the part that failed; logs its beginning, and its end."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._current: dict[str, float] = {}

    def occurred(self, part: str, error: Exception) -> None:
        """The part failed; logged when it worked before, and at most once in `QUIET` seconds.

        An error that nobody made on purpose is a bug of ours: its traceback is logged, which holds no values.
        """
        self._metrics.faults[part] += 1
        now = time.monotonic()
        if part in self._current and now - self._current[part] < QUIET:
            return
        self._current[part] = now
        if isinstance(error, WgjitError):
            log.warning("fault", part=part, error=str(error))
        else:
            log.error("bug", part=part, error=repr(error), traceback="".join(traceback.format_tb(error.__traceback__)))

    def passed(self, part: str) -> None:
        """The part works; logged if it did not before."""
        if self._current and self._current.pop(part, None) is not None:
            log.info("fault passed", part=part)

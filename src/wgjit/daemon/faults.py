"""Broken machinery, told once: a fault that strikes with every packet must not fill a disk."""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass

import structlog

from wgjit.daemon.metrics import Metrics
from wgjit.errors import WgjitError
from wgjit.wire.key_text import without_keys

log = structlog.get_logger()

QUIET = 60.0
"""Seconds after which a fault that goes on is told again."""

CALM = 2.0
"""Seconds without a fault after which a part that works counts as mended. Half a broken disk fails for some packets and
not for others: that is one fault, not one for each of them."""


@dataclass(slots=True)
class _Fault:
    told: float
    last: float


class Faults:
    """Counts every fault by the part that failed; logs its beginning, and its end."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._current: dict[str, _Fault] = {}
        # Which interface, if there are several; a thread of a pool would not know.
        self._context = structlog.contextvars.get_contextvars()

    def occurred(self, part: str, error: Exception) -> None:
        """The part failed; logged when it worked before, and at most once in `QUIET` seconds.

        An error that nobody made on purpose is a bug of ours: its traceback is logged, which holds no values.
        """
        self._metrics.faults[part] += 1
        now = time.monotonic()
        if fault := self._current.get(part):
            fault.last = now
            if now - fault.told < QUIET:
                return
            fault.told = now
        else:
            self._current[part] = _Fault(now, now)
        if isinstance(error, WgjitError):
            log.warning("fault", part=part, error=str(error), **self._context)
        else:
            frames = "".join(traceback.format_tb(error.__traceback__))
            log.error("bug", part=part, error=without_keys(repr(error)), traceback=frames, **self._context)

    def passed(self, part: str) -> None:
        """The part works; logged if it did not before, and has not failed again for `CALM` seconds."""
        fault = self._current.get(part)
        if fault is not None and time.monotonic() - fault.last >= CALM:
            del self._current[part]
            log.info("fault passed", part=part, **self._context)

"""Counts all faults and logs each once, since a fault with every packet must not fill a disk."""

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
"""Seconds after which a fault that goes on is logged again."""

CALM = 2.0
"""Seconds without a fault after which a part counts as working again. A broken disk may fail for some packets and not
for others: this is one fault, not one for each packet."""


@dataclass(slots=True)
class _Fault:
    told: float
    last: float
    why: str


class Faults:
    """Counts every fault by the part that failed; logs its beginning and its end."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._current: dict[str, _Fault] = {}
        # Names the interface in the log if there are several. A pool's thread does not have this context.
        self._context = structlog.contextvars.get_contextvars()

    def occurred(self, part: str, error: Exception) -> None:
        """Count a fault of this part. Log it if the part worked before, and at most once in `QUIET` seconds.

        An error that is no WgjitError is a bug of wgjit. Its traceback is logged, without any values.
        """
        self._metrics.faults[part] += 1
        now = time.monotonic()
        why = str(error) if isinstance(error, WgjitError) else "a mistake of wgjit; see its log"
        if fault := self._current.get(part):
            fault.last, fault.why = now, why
            if now - fault.told < QUIET:
                return
            fault.told = now
        else:
            self._current[part] = _Fault(now, now, why)
        if isinstance(error, WgjitError):
            log.warning("fault", part=part, error=str(error), **self._context)
        else:
            frames = "".join(traceback.format_tb(error.__traceback__))
            log.error("bug", part=part, error=without_keys(repr(error)), traceback=frames, **self._context)

    def lately(self, part: str, seconds: float) -> str | None:
        """What failed in this part within the last `seconds`, for people; None if nothing did."""
        fault = self._current.get(part)
        return None if fault is None or time.monotonic() - fault.last > seconds else fault.why

    def passed(self, part: str) -> None:
        """The part works. Log this if the part failed before, and has not failed for `CALM` seconds."""
        fault = self._current.get(part)
        if fault is not None and time.monotonic() - fault.last >= CALM:
            del self._current[part]
            log.info("fault passed", part=part, **self._context)

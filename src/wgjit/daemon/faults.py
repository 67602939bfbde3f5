"""Broken machinery, told once: a fault that strikes with every packet must not fill a disk."""

from __future__ import annotations

import structlog

from wgjit.daemon.metrics import Metrics
from wgjit.errors import WgjitError

log = structlog.get_logger()


class Faults:
    """Counts every fault by the part that failed; logs its beginning, and its end."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._current: dict[str, str] = {}

    def occurred(self, part: str, error: WgjitError) -> None:
        """The part failed; logged when it did not fail just before in the same way."""
        self._metrics.faults[part] += 1
        if self._current.get(part) != str(error):
            self._current[part] = str(error)
            log.warning("fault", part=part, error=str(error))

    def passed(self, part: str) -> None:
        """The part works; logged if it did not before."""
        if self._current and self._current.pop(part, None) is not None:
            log.info("fault passed", part=part)

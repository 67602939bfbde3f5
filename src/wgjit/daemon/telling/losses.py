"""Asks the capture now and then how many packets it has lost. A thread asks, since that may run a program."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor

from wgjit.daemon.faults import Faults
from wgjit.daemon.telling.troubles import Troubles
from wgjit.drivers.base import Capture, CaptureCounters
from wgjit.errors import WgjitError

PAUSE = 5.0
"""Least seconds between two questions."""


class Losses:
    """Hands the capture's numbers to `Troubles`."""

    def __init__(self, capture: Capture, threads: ThreadPoolExecutor, faults: Faults, troubles: Troubles) -> None:
        self._capture, self._threads = capture, threads
        self._faults, self._troubles = faults, troubles
        self._answer: Future[CaptureCounters] | None = None
        self._due = float("-inf")

    def beat(self) -> None:
        """Take the answer if there is one, and ask again if it is time. Call this each second; it never waits."""
        if self._answer is not None:
            if not self._answer.done():
                return
            answer, self._answer = self._answer, None
            try:
                self._troubles.counted(answer.result())
            except WgjitError as error:
                self._faults.occurred("capture", error)
        if (now := time.monotonic()) >= self._due:
            self._due = now + PAUSE
            self._answer = self._threads.submit(self._capture.counters)

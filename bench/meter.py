"""The CPU time of the daemon, and separately of wireguard-go, during a part of a benchmark."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bench.processes import Process


@dataclass(frozen=True)
class Taken:
    """CPU seconds of each, and how long it was."""

    seconds: float
    daemon: float
    wireguard: float

    @property
    def share(self) -> float:
        """The daemon's share of one CPU."""
        return self.daemon / self.seconds


class Meter:
    """Reads what the two processes have taken so far."""

    def __init__(self, daemon: Process, wireguard: Process) -> None:
        self._daemon, self._wireguard = daemon, wireguard

    @contextmanager
    def taking(self) -> Iterator[Callable[[], Taken]]:
        """Measure a block; the function that it gives tells, after the block, what it took."""
        before = self._now()
        after: list[tuple[float, float, float]] = []
        yield lambda: Taken(*(end - start for start, end in zip(before, after[0], strict=True)))
        after.append(self._now())

    def _now(self) -> tuple[float, float, float]:
        return time.monotonic(), self._daemon.cpu(), self._wireguard.cpu()

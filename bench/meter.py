"""What a stretch of a benchmark took: CPU of the daemon, of WireGuard, and of the load generator apart."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bench.processes import Process
from bench.processor import of_machine
from lab.gateway import Gateway
from lab.wireguard import WireGuard


@dataclass(frozen=True)
class Taken:
    """CPU seconds of each, and how long it was."""

    seconds: float
    generator: float
    """This process."""
    daemon: float
    """0 without one."""
    wireguard: float
    """wireguard-go's process; with the kernel's own, all that is neither daemon nor generator, in ticks of 10 ms."""

    @property
    def share(self) -> float:
        """The daemon's share of one CPU."""
        return self.daemon / self.seconds


class Meter:
    """Reads what they have taken so far."""

    def __init__(self, server: WireGuard, gateway: Gateway | None = None) -> None:
        self.daemon = None if gateway is None else Process(gateway.process.pid)
        self._wireguard = None if server.pid is None else Process(server.pid)

    @contextmanager
    def taking(self) -> Iterator[Callable[[], Taken]]:
        """Measure a block; the function that it gives tells, after the block, what it took."""
        before = self._now()
        after: list[tuple[float, ...]] = []
        yield lambda: Taken(*(end - start for start, end in zip(before, after[0], strict=True)))
        after.append(self._now())

    def _now(self) -> tuple[float, ...]:
        daemon = 0.0 if self.daemon is None else self.daemon.cpu()
        generator = time.process_time()
        wireguard = of_machine().total - daemon - generator if self._wireguard is None else self._wireguard.cpu()
        return time.monotonic(), generator, daemon, wireguard

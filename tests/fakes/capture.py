"""A capture and an injector in memory, for tests of the loop. `tests/kernel` holds the real ones to the same words."""

from __future__ import annotations

import os
from collections import deque

from wgjit.drivers.base import CaptureCounters, Captured
from wgjit.errors import CaptureError, InjectError


class FakeCapture:
    """Packets that a test puts in come out of `read`; a pipe makes it readable as a socket is."""

    def __init__(self, holds: bool = False) -> None:
        self.holds = holds
        self.waiting: deque[Captured] = deque()
        self.released: list[int] = []
        """Tokens of packets that went on: released, and flushed."""
        self._judged: list[int] = []
        self.heartbeats = 0
        self.failure: CaptureError | None = None
        self._tokens = 0
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._received = 0
        self.dropped = self.beyond = 0
        """What a test says that was lost."""
        self.rules_gone = False
        """A test says that somebody has taken the rules away; the next heartbeat puts them back."""

    def arrive(self, packet: bytes) -> Captured:
        """A packet comes in."""
        self._tokens += 1
        captured = Captured(packet, ifindex=2, token=self._tokens if self.holds else None)
        self.waiting.append(captured)
        os.write(self._writer, b".")
        return captured

    def fileno(self) -> int:
        return self._reader

    def read(self, limit: int = 64) -> list[Captured]:
        self._maybe_fail()
        batch = [self.waiting.popleft() for _ in range(min(limit, len(self.waiting)))]
        if batch:
            os.read(self._reader, len(batch))
        self._received += len(batch)
        return batch

    def release(self, token: int) -> None:
        assert token not in self.released + self._judged, "released twice"
        self._judged.append(token)
        self._maybe_fail()

    def flush(self) -> None:
        self._maybe_fail()
        self.released += self._judged
        self._judged.clear()

    def heartbeat(self) -> bool:
        self.heartbeats += 1
        self._maybe_fail()
        self.flush()
        gone, self.rules_gone = self.rules_gone, False
        return gone

    def counters(self) -> CaptureCounters:
        return CaptureCounters(self._received, self.dropped, self.beyond)

    def close(self) -> None:
        os.close(self._reader)
        os.close(self._writer)

    def _maybe_fail(self) -> None:
        failure, self.failure = self.failure, None
        if failure:
            raise failure


class FakeInjector:
    """Remembers what was put back."""

    def __init__(self) -> None:
        self.injected: list[Captured] = []
        self.failure: InjectError | None = None

    def inject(self, captured: Captured) -> str:
        if self.failure:
            raise self.failure
        self.injected.append(captured)
        return "xdp"

    def close(self) -> None:
        """Nothing to let go of."""

"""A restraint in memory, which can fail."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from wgjit.errors import CaptureError
from wgjit.model import Endpoint


class FakeRestraint:
    """Implements `wgjit.drivers.base.Restraint`."""

    def __init__(self) -> None:
        self.sessions: dict[Endpoint, float] = {}
        self.calls: list[str] = []
        """What was called, in order, without heartbeats."""
        self.beats = 0
        self.broken = False

    def put(self, sessions: Mapping[Endpoint, float]) -> None:
        self._called(f"put {len(sessions)}")
        self.sessions.update(sessions)

    def forget(self, endpoints: Iterable[Endpoint]) -> None:
        keys = list(endpoints)
        self._called(f"forget {len(keys)}")
        for endpoint in keys:
            self.sessions.pop(endpoint, None)

    def _called(self, what: str) -> None:
        self.calls.append(what)
        if self.broken:
            raise CaptureError("nft table: no buffer space available")

    def heartbeat(self) -> None:
        self.beats += 1
        if self.broken:
            raise CaptureError("nft: not installed")

    def held(self) -> int:
        return 7

    def close(self) -> None:
        pass

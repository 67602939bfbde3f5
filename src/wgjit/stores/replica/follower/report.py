"""What the gateway is told: the follower's state, as it changes, and that there is news in the file."""

from __future__ import annotations

import socket
import threading
import time
from typing import Any

from wgjit.stores.replica import messages

PACE = 1.0
"""Seconds between two reports, while nothing but numbers changes."""

_NUMBERS = frozenset({"fresh_at", "lag", "outbox", "copied", "said", "lost", "clock_offset"})


class Report:
    """The state, which any thread changes, and the socket on which it is told."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._lock = threading.Lock()
        self._state: dict[str, Any] = {}
        self._told_at = 0.0
        self._has_news = False
        self._is_late = False

    def set(self, **values: Any) -> None:
        """Change some values. A change of a number waits for up to `PACE` seconds; any other is told at once."""
        with self._lock:
            changed = {name for name, value in values.items() if self._state.get(name, self) != value}
            self._state.update(values)
            now = time.monotonic()
            if changed - _NUMBERS or self._is_late or (changed and now - self._told_at >= PACE):
                self._tell(now)

    def add(self, **values: int) -> None:
        """Count."""
        with self._lock:
            for name, value in values.items():
                self._state[name] = self._state.get(name, 0) + value

    def news(self) -> None:
        """Say that the file has something that the gateway may want to know."""
        with self._lock:
            self._has_news = not messages.send(self._link, {"news": True})

    def answer(self, message: dict[str, Any]) -> None:
        """Send an answer. A gateway that does not read has its own deadline."""
        with self._lock:
            messages.send(self._link, message)

    def get(self, name: str) -> Any:
        """A value of the state."""
        with self._lock:
            return self._state.get(name)

    def _tell(self, now: float) -> None:
        self._told_at = now
        self._is_late = not messages.send(self._link, {"status": self._state})
        if self._has_news:
            self._has_news = not messages.send(self._link, {"news": True})

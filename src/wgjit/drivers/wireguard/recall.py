"""Values of the last dump. Most bytes of a dump are the same as in the dump before.

A crowded device is read twice a minute to find idle residents. Between two looks a resident's handshake and counters
change, but not its endpoint and allowed IPs. For these, the very same objects are returned again, so the core sees
quickly that they have not changed, and memory holds them once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Recall(Generic[T]):
    """Values by the bytes that they were decoded from, for the present dump and the one before."""

    def __init__(self) -> None:
        self._before: dict[bytes, T] = {}
        self._now: dict[bytes, T] = {}

    def begin(self) -> None:
        """Begin a dump. Values that the last dump did not have are forgotten."""
        self._before, self._now = self._now, {}

    def get(self, raw: bytes, read: Callable[[bytes], T]) -> T:
        """The value of these bytes, decoded if the last dump did not have them. Raises what `read` raises."""
        value = self._before.pop(raw, None)
        if value is None:
            value = self._now.get(raw)
            if value is None:
                value = read(raw)
        self._now[raw] = value
        return value

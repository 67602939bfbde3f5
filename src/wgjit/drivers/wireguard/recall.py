"""What the last dump told: most of a dump is, byte for byte, as the one before it.

A crowd is read twice a minute to see who is idle, and what changes of a resident between two looks is its handshake and
its counters, not where it lives and what it may send. Those come as the very same objects again: the core sees at a
glance that nothing has changed, and they are in memory once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Recall(Generic[T]):
    """Values by the bytes that they were read from: those of the present dump, and of the one before."""

    def __init__(self) -> None:
        self._before: dict[bytes, T] = {}
        self._now: dict[bytes, T] = {}

    def begin(self) -> None:
        """A dump begins. What the last one did not tell is forgotten."""
        self._before, self._now = self._now, {}

    def get(self, raw: bytes, read: Callable[[bytes], T]) -> T:
        """The value of these bytes; read if the last dump did not have them. Raises what `read` raises."""
        value = self._before.pop(raw, None)
        if value is None:
            value = self._now.get(raw)
            if value is None:
                value = read(raw)
        self._now[raw] = value
        return value

"""Keys that a registry elsewhere does not know, so that it is not asked again for each knock. Pure.

Only proven keys are asked for, so each entry costs an attacker a key pair, and nobody can have another's key refused.
"""

from __future__ import annotations

from collections import OrderedDict


class Negatives:
    """The most recent `capacity` unknown keys, each for `time_to_live` seconds (monotonic)."""

    def __init__(self, time_to_live: float, capacity: int) -> None:
        self._time_to_live, self._capacity = time_to_live, capacity
        self._since: OrderedDict[bytes, float] = OrderedDict()

    def add(self, key: bytes, now: float) -> None:
        """The service has just said that it does not know this key."""
        self._since[key] = now
        self._since.move_to_end(key)
        while len(self._since) > self._capacity:
            self._since.popitem(last=False)

    def has(self, key: bytes, now: float) -> bool:
        """Whether it said so within the time to live."""
        since = self._since.get(key)
        if since is None:
            return False
        if now - since < self._time_to_live:
            return True
        del self._since[key]
        return False

    def forget(self, key: bytes) -> None:
        """Something about this key has changed."""
        self._since.pop(key, None)

    def clear(self) -> None:
        """Anything may have changed."""
        self._since.clear()

    def __len__(self) -> int:
        return len(self._since)

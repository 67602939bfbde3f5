"""Keys that a remote registry does not know, so that it is not asked again at each knock. Pure.

The service is asked for proven keys only. So each entry costs an attacker a key pair, and no attacker can have another
client's key refused.
"""

from __future__ import annotations

from collections import OrderedDict

NEGATIVE_TIME_TO_LIVE = 4.0
"""Seconds for which "no such peer" is remembered. A client tries again after 5 s, so a new peer counts from its next
try."""

NEGATIVES = 65_536
"""Greatest number of remembered unknown keys."""


class Negatives:
    """The most recent `capacity` unknown keys, each for `time_to_live` seconds (monotonic)."""

    def __init__(self, time_to_live: float, capacity: int) -> None:
        self._time_to_live, self._capacity = time_to_live, capacity
        self._since: OrderedDict[bytes, float] = OrderedDict()

    def add(self, key: bytes, now: float) -> None:
        """Note that the service has just said that it does not know this key."""
        self._since[key] = now
        self._since.move_to_end(key)
        while len(self._since) > self._capacity:
            self._since.popitem(last=False)

    def has(self, key: bytes, now: float) -> bool:
        """Whether the service said so within the time to live."""
        since = self._since.get(key)
        if since is None:
            return False
        if now - since < self._time_to_live:
            return True
        del self._since[key]
        return False

    def forget(self, key: bytes) -> None:
        """Forget this key, because its peer has changed."""
        self._since.pop(key, None)

    def clear(self) -> None:
        """Forget all keys, because any peer may have changed."""
        self._since.clear()

    def __len__(self) -> int:
        return len(self._since)

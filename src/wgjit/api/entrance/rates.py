"""How often somebody may ask: token buckets by key. Pure; the clock is the caller's."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

_MOST = 16_384
"""Buckets kept. A full one says nothing that a new one would not, so the least lately used is forgotten."""


@dataclass(slots=True)
class _Bucket:
    level: float
    at: float


class Rates:
    """Buckets that fill with `rate` a second (given at each call) and hold what two seconds bring, one at least."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._buckets: OrderedDict[Hashable, _Bucket] = OrderedDict()

    def wait(self, key: Hashable, rate: float, now: float) -> float:
        """Seconds until the key may ask again, 0.0 if it may now. Takes nothing."""
        level = self._bucket(key, rate, now).level
        return 0.0 if level >= 1.0 else (1.0 - level) / rate

    def take(self, key: Hashable, rate: float, now: float) -> float:
        """As `wait`, and if that is nothing, this counts as one."""
        bucket = self._bucket(key, rate, now)
        if bucket.level < 1.0:
            return (1.0 - bucket.level) / rate
        bucket.level -= 1.0
        return 0.0

    def fill(self, key: Hashable, rate: float, now: float) -> float:
        """How full the key's bucket is: 1.0 if it has not asked for long."""
        return self._bucket(key, rate, now).level / max(1.0, 2.0 * rate)

    def _bucket(self, key: Hashable, rate: float, now: float) -> _Bucket:
        size = max(1.0, 2.0 * rate)
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = _Bucket(size, now)
            if len(self._buckets) > self._most:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(key)
        bucket.level = min(size, bucket.level + max(0.0, now - bucket.at) * rate)
        bucket.at = now
        return bucket

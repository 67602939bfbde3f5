"""Limits how often a caller or a source may ask: token buckets by key. Pure: the calling code passes the time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

_MOST = 16_384
"""Buckets kept. Beyond that, the least recently used one is forgotten; it is most likely full, like a new one."""


@dataclass(slots=True)
class _Bucket:
    level: float
    at: float


class Rates:
    """Buckets that fill at `rate` per second (given at each call). A bucket holds two seconds' worth, 1 at least."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._buckets: OrderedDict[Hashable, _Bucket] = OrderedDict()

    def wait(self, key: Hashable, rate: float, now: float) -> float:
        """Seconds until the key may ask again, 0.0 if it may now. Takes nothing."""
        level = self._bucket(key, rate, now).level
        return 0.0 if level >= 1.0 else (1.0 - level) / rate

    def take(self, key: Hashable, rate: float, now: float) -> float:
        """As `wait`. If the key may ask now, this call counts as one request."""
        bucket = self._bucket(key, rate, now)
        if bucket.level < 1.0:
            return (1.0 - bucket.level) / rate
        bucket.level -= 1.0
        return 0.0

    def fill(self, key: Hashable, rate: float, now: float) -> float:
        """How full the key's bucket is, 0.0 to 1.0. It is 1.0 if the key has not asked for long."""
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

"""When residents expire: a heap of moments, whose outdated entries are passed over when their time comes."""

from __future__ import annotations

import heapq
from collections.abc import Callable

from wgjit.core.residents.residency import Residency
from wgjit.model import PublicKey

SLACK = 256
"""Outdated entries kept in any case."""


class Expiries:
    """See the head of this file. Bounded by twice the residents, and `SLACK`."""

    def __init__(self, residency: Residency) -> None:
        self._residency = residency
        self._moments: list[tuple[int, PublicKey]] = []

    def __len__(self) -> int:
        """Entries, outdated ones included."""
        return len(self._moments)

    def await_(self, moment: int, key: PublicKey) -> None:
        """The resident expires then, Unix seconds."""
        heapq.heappush(self._moments, (moment, key))
        if len(self._moments) > 2 * len(self._residency) + SLACK:  # most are of peers that have left, or changed
            residents = ((resident.expires_at, key) for key, resident in self._residency.items())
            self._moments = [(moment, key) for moment, key in residents if moment is not None]
            heapq.heapify(self._moments)

    def next(self) -> int | None:
        """When the next one may expire, Unix seconds."""
        return self._moments[0][0] if self._moments else None

    def take_due(self, wall: float, is_leaving: Callable[[PublicKey], bool]) -> list[PublicKey]:
        """The residents that have expired by now and are not on their way out."""
        expired: dict[PublicKey, None] = {}
        while self._moments and self._moments[0][0] <= wall:
            moment, key = heapq.heappop(self._moments)
            resident = self._residency.get(key)
            if resident is not None and resident.expires_at == moment and not is_leaving(key):
                expired[key] = None
        return list(expired)

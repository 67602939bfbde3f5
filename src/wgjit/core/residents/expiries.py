"""When residents expire: a heap of moments. An outdated entry is skipped when its time comes."""

from __future__ import annotations

import heapq
from collections.abc import Callable

from wgjit.core.residents.residency import Residency
from wgjit.model import PublicKey

SLACK = 256
"""Number of outdated entries that are always allowed."""


class Expiries:
    """The heap of moments. At most twice as many entries as residents, plus `SLACK`."""

    def __init__(self, residency: Residency) -> None:
        self._residency = residency
        self._moments: list[tuple[int, PublicKey]] = []

    def __len__(self) -> int:
        """Number of entries, including outdated ones."""
        return len(self._moments)

    def await_(self, moment: int, key: PublicKey) -> None:
        """Add a resident that expires at `moment`, Unix seconds."""
        heapq.heappush(self._moments, (moment, key))
        if len(self._moments) > 2 * len(self._residency) + SLACK:  # most entries are outdated
            residents = ((resident.expires_at, key) for key, resident in self._residency.items())
            self._moments = [(moment, key) for moment, key in residents if moment is not None]
            heapq.heapify(self._moments)

    def next(self) -> int | None:
        """When the next resident may expire, Unix seconds; None if no resident expires."""
        return self._moments[0][0] if self._moments else None

    def take_due(self, wall: float, is_leaving: Callable[[PublicKey], bool]) -> list[PublicKey]:
        """Take out the residents that have expired by `wall`; skip those that are being removed already."""
        expired: dict[PublicKey, None] = {}
        while self._moments and self._moments[0][0] <= wall:
            moment, key = heapq.heappop(self._moments)
            resident = self._residency.get(key)
            if resident is not None and resident.expires_at == moment and not is_leaving(key):
                expired[key] = None
        return list(expired)

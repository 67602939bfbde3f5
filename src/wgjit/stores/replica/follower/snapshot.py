"""Which transactions of the registry of record were read, as PostgreSQL writes a snapshot: `XMIN:XMAX:RUNNING,...`.

Transactions before XMIN were read, those from XMAX on were not, and of those in between all that are not running.

A standby's snapshots name no running transactions. There, only what is before XMIN is sure to be read whole.

Snapshots of several servers of one cluster may be joined, because they count the same transactions. So a reader may
change between a primary and its standbys, and what it has read once is not taken back by a server that is behind.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from wgjit.wire.key_text import quoted

_FORM = re.compile(r"(\d+):(\d+):((?:\d+(?:,\d+)*)?)")

MOST_NAMED = 20_000
"""Transactions in between that are named at most."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """See the head of this file."""

    xmin: int
    xmax: int
    running: frozenset[int] = frozenset()

    @classmethod
    def parse(cls, text: str) -> Snapshot:
        """Read the text form. Raises ValueError."""
        found = _FORM.fullmatch(text)
        if found is None:
            raise ValueError(f"{quoted(text)} is no snapshot")
        xmin, xmax, running = found.groups()
        return cls(int(xmin), int(xmax), frozenset(map(int, running.split(","))) if running else frozenset())

    def __str__(self) -> str:
        return f"{self.xmin}:{self.xmax}:{','.join(map(str, sorted(self.running)))}"

    def sees(self, number: int) -> bool:
        """Whether this transaction was read."""
        return number < self.xmin or (number < self.xmax and number not in self.running)

    def __or__(self, other: Snapshot) -> Snapshot:
        """All that was read by either."""
        xmax = max(self.xmax, other.xmax)
        low, high = sorted((self, other), key=lambda each: each.xmax)
        running = {each for each in high.running if not low.sees(each)}
        return _made(running, xmax)

    def with_seen(self, seen: Iterable[int]) -> Snapshot:
        """On a standby: what is before XMIN, and these transactions, of which rows were seen."""
        later = {each for each in seen if each >= self.xmin}
        xmax = max(later, default=self.xmin - 1) + 1
        if xmax - self.xmin - len(later) > MOST_NAMED:
            return Snapshot(self.xmin, self.xmin)
        return _made({each for each in range(self.xmin, xmax) if each not in later}, max(xmax, self.xmin))


def _made(running: set[int], xmax: int) -> Snapshot:
    return Snapshot(min(running, default=xmax), xmax, frozenset(running))

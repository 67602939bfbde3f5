"""Limits what lasts long (streams, imports): in all, and for each caller. Each is counted before it begins."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from wgjit.api.problems import Kind, Problem


class Quota:
    """Allows `most` at once. `kept` of these are only for callers that come first: gateways and the Unix socket.

    `what` is the word for them in a refusal.
    """

    def __init__(self, what: str, most: int, kept: int) -> None:
        self._what = what
        self._most = most
        self._kept = kept
        self._open: Counter[str] = Counter()
        self._others = 0
        self.refused = 0

    @property
    def total(self) -> int:
        """How many are open."""
        return self._open.total()

    @contextmanager
    def place(self, caller: str, share: int, *, comes_first: bool) -> Iterator[None]:
        """A place for the time of the block. Raises Problem (503) if the caller has `share` places or all are taken."""
        if self._open[caller] >= share:
            self._refuse(f"you have {share} {self._what} open, and nobody may have more; end one first")
        if self.total >= self._most or (not comes_first and self._others >= self._most - self._kept):
            self._refuse(f"as many {self._what} are open as may be")
        self._open[caller] += 1
        self._others += not comes_first
        try:
            yield
        finally:
            self._others -= not comes_first
            self._open[caller] -= 1
            if not self._open[caller]:
                del self._open[caller]

    def _refuse(self, detail: str) -> None:
        self.refused += 1
        raise Problem(Kind.OVERLOADED, detail, headers={"Retry-After": "5"})

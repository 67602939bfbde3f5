"""A number of something that lasts (a stream, an import), counted before it is begun: in all, and of each caller."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from wgjit.api.problems import Kind, Problem


class Quota:
    """`most` at once, and `kept` of them only for those who come first: a fleet's gateways, the Unix socket.

    `what` is what they are called in a refusal.
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
        """How many there are."""
        return self._open.total()

    @contextmanager
    def place(self, caller: str, share: int, *, comes_first: bool) -> Iterator[None]:
        """A place as long as the block lasts. Raises Problem (503) if the caller has `share`, or all are taken."""
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

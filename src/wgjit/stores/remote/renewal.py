"""When the answers for those who matter are asked for again. Pure; times are monotonic seconds.

An answer is due when it has grown old, or when an event spoke of its peer. A question that failed is not asked again
for `AGAIN`, so that a peer of which the service cannot tell does not cost a request a second.
"""

from __future__ import annotations

from collections.abc import Collection

from wgjit.errors import StoreError
from wgjit.model import PublicKey

AGAIN = 5.0
"""Seconds after a question that failed: a client's own tries are as far apart."""


class Renewal:
    """For each key when it is to be asked for, and what failed lately. No bigger than what matters, after `keep`."""

    def __init__(self) -> None:
        self._due: dict[PublicKey, float] = {}
        self._failures: dict[PublicKey, tuple[float, StoreError]] = {}

    def is_due(self, key: PublicKey, now: float) -> bool:
        """Whether to ask, or to look how old the answer is: so for each key of which nothing is noted."""
        return self._due.get(key, now) <= now and self.failure(key, now) is None

    def answered(self, key: PublicKey, now: float, lives: float) -> None:
        """What is known of the key holds for so many seconds more."""
        self._due[key] = now + lives
        self._failures.pop(key, None)

    def failed(self, key: PublicKey, now: float, why: StoreError) -> None:
        """There was no answer, or one that cannot be used."""
        self._failures[key] = (now + AGAIN, why)

    def failure(self, key: PublicKey, now: float) -> StoreError | None:
        """What failed within the last `AGAIN`; None if the key may be asked for."""
        until, why = self._failures.get(key, (now, None))
        return why if now < until else None

    def spoken_of(self, key: PublicKey) -> None:
        """An event says that the peer has changed: ask at once."""
        self._due.pop(key, None)
        self._failures.pop(key, None)

    def all_spoken_of(self) -> None:
        """Any peer may have changed."""
        self._due.clear()
        self._failures.clear()

    def keep(self, keys: Collection[PublicKey]) -> None:
        """Forget all others."""
        self._due = {key: due for key, due in self._due.items() if key in keys}
        self._failures = {key: failure for key, failure in self._failures.items() if key in keys}

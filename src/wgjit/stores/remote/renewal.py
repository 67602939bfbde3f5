"""Decides when a gateway asks again for the peers that matter to it. Pure; times are monotonic seconds.

An answer is due when its time to live is over, or when an event named its peer. A question that failed is not asked
again for `AGAIN`, so that a peer without a usable answer does not cost a request a second.
"""

from __future__ import annotations

from collections.abc import Collection

from wgjit.errors import StoreError
from wgjit.model import PublicKey

AGAIN = 5.0
"""Seconds after a failed question. A client's own tries are as far apart."""


class Renewal:
    """For each key, when to ask again, and what failed lately. `keep` reduces this to the keys that matter."""

    def __init__(self) -> None:
        self._due: dict[PublicKey, float] = {}
        self._failures: dict[PublicKey, tuple[float, StoreError]] = {}

    def is_due(self, key: PublicKey, now: float) -> bool:
        """Whether to ask, or to check the age of the answer. True for a key of which nothing is noted."""
        return self._due.get(key, now) <= now and self.failure(key, now) is None

    def answered(self, key: PublicKey, now: float, lives: float) -> None:
        """Note that the answer for the key lives for this number of seconds more."""
        self._due[key] = now + lives
        self._failures.pop(key, None)

    def failed(self, key: PublicKey, now: float, why: StoreError) -> None:
        """Note that there was no answer, or none that can be used."""
        self._failures[key] = (now + AGAIN, why)

    def failure(self, key: PublicKey, now: float) -> StoreError | None:
        """The error within the last `AGAIN` seconds; None if the service may be asked for the key."""
        until, why = self._failures.get(key, (now, None))
        return why if now < until else None

    def spoken_of(self, key: PublicKey) -> None:
        """Note that an event named the peer: ask at once."""
        self._due.pop(key, None)
        self._failures.pop(key, None)

    def all_spoken_of(self) -> None:
        """Note that any peer may have changed."""
        self._due.clear()
        self._failures.clear()

    def keep(self, keys: Collection[PublicKey]) -> None:
        """Forget all other keys."""
        self._due = {key: due for key, due in self._due.items() if key in keys}
        self._failures = {key: failure for key, failure in self._failures.items() if key in keys}

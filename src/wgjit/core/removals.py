"""The way out of the device: few at a time, at a pace that leaves the device to installs.

A removal waits for all CPUs to have let go of the peer (`synchronize_net` in `wg_peer_remove`), and holds the locks
that an install needs. So one batch is on its way at a time, on a thread, as large as fits into `BUSY`, and after it the
device rests for as long as it took.

Two kinds wait here. The revoked are gone as far as the core is concerned: their allowed IPs have been taken away, they
pass nothing any more. The retired are residents like any other until their batch begins: a sign of life calls them
back.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from wgjit.core.vocabulary import Departure
from wgjit.model import PublicKey

BUSY = 0.005
"""Seconds that a batch should take at most."""

MOST = 64
"""Peers in a batch at most."""

REST = 1.0
"""Rest after a batch, as a multiple of the time that it took."""

RETRY = 1.0
"""Seconds until a batch that the device refused is tried again."""


class Removals:
    """Who is on the way out. Constant time per peer."""

    def __init__(self) -> None:
        self._revoked: dict[PublicKey, None] = {}
        self._retired: dict[PublicKey, Departure] = {}
        self._fresh_until = float("-inf")
        self._in_flight: dict[PublicKey, Departure] = {}
        self._size = 1
        self._not_before = float("-inf")

    def __contains__(self, key: PublicKey) -> bool:
        """Whether the peer cannot be called back: it has been revoked, or its removal is being made."""
        return key in self._revoked or key in self._in_flight

    def __len__(self) -> int:
        """How many will leave, if none is called back."""
        return len(self._revoked) + len(self._retired) + len(self._in_flight)

    @property
    def revoked(self) -> int:
        """How many are still in the device that count as residents no more."""
        return len(self._revoked) + sum(why is Departure.REVOKED for why in self._in_flight.values())

    def revoke(self, key: PublicKey) -> None:
        """The peer has to go, as soon as it can be done."""
        self._retired.pop(key, None)
        if key not in self._in_flight:
            self._revoked[key] = None

    def retire(self, departures: Iterable[tuple[PublicKey, Departure]], until: float) -> None:
        """These may go, in this order; what has not gone `until` then (monotonic) has to be looked at anew.

        Takes the place of those that were retired before.
        """
        self._retired = {key: why for key, why in departures if key not in self}
        self._fresh_until = until

    def recall(self, key: PublicKey) -> None:
        """The peer gave a sign of life, or has changed: it stays, if its removal is not being made already."""
        self._retired.pop(key, None)

    def next_batch(self, now: float) -> tuple[PublicKey, ...]:
        """Who should be removed now; nobody while a batch is on its way, or the device rests."""
        if now >= self._fresh_until:
            self._retired.clear()
        if self._in_flight or now < self._not_before:
            return ()
        for key in list(islice(self._revoked, self._size)):
            del self._revoked[key]
            self._in_flight[key] = Departure.REVOKED
        for key in list(islice(self._retired, self._size - len(self._in_flight))):
            self._in_flight[key] = self._retired.pop(key)
        return tuple(self._in_flight)

    def done(self, failed: frozenset[PublicKey], took: float, now: float) -> dict[PublicKey, Departure]:
        """The batch on its way has been made but for the `failed`, in `took` seconds; gives who has left, and why."""
        batch, self._in_flight = self._in_flight, {}
        left = {key: why for key, why in batch.items() if key not in failed}
        for key in failed:
            if batch.get(key) is Departure.REVOKED:
                self._revoked[key] = None
        self._not_before = now + (RETRY if failed else REST * took)
        if took > BUSY:
            self._size = max(1, self._size // 2)
        elif took < BUSY / 2 and len(batch) == self._size:
            self._size = min(MOST, 2 * self._size)
        return left

    def next_deadline(self) -> float | None:
        """When `next_batch` has somebody, monotonic seconds; None if nobody waits or a batch is on its way."""
        if self._in_flight or not (self._revoked or self._retired):
            return None
        return self._not_before

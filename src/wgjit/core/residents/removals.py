"""The way out of the device: few at a time, at a pace that leaves the device to installs.

A removal waits for all CPUs to have let go of the peer (`synchronize_net` in `wg_peer_remove`), and holds the locks
that an install needs. So one batch is on its way at a time, on a thread, as large as fits into `BUSY`, and after it the
device rests for as long as it took.

Two kinds wait here, and have their turns one after the other. The revoked are gone as far as the core is concerned:
their allowed IPs have been taken away, they pass nothing any more. The retired are residents like any other until their
batch begins: a sign of life calls them back.
"""

from __future__ import annotations

from collections.abc import Iterable

from wgjit.core.vocabulary import Departure
from wgjit.model import PublicKey

BUSY = 0.005
"""Seconds that a batch should take at most."""

LEAST, MOST = 4, 64
"""Peers in a batch: it shrinks no further than the one, below which the call itself is what costs, and grows up to the
other."""

RETRY = 1.0
"""Seconds until a batch that the device refused is tried again."""


class Removals:
    """Who is on the way out. Constant time per peer."""

    def __init__(self) -> None:
        self._hurried: dict[PublicKey, None] = {}
        """The revoked for which a knock waits."""
        self._revoked: dict[PublicKey, None] = {}
        self._retired: dict[PublicKey, Departure] = {}
        self._fresh_until = float("-inf")
        self.ran_stale = False
        """Some of the retired had to be given up, because the look that they rest on got too old."""
        self._in_flight: dict[PublicKey, Departure] = {}
        self._size = 1
        self._not_before = float("-inf")
        self._turn = False

    def is_settled(self, key: PublicKey) -> bool:
        """Whether the peer cannot be called back: it has been revoked, or its removal is being made."""
        return key in self._revoked or key in self._hurried or key in self._in_flight

    @property
    def settled(self) -> int:
        """How many will leave, whatever comes."""
        return len(self._revoked) + len(self._hurried) + len(self._in_flight)

    @property
    def retired(self) -> int:
        """How many will leave if nobody calls them back."""
        return len(self._retired)

    @property
    def revoked(self) -> int:
        """How many are still in the device that count as residents no more."""
        in_flight = sum(why is Departure.REVOKED for why in self._in_flight.values())
        return len(self._revoked) + len(self._hurried) + in_flight

    def revoke(self, key: PublicKey) -> None:
        """The peer has to go, as soon as it can be done."""
        self._retired.pop(key, None)
        if not self.is_settled(key):
            self._revoked[key] = None

    def hurry(self, key: PublicKey) -> None:
        """A knock waits for this peer's removal: it comes before the others'."""
        if key in self._revoked:
            del self._revoked[key]
            self._hurried[key] = None

    def retire(self, departures: Iterable[tuple[PublicKey, Departure]], until: float) -> None:
        """These may go, in this order; what has not gone `until` then (monotonic) has to be looked at anew.

        Takes the place of those that were retired before.
        """
        self._retired = {key: why for key, why in departures if not self.is_settled(key)}
        self._fresh_until = until
        self.ran_stale = False

    def recall(self, key: PublicKey) -> Departure | None:
        """The peer gave a sign of life, or has changed: it stays, if its removal is not being made already.

        Gives why it would have left; None if it would not.
        """
        return self._retired.pop(key, None)

    def retire_again(self, key: PublicKey, why: Departure) -> None:
        """The sign of life was none."""
        if not self.is_settled(key):
            self._retired[key] = why

    def next_batch(self, now: float) -> tuple[PublicKey, ...]:
        """Who should be removed now; nobody while a batch is on its way, or the device rests."""
        if now >= self._fresh_until and self._retired:
            self._retired.clear()
            self.ran_stale = True
        if self._in_flight or now < self._not_before:
            return ()
        while len(self._in_flight) < self._size and (self._hurried or self._revoked or self._retired):
            self._turn = not self._turn
            if self._hurried:
                self._take(self._hurried)
            elif self._revoked and (self._turn or not self._retired):
                self._take(self._revoked)
            else:
                key = next(iter(self._retired))
                self._in_flight[key] = self._retired.pop(key)
        return tuple(self._in_flight)

    def _take(self, waiting: dict[PublicKey, None]) -> None:
        key = next(iter(waiting))
        del waiting[key]
        self._in_flight[key] = Departure.REVOKED

    def done(self, failed: frozenset[PublicKey], took: float, now: float) -> dict[PublicKey, Departure]:
        """The batch on its way has been made but for the `failed`, in `took` seconds; gives who has left, and why."""
        batch, self._in_flight = self._in_flight, {}
        left = {key: why for key, why in batch.items() if key not in failed}
        for key in failed:
            if batch.get(key) is Departure.REVOKED:
                self._revoked[key] = None
        self._not_before = now + (RETRY if failed else took)
        if took > BUSY:
            self._size = max(min(LEAST, self._size), self._size // 2)
        elif took < BUSY / 2 and len(batch) == self._size:
            self._size = min(MOST, 2 * self._size)
        return left

    def next_deadline(self) -> float | None:
        """When `next_batch` has somebody, monotonic seconds; None if nobody waits or a batch is on its way."""
        if self._in_flight or not (self._revoked or self._hurried or self._retired):
            return None
        return self._not_before

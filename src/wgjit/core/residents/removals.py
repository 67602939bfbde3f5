"""Removals: a few peers at a time, paced so that installs seldom wait.

A removal waits until all CPUs have let go of the peer (`synchronize_net` in `wg_peer_remove`), and holds the locks that
an install needs. So only one batch is removed at a time, on a thread. A batch is as large as fits into `BUSY`, and the
device then rests for as long as the batch took.

Two kinds of peers wait here, and take turns. Revoked peers, and peers that another gateway holds now, have lost their
allowed IPs and pass no packet any more; for the core they are gone. Retired peers are residents like any other until
their batch begins, and a sign of life calls them back.
"""

from __future__ import annotations

from collections.abc import Iterable

from wgjit.core.vocabulary.told import Departure
from wgjit.model import PublicKey

BUSY = 0.005
"""Most seconds that a batch should take."""

LEAST, MOST = 4, 64
"""Peers in a batch. The first batch has one peer. A batch that shrinks keeps LEAST peers, because below that the call
itself costs the most. A batch grows to MOST peers at most."""

AT_ONCE = frozenset({Departure.REVOKED, Departure.MOVED, Departure.UNANSWERED})
"""Departures of peers that have lost their allowed IPs already."""

RETRY = 1.0
"""Seconds until the device is asked again after it refused a batch."""


class Removals:
    """The peers that are to be removed. Constant time per peer."""

    def __init__(self) -> None:
        self._hurried: dict[PublicKey, Departure] = {}
        """Revoked peers for which a knock waits."""
        self._revoked: dict[PublicKey, Departure] = {}
        self._retired: dict[PublicKey, Departure] = {}
        self._fresh_until = float("-inf")
        self.ran_stale = False
        """Some retired peers were not removed in time, because the look that found them idle got too old."""
        self._in_flight: dict[PublicKey, Departure] = {}
        self._size = 1
        self._not_before = float("-inf")
        self._turn = False

    def is_settled(self, key: PublicKey) -> bool:
        """Whether the peer cannot be called back, because it is revoked or its removal is being made."""
        return key in self._revoked or key in self._hurried or key in self._in_flight

    @property
    def settled(self) -> int:
        """Number of peers that will leave in any case."""
        return len(self._revoked) + len(self._hurried) + len(self._in_flight)

    @property
    def retired(self) -> int:
        """Number of peers that will leave unless they are called back."""
        return len(self._retired)

    @property
    def revoked(self) -> int:
        """Number of revoked peers that are still in the device. They do not count as residents."""
        in_flight = sum(why in AT_ONCE for why in self._in_flight.values())
        return len(self._revoked) + len(self._hurried) + in_flight

    def revoke(self, key: PublicKey, why: Departure = Departure.REVOKED) -> None:
        """The peer has to be removed as soon as possible. `why` is one of `AT_ONCE`."""
        self._retired.pop(key, None)
        if not self.is_settled(key):
            self._revoked[key] = why

    def hurry(self, key: PublicKey) -> None:
        """A knock waits for this peer's removal, so the peer is removed before the others."""
        if key in self._revoked:
            self._hurried[key] = self._revoked.pop(key)

    def retire(self, departures: Iterable[tuple[PublicKey, Departure]], until: float) -> None:
        """These peers may be removed, in this order. After `until` (monotonic seconds) a new look is needed for the
        rest.

        Replaces the peers that were retired before.
        """
        self._retired = {key: why for key, why in departures if not self.is_settled(key)}
        self._fresh_until = until
        self.ran_stale = False

    def recall(self, key: PublicKey) -> Departure | None:
        """The peer gave a sign of life or has changed. It stays, unless its removal is being made already.

        Returns why the peer would have left; None if it was not retired.
        """
        return self._retired.pop(key, None)

    def retire_again(self, key: PublicKey, why: Departure) -> None:
        """Retire the peer again, because the sign of life was forged or old."""
        if not self.is_settled(key):
            self._retired[key] = why

    def next_batch(self, now: float) -> tuple[PublicKey, ...]:
        """The peers to remove now; empty while a batch is being removed, or the device rests."""
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
                self._take(self._retired)
        return tuple(self._in_flight)

    def _take(self, waiting: dict[PublicKey, Departure]) -> None:
        key = next(iter(waiting))
        self._in_flight[key] = waiting.pop(key)

    def done(self, failed: frozenset[PublicKey], took: float, now: float) -> dict[PublicKey, Departure]:
        """The batch has been removed in `took` seconds, except the `failed`. Return the peers that left, and why."""
        batch, self._in_flight = self._in_flight, {}
        left = {key: why for key, why in batch.items() if key not in failed}
        for key in failed:
            if (why := batch.get(key)) in AT_ONCE:
                self._revoked[key] = why
        self._not_before = now + (RETRY if failed else took)
        if took > BUSY:
            self._size = max(min(LEAST, self._size), self._size // 2)
        elif took < BUSY / 2 and len(batch) == self._size:
            self._size = min(MOST, 2 * self._size)
        return left

    def next_deadline(self) -> float | None:
        """When the next batch may begin, monotonic seconds; None if no peer waits or a batch is being removed."""
        if self._in_flight or not (self._revoked or self._hurried or self._retired):
            return None
        return self._not_before

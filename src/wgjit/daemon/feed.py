"""The feed's fan-out: every record to every listener, and a slow listener harms nobody but itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from wgjit.record import FeedRecord


class Subscription:
    """One listener's bounded queue. What does not fit is dropped and counted."""

    def __init__(self, hub: FeedHub, capacity: int) -> None:
        self._hub = hub
        self._queue: asyncio.Queue[FeedRecord] = asyncio.Queue(capacity)

    def offer(self, record: FeedRecord) -> None:
        """Put a record in, or count it as dropped."""
        try:
            self._queue.put_nowait(record)
        except asyncio.QueueFull:
            self._hub.dropped += 1

    async def __aiter__(self) -> AsyncIterator[FeedRecord]:
        while True:
            yield await self._queue.get()

    def close(self) -> None:
        """Listen no more."""
        self._hub.discard(self)


class FeedHub:
    """All listeners of one gateway."""

    def __init__(self) -> None:
        self._subscriptions: set[Subscription] = set()
        self.dropped = 0
        """Records that listeners were too slow for."""

    def __bool__(self) -> bool:
        return bool(self._subscriptions)

    def subscribe(self, capacity: int = 4096) -> Subscription:
        """Listen from now on; at most `capacity` records wait."""
        subscription = Subscription(self, capacity)
        self._subscriptions.add(subscription)
        return subscription

    def discard(self, subscription: Subscription) -> None:
        """Forget a listener; harmless if it is gone."""
        self._subscriptions.discard(subscription)

    def publish(self, record: FeedRecord) -> None:
        """Give a record to all."""
        for subscription in self._subscriptions:
            subscription.offer(record)

"""Gives every record to every listener of the feed. A slow listener harms only itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from wgjit.record import FeedRecord


class Subscription:
    """One listener's bounded queue. A record that does not fit is dropped and counted."""

    def __init__(self, hub: FeedHub, capacity: int) -> None:
        self._hub = hub
        self._queue: asyncio.Queue[FeedRecord] = asyncio.Queue(capacity)

    def offer(self, record: FeedRecord) -> None:
        """Put a record into the queue, or count it as dropped."""
        try:
            self._queue.put_nowait(record)
        except asyncio.QueueFull:
            self._hub.dropped += 1

    async def __aiter__(self) -> AsyncIterator[FeedRecord]:
        while True:
            yield await self._queue.get()

    def close(self) -> None:
        """End the subscription."""
        self._hub.discard(self)


class FeedHub:
    """All listeners of one gateway."""

    def __init__(self) -> None:
        self._subscriptions: set[Subscription] = set()
        self.dropped = 0
        """Number of records that were dropped because a listener was too slow."""

    def __bool__(self) -> bool:
        return bool(self._subscriptions)

    def subscribe(self, capacity: int = 4096) -> Subscription:
        """Add a listener; at most `capacity` records wait for it."""
        subscription = Subscription(self, capacity)
        self._subscriptions.add(subscription)
        return subscription

    def discard(self, subscription: Subscription) -> None:
        """Remove a listener. Does nothing if the listener is gone."""
        self._subscriptions.discard(subscription)

    def publish(self, record: FeedRecord) -> None:
        """Give a record to all listeners."""
        for subscription in self._subscriptions:
            subscription.offer(record)

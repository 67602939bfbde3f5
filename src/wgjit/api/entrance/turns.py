"""Limits requests at the same time, in all and for each caller. Further requests wait, and the callers take turns."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from wgjit.api.problems import Kind, Problem

PATIENCE = 10.0
"""Seconds that a request waits for its turn at most."""


class Turns:
    """Allows `most` turns at once, and `share` of them for one caller. Use it on one event loop."""

    def __init__(self, most: int, share: int) -> None:
        self._most = most
        self._share = share
        self._running: Counter[str] = Counter()
        self._total = 0
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @asynccontextmanager
    async def turn(self, caller: str) -> AsyncIterator[None]:
        """Wait for a turn of this caller, which lasts as long as the block. Raises Problem (503)."""
        await self._begin(caller)
        try:
            yield
        finally:
            self._end(caller)

    async def _begin(self, caller: str) -> None:
        if caller not in self._waiting and self._may(caller):
            self._count(caller)
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(caller, deque()).append(place)
        try:
            async with asyncio.timeout(PATIENCE):
                await place
        except BaseException as error:
            if place.done() and not place.cancelled():
                self._end(caller)  # the turn came in the moment of the timeout
            self._forget(caller, place)
            if isinstance(error, TimeoutError):
                detail = "your other requests have not come to an end, or others' have not; send fewer at once"
                raise Problem(Kind.OVERLOADED, detail, headers={"Retry-After": "5"}) from None
            raise

    def _end(self, caller: str) -> None:
        self._total -= 1
        self._running[caller] -= 1
        if not self._running[caller]:
            del self._running[caller]
        self._grant()

    def _may(self, caller: str) -> bool:
        return self._total < self._most and self._running[caller] < self._share

    def _count(self, caller: str) -> None:
        self._running[caller] += 1
        self._total += 1

    def _grant(self) -> None:
        """Give free turns to waiting requests, one turn for each caller in a round."""
        while self._total < self._most:
            caller = next((each for each in self._waiting if self._running[each] < self._share), None)
            if caller is None:
                return
            place = self._waiting[caller].popleft()
            if self._waiting[caller]:
                self._waiting.move_to_end(caller)
            else:
                del self._waiting[caller]
            if not place.done():
                self._count(caller)
                place.set_result(None)

    def _forget(self, caller: str, place: asyncio.Future[None]) -> None:
        waiting = self._waiting.get(caller)
        if waiting is not None and place in waiting:
            waiting.remove(place)
            if not waiting:
                del self._waiting[caller]

"""The registry's change log for all streams that follow it. One poll serves all streams.

Each stream has its own place in the log and reads on from there when it has sent everything before, so nothing is
buffered for a slow stream. Recent entries are kept in memory for all streams. A stream gets a Reset if the log does not
reach back to its place any more, or if the registry file was replaced.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass

import structlog
from anyio import to_thread

from wgjit.api.entrance.threads import Threads
from wgjit.api.registries import Registries
from wgjit.errors import StoreBusy, StoreError
from wgjit.model import Change

log = structlog.get_logger()

POLL = 0.25
"""Seconds between two polls of the log, while at least one stream follows it."""

_PAGE = 1000
_KEPT = 4096
"""Changes kept in memory for streams that are not far behind."""


@dataclass(frozen=True, slots=True)
class Reset:
    """Anything may have changed. The log goes on after this sequence number."""

    sequence: int


class Follower:
    """Reads the log for all streams. Use it on one event loop."""

    def __init__(self, registries: Registries, threads: Threads, poll: float = POLL) -> None:
        self._registries = registries
        self._limiter = threads.authentication
        self._poll = poll
        self._recent: deque[Change] = deque(maxlen=_KEPT)
        self._looking = asyncio.Lock()
        self._identity: bytes | None = None
        """Of the registry that `_head` is of; None before the first look."""
        self._head = 0
        self._epoch = 0
        self._moved = asyncio.Event()
        self._listeners = 0
        self._wanted = asyncio.Event()
        self._failure: StoreError | None = None

    async def head(self) -> int:
        """The sequence number of the last change. Raises StoreError."""
        return await to_thread.run_sync(self._last, limiter=self._limiter)

    async def run(self) -> None:
        """Poll the log while at least one stream follows it. Never ends by itself."""
        while True:
            await self._wanted.wait()
            try:
                await self._look()
            except StoreBusy:
                pass
            except StoreError as error:
                log.warning("the registry cannot be followed", error=str(error))
                self._failure = error
                self._wake()
            await asyncio.sleep(self._poll)

    async def follow(self, after: int) -> AsyncIterator[list[Change] | Reset]:
        """The changes after sequence number `after`, as they come. Raises StoreError if the registry cannot be read."""
        self._listeners += 1
        self._wanted.set()
        self._failure = None
        try:
            await self._look()
            at, epoch = after, self._epoch
            if at > self._head:
                at = self._head
                yield Reset(at)
            while True:
                moved = self._moved
                if self._failure is not None:
                    raise self._failure
                if epoch != self._epoch:
                    epoch, at = self._epoch, self._head
                    yield Reset(at)
                elif at < self._head:
                    page = await self._page(at)
                    if page and page[0].sequence == at + 1:
                        at = page[-1].sequence
                        yield page
                    else:
                        at = max(at, self._head)
                        yield Reset(at)
                else:
                    await moved.wait()
        finally:
            self._listeners -= 1
            if not self._listeners:
                self._wanted.clear()

    async def _page(self, after: int) -> list[Change]:
        if self._recent and self._recent[0].sequence <= after + 1 <= self._recent[-1].sequence:
            first = after + 1 - self._recent[0].sequence
            return [self._recent[index] for index in range(first, min(len(self._recent), first + _PAGE))]
        page = await to_thread.run_sync(self._read, after, limiter=self._limiter)
        for change in page:
            if not self._recent or change.sequence == self._recent[-1].sequence + 1:
                self._recent.append(change)
            elif change.sequence > self._recent[-1].sequence:
                self._recent.clear()
                self._recent.append(change)
        return page

    async def _look(self) -> None:
        """See how far the log is, and of which registry it is. One look at a time: an older one tells nothing new."""
        async with self._looking:
            head, identity = await to_thread.run_sync(self._head_and_identity, limiter=self._limiter)
            if self._identity is not None and (identity != self._identity or head < self._head):
                self._epoch += 1
                self._recent.clear()
            if head != self._head or identity != self._identity:
                self._head, self._identity = head, identity
                self._wake()

    def _wake(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()

    def _last(self) -> int:
        with self._registries.use() as registry:
            return registry.last_change()

    def _head_and_identity(self) -> tuple[int, bytes]:
        with self._registries.use() as registry:
            return registry.last_change(), registry.identity()

    def _read(self, after: int) -> list[Change]:
        with self._registries.use() as registry:
            return registry.changes(after, _PAGE)

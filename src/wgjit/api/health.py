"""Whether the registry can be read, and whether the gateway is fit to serve.

Anybody may ask this, so the registry is read and the gateway is asked only once per second for all.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from anyio import to_thread

from wgjit.api.entrance.threads import Threads
from wgjit.api.registries import Registries
from wgjit.control import asking
from wgjit.control.health import Health as Fitness

FRESH = 1.0
"""Seconds for which an answer is reused."""


class Health:
    """Checks the registry. Use it on one event loop."""

    def __init__(self, registries: Registries, threads: Threads) -> None:
        self._registries = registries
        self._limiter = threads.authentication
        self._look: asyncio.Task[None] | None = None
        self._began = 0.0

    async def check(self) -> None:
        """Raises StoreError if the registry cannot be read."""
        now = time.monotonic()
        if self._look is None or (self._look.done() and now - self._began >= FRESH):
            self._began = now
            self._look = asyncio.create_task(to_thread.run_sync(self._read, limiter=self._limiter))
            self._look.add_done_callback(_seen)
        await asyncio.shield(self._look)

    def _read(self) -> None:
        with self._registries.use() as registry:
            registry.peers.count()


class GatewayHealth:
    """Asks the gateway on this interface. Use it on one event loop."""

    def __init__(self, interface: str) -> None:
        self._interface = interface
        self._look: asyncio.Task[Fitness] | None = None
        self._began = 0.0

    async def check(self) -> Fitness:
        """The gateway's health. One that cannot be asked is unhealthy. Raises nothing."""
        now = time.monotonic()
        if self._look is None or (self._look.done() and now - self._began >= FRESH):
            self._began = now
            self._look = asyncio.create_task(asyncio.to_thread(asking.health, self._interface))
        return await asyncio.shield(self._look)


def _seen(look: asyncio.Task[None]) -> None:
    """Mark a look's error as seen. If the requests that waited for it are gone, asyncio would log it otherwise."""
    with suppress(asyncio.CancelledError):
        look.exception()

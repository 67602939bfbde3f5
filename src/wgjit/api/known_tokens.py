"""Tells a valid token by memory alone, for sources that have shown too many wrong ones.

The registry is asked for the hashes of its valid tokens at most once a second, however many requests come. So a
request of such a source costs one SHA-256 and one comparison. A valid token is always noticed: nobody else behind the
same address (NAT, a proxy) can lock it out. A token that was made a moment ago counts a second later.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Callable

from anyio import to_thread

from wgjit.api.entrance.threads import Threads
from wgjit.api.registries import Registries
from wgjit.stores import token_rules

AGE = 1.0
"""Seconds for which the hashes count."""


class KnownTokens:
    """The hashes of the valid tokens of one registry. Use it on one event loop."""

    def __init__(self, registries: Registries, threads: Threads, clock: Callable[[], float] = time.monotonic) -> None:
        self._registries = registries
        self._threads = threads
        self._clock = clock
        self._hashes: dict[str, bytes] = {}
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()

    async def has(self, text: str) -> bool:
        """Whether this is the text of a token that is valid, or was within the last second. Raises StoreError."""
        parsed = token_rules.parse(text)
        if parsed is None:
            return False
        if self._clock() - self._read_at >= AGE:
            await self._read()
        number, shown = parsed
        known = self._hashes.get(number)
        return known is not None and hmac.compare_digest(known, shown)

    async def _read(self) -> None:
        async with self._reading:
            if self._clock() - self._read_at < AGE:
                return  # another request has read them meanwhile
            began = self._clock()
            self._hashes = await to_thread.run_sync(self._ask, limiter=self._threads.authentication)
            self._read_at = began

    def _ask(self) -> dict[str, bytes]:
        with self._registries.use() as registry:
            return registry.tokens.hashes(time.time())

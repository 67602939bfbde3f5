"""Checks a request's token again while the request lasts. Without a valid token, its body, answer or stream ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from anyio import to_thread

from wgjit.api.caller import Caller
from wgjit.api.entrance.threads import Threads
from wgjit.api.problems import Kind, Problem
from wgjit.errors import StoreError

LOOK = 0.5
"""Seconds between two checks of the tokens. If the registry cannot be read, the next check asks again."""

GRACE = 0.5
"""Seconds for a request to end in order. After that the connection is cut, because its client may not be reading."""


def over_problem() -> Problem:
    """The problem of a token that was revoked or expired during its request."""
    return Problem(
        Kind.UNAUTHENTICATED,
        "the token was revoked or has expired while the request went on",
        headers={"WWW-Authenticate": 'Bearer error="invalid_token"', "Connection": "close"},
    )


class Tenure:
    """The running requests and their callers. Use it on one event loop."""

    def __init__(self, threads: Threads) -> None:
        self._threads = threads
        self._held: dict[asyncio.Event, tuple[Caller, Callable[[], None] | None]] = {}

    @contextmanager
    def hold(self, caller: Caller, cut: Callable[[], None] | None = None) -> Iterator[asyncio.Event]:
        """An event that is set when this caller's token becomes invalid. `cut` cuts the connection."""
        over = asyncio.Event()
        self._held[over] = caller, cut
        try:
            yield over
        finally:
            del self._held[over]

    async def watch(self) -> None:
        """Check the callers' tokens again and again. Never ends by itself."""
        while True:
            await asyncio.sleep(LOOK)
            checks = {caller.author.actor: caller.is_valid for caller, _ in self._held.values() if not caller.is_local}
            if not checks:
                continue
            gone = await to_thread.run_sync(_invalid, checks, limiter=self._threads.authentication)
            for over, (caller, _) in self._held.items():
                if caller.author.actor in gone and not over.is_set():
                    over.set()
                    asyncio.get_running_loop().call_later(GRACE, self._cut, over)

    def _cut(self, over: asyncio.Event) -> None:
        _, cut = self._held.get(over, (None, None))
        if cut is not None:
            cut()


def _invalid(checks: dict[str, Callable[[], bool]]) -> set[str]:
    gone = set()
    for actor, is_valid in checks.items():
        with suppress(StoreError):
            if not is_valid():
                gone.add(actor)
    return gone

"""Reads a request's body within time limits: a body has a deadline, and an import has a least rate.

A body also ends when its caller's token is revoked or expires. The event loop waits for bodies, so no thread is held.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from wgjit.api.entrance.tenure import over_problem
from wgjit.api.problems import Kind, Problem

BODY_TIME = 30.0
"""Seconds in which a whole body has to arrive or, of an import, `IMPORT_LEAST` bytes."""

IMPORT_LEAST = 1 << 14
"""Bytes of an import that have to arrive in each `BODY_TIME`, unless the import ends."""


async def whole_body(receive: Any, over: asyncio.Event, most: int, too_large: Callable[[], Problem]) -> bytes:
    """The whole body. Raises Problem: 401 (revoked meanwhile), 408, 413, 400 (broken off)."""
    body = bytearray()
    end = time.monotonic() + BODY_TIME
    while True:
        message = await _until(receive, over, end - time.monotonic())
        body += message.get("body", b"")
        if len(body) > most:
            raise too_large()
        if not message.get("more_body"):
            return bytes(body)


class Paced:
    """Gives a body part by part. Only the time spent waiting for the sender counts."""

    def __init__(self, receive: Any, over: asyncio.Event) -> None:
        self._receive = receive
        self._over = over
        self._is_over = False
        self._waited = 0.0
        self._came = 0

    async def __call__(self) -> Any:
        """The next message. Raises Problem: 401 (revoked meanwhile), 408, 400 (broken off)."""
        if self._is_over:
            return await self._receive()
        began = time.monotonic()
        message = await _until(self._receive, self._over, BODY_TIME - self._waited)
        self._waited += time.monotonic() - began
        self._came += len(message.get("body", b""))
        self._is_over = not message.get("more_body")
        if self._came >= IMPORT_LEAST:
            self._came, self._waited = 0, 0.0
        return message


async def _until(receive: Any, over: asyncio.Event, patience: float) -> Any:
    """The next part of a body. Raises Problem if it is late, or if the sender's token is no longer valid."""
    if over.is_set():
        raise over_problem()
    coming, ended = asyncio.ensure_future(receive()), asyncio.ensure_future(over.wait())
    try:
        await asyncio.wait({coming, ended}, timeout=max(0.0, patience), return_when=asyncio.FIRST_COMPLETED)
        if not coming.done():
            raise over_problem() if ended.done() else _too_slow()
        message = coming.result()
    finally:
        for each in (coming, ended):
            each.cancel()
    if message["type"] != "http.request":
        raise Problem(Kind.MALFORMED, "the body broke off")
    return message


def _too_slow() -> Problem:
    detail = f"the body did not come within {BODY_TIME:g} s (of an import, {IMPORT_LEAST} bytes of it in each)"
    return Problem(Kind.TOO_SLOW, detail, headers={"Connection": "close"})

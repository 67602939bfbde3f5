"""The stream of events (server-sent events) by which a remote registry reports changes.

| event              | data                     | meaning                                                  |
| ------------------ | ------------------------ | -------------------------------------------------------- |
| `open`             | none needed              | the stream begins; `id` is the place where it begins     |
| `updated`, `added` | {"public_key": base64}   | ask again for this key                                   |
| `removed`          | {"public_key": base64}   | there is no such peer any more                           |
| `reset`            | none needed              | events were lost: anything may have changed              |

A connection that breaks is made again with the last event's `id` (Last-Event-ID). This happens after 0.5 to 30 s,
longer after each failure, and at random, so that a fleet does not reconnect at once. Without an `id` to go on from,
anything may have changed. A stream that is silent for 60 s, without even a comment, counts as dead.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable
from enum import Enum
from typing import Protocol

import httpx
from httpx_sse import EventSource, ServerSentEvent, SSEError

from wgjit.errors import InvalidValue, StoreUnreachable
from wgjit.model import PublicKey
from wgjit.stores.remote.answer import retry_after
from wgjit.stores.remote.client import RegistryClient

SHORTEST, LONGEST = 0.5, 30.0
"""Seconds until a broken stream is opened again."""

ABSENT = frozenset({404, 405, 501})
"""Status codes of a service that has no event stream."""

SELDOM = 600.0
"""Seconds until such a service is asked for the stream again."""


class Following(Enum):
    """The state of the stream."""

    NO = "no"
    YES = "yes"
    NOT_OFFERED = "not offered"
    BROKEN = "broken"


class Listener(Protocol):
    """Receives the events. Called on the stream's event loop."""

    def changed(self, key: PublicKey) -> None:
        """This peer was added or updated."""

    def removed(self, key: PublicKey) -> None:
        """This peer was removed."""

    def all_may_have_changed(self) -> None:
        """Events were missed."""

    def stream_opened(self) -> None:
        """The service can be reached."""

    def heard(self, last_id: str) -> None:
        """All events up to this one were reported."""

    def stream_failed(self, error: StoreUnreachable) -> None:
        """The stream ended, or could not be opened."""


class Backoff:
    """The time to wait before the next try, seconds. Pure except for the dice."""

    def __init__(self, dice: Callable[[], float] = random.random) -> None:
        """`dice` gives numbers from 0 to 1."""
        self._dice = dice
        self._next = SHORTEST

    def failed(self, least: float | None = None) -> float:
        """Note a failure. `least`: seconds that the service asked for. Returns the seconds to wait."""
        wait, self._next = self._next, min(LONGEST, 2 * self._next)
        wait *= 0.5 + 0.5 * self._dice()
        return wait if least is None else max(wait, min(least, SELDOM))

    def succeeded(self) -> None:
        """Note a success: the next failure counts as the first again."""
        self._next = SHORTEST


class EventStream:
    """Follows the stream of one service until `run` is cancelled."""

    def __init__(self, client: RegistryClient, listener: Listener, last_id: str | None) -> None:
        """`last_id`: the id of the last event that was heard before; None if it is not known."""
        self._client = client
        self._listener = listener
        self._last_id = last_id
        self._backoff = Backoff()
        self.following = Following.NO

    async def run(self) -> None:
        """Follow the stream, and connect again whenever it breaks."""
        while True:
            wait = await self._once()
            await asyncio.sleep(wait)

    async def _once(self) -> float:
        """Follow one connection to its end. Returns the seconds to wait before the next."""
        least: float | None = None
        try:
            async with self._client.events(self._last_id) as response:
                if response.status_code in ABSENT and self._last_id is None:  # else it had a stream before
                    self.following = Following.NOT_OFFERED
                    return SELDOM
                if response.status_code != 200:
                    least = retry_after(response.headers, time.time())
                    if response.status_code == 401:
                        self._client.read_token_again()
                    raise StoreUnreachable(f"store.url: the stream of events: status {response.status_code}")
                async for event in EventSource(response).aiter_sse():
                    self._hear(event)
            failure = StoreUnreachable("store.url: the service ended the stream of events")
        except (httpx.HTTPError, httpx.StreamError, OSError) as error:
            failure = self._client.explain(error)
        except SSEError:
            failure = StoreUnreachable("store.url: the stream of events is not text/event-stream")
        except StoreUnreachable as error:
            failure = error
        self.following = Following.BROKEN
        self._listener.stream_failed(failure)
        return self._backoff.failed(least)

    def _hear(self, event: ServerSentEvent) -> None:
        match event.event:
            case "open":
                self._backoff.succeeded()
                self._listener.stream_opened()
                if self._last_id is None:
                    self._listener.all_may_have_changed()
                self.following = Following.YES  # set this only when older answers no longer count as fresh
                if self._last_id is not None:
                    return  # the missed events follow; `id` is where they will end
            case "updated" | "added" | "removed":
                if (key := _key(event.data)) is None:
                    self._listener.all_may_have_changed()
                elif event.event == "removed":
                    self._listener.removed(key)
                else:
                    self._listener.changed(key)
            case "reset":
                self._listener.all_may_have_changed()
            case _:
                return
        self._last_id = event.id or None
        if event.id:
            self._listener.heard(event.id)


def _key(data: str) -> PublicKey | None:
    try:
        return PublicKey.parse(json.loads(data)["public_key"])
    except (ValueError, TypeError, KeyError, InvalidValue, RecursionError):
        return None

"""Event streams: `/v1/feed` and `/v1/changes` as server-sent events.

A stream ends when its client goes, reads too slowly, when its token is revoked or expires, and when the server ends.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from typing import Annotated, Any, TypeVar

from anyio import to_thread
from fastapi import FastAPI, Header, Query, Request
from sse_starlette.event import ServerSentEvent
from sse_starlette.sse import EventSourceResponse

from wgjit.api.caller import Caller
from wgjit.api.changes import Reset
from wgjit.api.problems import Kind, Problem, invalid
from wgjit.errors import StoreError
from wgjit.feed import listen

MOST = 256
"""Streams at once."""

PING = 15
"""Seconds between comments that keep a stream's connection open."""

PATIENCE = 20.0
"""Seconds for which a client may take nothing of what is sent."""

LOOK = 1.0
"""Seconds between two looks whether the callers of streams still may."""

T = TypeVar("T")


class Streams:
    """The streams that are open."""

    def __init__(self) -> None:
        self._open: dict[asyncio.Event, Caller] = {}
        self._ending = False

    @contextmanager
    def open(self, caller: Caller) -> Iterator[asyncio.Event]:
        """An event that is set when this caller's stream is to end."""
        over = asyncio.Event()
        if self._ending:
            over.set()
        self._open[over] = caller
        try:
            yield over
        finally:
            del self._open[over]

    def check_room(self) -> None:
        """Raise Problem if there are too many already."""
        if len(self._open) >= MOST:
            raise Problem(Kind.OVERLOADED, f"{MOST} streams are open", headers={"Retry-After": "5"})

    def end(self) -> None:
        """End all of them, and those to come."""
        self._ending = True
        for over in self._open:
            over.set()

    async def watch(self) -> None:
        """End the streams of those who may not any more; never ends by itself."""
        while True:
            await asyncio.sleep(LOOK)
            for over, caller in list(self._open.items()):
                with suppress(StoreError):  # who cannot be checked now is checked at the next look
                    if not await to_thread.run_sync(caller.is_valid):
                        over.set()


async def until(over: asyncio.Event, source: AsyncIterator[T]) -> AsyncIterator[T]:
    """What comes of a source, until it ends or the event is set."""
    ended = asyncio.ensure_future(over.wait())
    following: asyncio.Future[T] | None = None
    try:
        while True:
            following = asyncio.ensure_future(anext(source))
            await asyncio.wait({following, ended}, return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                return
            try:
                yield following.result()
            except StopAsyncIteration:
                return
    finally:
        ended.cancel()
        if following is not None and not following.done():
            following.cancel()
            with suppress(asyncio.CancelledError, StopAsyncIteration, Exception):
                await following
        if (close := getattr(source, "aclose", None)) is not None:
            await close()


def add_routes(app: FastAPI) -> None:
    """The routes of this file."""

    @app.get("/v1/feed", tags=["streams"], summary="Follow the gateway's feed", responses=_STREAM)
    async def feed(request: Request) -> EventSourceResponse:
        """Every initiation that the gateway sees from now on: `event: initiation`, data as docs/FEED.md tells."""
        service = request.app.state.service
        service.streams.check_room()
        records = await listen(service.interface)

        async def events() -> AsyncIterator[ServerSentEvent]:
            with service.streams.open(request.scope["wgjit.caller"]) as over:
                yield ServerSentEvent(comment="open")
                async for record in until(over, records):
                    yield ServerSentEvent(json.dumps(record.as_dict()), event="initiation")

        return stream(events())

    @app.get("/v1/changes", tags=["streams"], summary="Follow the registry's changes", responses=_STREAM)
    async def changes(
        request: Request,
        after: Annotated[int | None, Query(ge=0, le=2**63 - 1, description="Resume behind this sequence.")] = None,
        last_event_id: Annotated[str | None, Header(description="The same, as a browser says it.")] = None,
    ) -> EventSourceResponse:
        """`open` (where the stream begins), then `updated` and `removed`, each with the peer's key and a sequence
        number as its id. `reset`: the log has lost your place, so anything may have changed."""
        service = request.app.state.service
        service.streams.check_room()
        if last_event_id is not None:
            if not (last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) <= 18):
                raise invalid("Last-Event-ID: give the id of an event of this stream", "Last-Event-ID")
            after = int(last_event_id)
        head = await service.follower.head()
        start = head if after is None else after

        async def events() -> AsyncIterator[ServerSentEvent]:
            with service.streams.open(request.scope["wgjit.caller"]) as over:
                yield _event("open", min(start, head), {"sequence": head})
                with suppress(StoreError):  # the stream ends; who comes again is told why
                    async for page in until(over, service.follower.follow(start)):
                        if isinstance(page, Reset):
                            yield _event("reset", page.sequence, {"sequence": page.sequence})
                            continue
                        for change in page:
                            data = {"public_key": str(change.public_key), "sequence": change.sequence}
                            yield _event(change.kind.value, change.sequence, data)

        return stream(events())


def _event(kind: str, number: int, data: dict[str, Any]) -> ServerSentEvent:
    return ServerSentEvent(json.dumps(data), event=kind, id=str(number))


def stream(events: AsyncIterator[Any], patience: float = PATIENCE) -> EventSourceResponse:
    """The answer that sends events, as long as its client takes them."""
    return EventSourceResponse(
        events,
        ping=PING,
        sep="\n",
        send_timeout=patience,
        ping_message_factory=lambda: ServerSentEvent(comment="ping"),
    )


_STREAM: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}, "description": "An event stream."}
}

"""Event streams: `/v1/feed` and `/v1/changes` as server-sent events.

A stream ends when its client leaves or reads too slowly, when its token is revoked or expires, or when the server ends.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Annotated, Any, TypeVar

from fastapi import Header, Query, Request
from sse_starlette.event import ServerSentEvent
from sse_starlette.sse import EventSourceResponse

from wgjit.api.caller import Caller
from wgjit.api.changes import Reset
from wgjit.api.entrance.quota import Quota
from wgjit.api.problems import invalid
from wgjit.api.routes.declared import Routes
from wgjit.control.client import listen
from wgjit.errors import StoreError
from wgjit.stores.entries import Scope

MOST = 256
"""Streams at once."""

SHARE = 32
"""Streams of one caller that is not a gateway."""

GATEWAY_SHARE = 128
"""Streams of one token of scope `gateway`. The number is higher, because all gateways of a fleet may use one token."""

KEPT = 128
"""Of MOST, the streams that only gateways and the Unix socket get."""

PING = 15
"""Seconds between the comments that keep a stream's connection open."""

PATIENCE = 20.0
"""Seconds after which a stream ends if its client reads nothing."""

T = TypeVar("T")


class Streams:
    """The open streams."""

    def __init__(self) -> None:
        self.quota = Quota("streams", MOST, KEPT)
        self._open: set[asyncio.Event] = set()
        self._ending = False

    @contextmanager
    def open(self, caller: Caller, over: asyncio.Event) -> Iterator[None]:
        """A place for a stream of this caller. `over` is set when the stream has to end. Raises Problem (503)."""
        is_gateway = caller.scope is Scope.GATEWAY
        with self.quota.place(
            caller.author.actor, GATEWAY_SHARE if is_gateway else SHARE, comes_first=is_gateway or caller.is_local
        ):
            if self._ending:
                over.set()
            self._open.add(over)
            try:
                yield
            finally:
                self._open.discard(over)

    def end(self) -> None:
        """End all streams, and each stream that is opened later."""
        self._ending = True
        for over in self._open:
            over.set()


async def until(over: asyncio.Event, source: AsyncIterator[T]) -> AsyncIterator[T]:
    """The items of a source, until the source ends or the event is set."""
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


_STREAM: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}, "description": "An event stream."}
}

routes = Routes("streams")


@routes.get(
    "/v1/feed",
    scope=Scope.READ,
    summary="Follow the gateway's feed",
    responses=_STREAM,
)
async def feed(request: Request) -> EventSourceResponse:
    """Every initiation that the gateway sees from now on, as `event: initiation`. docs/FEED.md describes its data."""
    service, over = request.app.state.service, request.scope["wgjit.over"]
    with ExitStack() as place:
        place.enter_context(service.streams.open(request.scope["wgjit.caller"], over))
        records = await listen(service.interface)

        async def events() -> AsyncIterator[ServerSentEvent]:
            yield ServerSentEvent(comment="open")
            async for record in until(over, records):
                yield ServerSentEvent(json.dumps(record.as_dict()), event="initiation")

        return stream(events(), place.pop_all())


@routes.get(
    "/v1/changes",
    scope=Scope.READ,
    summary="Follow the registry's changes",
    responses=_STREAM,
)
async def changes(
    request: Request,
    after: Annotated[int | None, Query(ge=0, le=2**63 - 1, description="Resume after this sequence number.")] = None,
    last_event_id: Annotated[str | None, Header(description="The same as `after`, as a browser sends it.")] = None,
) -> EventSourceResponse:
    """The first event is `open`: where the stream begins. Then come `updated` and `removed`, each with the peer's key
    and a sequence number as its id. `reset` means that the log does not reach back to your place any more, so anything
    may have changed."""
    service, over = request.app.state.service, request.scope["wgjit.over"]
    if last_event_id is not None:
        if not (last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) <= 18):
            raise invalid("Last-Event-ID: give the id of an event of this stream", "Last-Event-ID")
        after = int(last_event_id)
    with ExitStack() as place:
        place.enter_context(service.streams.open(request.scope["wgjit.caller"], over))
        head = await service.follower.head()
        start = head if after is None else after

        async def events() -> AsyncIterator[ServerSentEvent]:
            yield _event("open", min(start, head), {"sequence": head})
            with suppress(StoreError):  # the stream ends, and the client's next request gets the error
                async for page in until(over, service.follower.follow(start)):
                    if isinstance(page, Reset):
                        yield _event("reset", page.sequence, {"sequence": page.sequence})
                        continue
                    for change in page:
                        if over.is_set():
                            return
                        data = {"public_key": str(change.public_key), "sequence": change.sequence}
                        yield _event(change.kind.value, change.sequence, data)

        return stream(events(), place.pop_all())


def _event(kind: str, number: int, data: dict[str, Any]) -> ServerSentEvent:
    return ServerSentEvent(json.dumps(data), event=kind, id=str(number))


class _Kept(EventSourceResponse):
    """A stream's answer. It holds the stream's place until the stream ends."""

    def __init__(self, place: ExitStack, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._place = place

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        with self._place:
            await super().__call__(scope, receive, send)


def stream(events: AsyncIterator[Any], place: ExitStack, patience: float = PATIENCE) -> EventSourceResponse:
    """The answer that sends events as long as its client reads them. `place` is closed at the end."""
    return _Kept(
        place,
        events,
        ping=PING,
        sep="\n",
        send_timeout=patience,
        ping_message_factory=lambda: ServerSentEvent(comment="ping"),
    )

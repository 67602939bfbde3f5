"""Import and export of many peers, as a stream of JSON lines. No file is ever in memory as a whole."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

from anyio import to_thread
from fastapi import Query, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive

from wgjit.api.caller import Caller
from wgjit.api.routes import bodies
from wgjit.api.routes.answers import CallerOf, Key, ServiceOf, answer, fingerprint, replay
from wgjit.api.routes.declared import Routes
from wgjit.api.routes.importing import Import
from wgjit.api.routes.peers import Wanted
from wgjit.api.service import IMPORT_SHARE, Service
from wgjit.stores.entries import Filter, Scope
from wgjit.stores.peer_json import to_fields

LINES = "application/x-ndjson"

_EXAMPLE = json.dumps({"public_key": bodies.KEY, "name": "office", "allowed_ips": ["10.8.0.2/32"]}) + "\n"
_TEXT: dict[str, Any] = {LINES: {"schema": {"type": "string"}, "example": _EXAMPLE}}


routes = Routes("peers")
"""Add these before the routes with `{peer}` in their paths."""


@routes.post(
    "/v1/peers/import",
    scope=Scope.WRITE,
    summary="Register many peers",
    responses={200: {"model": bodies.Imported}},
    openapi_extra={"requestBody": {"required": True, "content": _TEXT}},
)
async def import_(
    request: Request,
    service: ServiceOf,
    caller: CallerOf,
    key: Key,
    skip_bad: Annotated[bool, Query(description="Leave out bad lines and register the rest.")] = False,
    batch: Annotated[
        int, Query(ge=0, le=100_000_000, description="Peers in a batch, which is all or nothing. 0: all peers at once.")
    ] = 0,
    update: Annotated[
        bool, Query(description="Give peers that are registered already the lines' names and labels.")
    ] = False,
) -> Response:
    """The body has one peer per line, with the fields of an export. Without `skip_bad`, a bad line ends the import, no
    peer of its batch is registered, and the problem names the first 20 bad lines. A peer that is registered already
    with exactly these values counts as present, so an import may be repeated."""
    with service.imports.place(caller.author.actor, IMPORT_SHARE, comes_first=caller.is_local):
        mark = hashlib.sha256(fingerprint(request, b""))
        work = Import(
            service.registries, service.threads.imports, caller, skip_bad, batch, update=update, own=service.own
        )
        if key is not None and (before := await work.answered(key)):
            async for part in _parts(request.receive):
                mark.update(part)
            return replay(before, mark.digest())
        async with work:
            async for part in _parts(request.receive):
                mark.update(part)
                await work.take(part)
            return answer(await work.finish(key, mark.digest()))


async def _parts(receive: Receive) -> AsyncIterator[bytes]:
    """A body's parts. Raises Problem if the sender leaves or is too slow, or if its token is revoked meanwhile."""
    more = True
    while more:
        message = await receive()
        yield message.get("body", b"")
        more = message.get("more_body", False)


@routes.get(
    "/v1/peers/export",
    scope=Scope.READ,
    summary="All peers, or all that fit",
    response_class=StreamingResponse,
    responses={200: {"content": _TEXT, "description": "One peer per line."}},
)
async def export(
    service: ServiceOf,
    caller: CallerOf,
    wanted: Wanted,
    preshared_keys: Annotated[bool, Query(description="Include preshared keys. Needs scope admin or gateway.")] = False,
) -> StreamingResponse:
    """The same lines that `wgjit peer export` writes, and that an import reads."""
    if preshared_keys:
        caller.need(Scope.GATEWAY)
    lines = _lines(service, caller, wanted, preshared_keys)
    first = await anext(lines)  # an answer that has begun cannot tell any more that the registry fails
    headers = {"Cache-Control": "no-store"}
    return StreamingResponse(_again(first, lines), headers=headers, media_type=LINES)


async def _again(first: str, rest: AsyncIterator[str]) -> AsyncIterator[str]:
    yield first
    async for text in rest:
        yield text


async def _lines(service: Service, caller: Caller, wanted: Filter, preshared_keys: bool) -> AsyncIterator[str]:
    """The lines, a page at a time, also if there are none. If the registry fails in between, the answer breaks off."""

    def read(after: str | None) -> tuple[str, str | None]:
        with service.registries.use() as registry:
            page = registry.peers.page(wanted, 1000, after)
        lines = (json.dumps(to_fields(entry, preshared_keys=preshared_keys)) + "\n" for entry in page.entries)
        return "".join(lines), page.cursor

    after: str | None = None
    while True:
        async with service.threads.reading.turn(caller.author.actor):
            text, after = await to_thread.run_sync(read, after)
        yield text
        if after is None:
            return

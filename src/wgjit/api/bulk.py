"""Many peers at once, as lines of JSON, streamed: neither way is a file in memory as a whole."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from typing import Annotated, Any

from anyio import from_thread, to_thread
from fastapi import FastAPI, Query, Request
from starlette.responses import Response, StreamingResponse

from wgjit.api import bodies
from wgjit.api.answers import CallerOf, Key, ServiceOf, answer, fingerprint, replay
from wgjit.api.caller import Caller
from wgjit.api.peers import Wanted
from wgjit.api.problems import Kind, Problem
from wgjit.api.service import Service
from wgjit.errors import InvalidValue
from wgjit.management import imports, peer_readers
from wgjit.management.fields import to_fields
from wgjit.management.peer_readers import Format
from wgjit.stores.bulk import Loaded
from wgjit.stores.idempotency import Answer
from wgjit.stores.listing import Filter
from wgjit.stores.tokens import Scope

LINES = "application/x-ndjson"

_TOLD = 1000
"""Bad lines in an answer; the rest is counted."""

_EXAMPLE = json.dumps({"public_key": bodies.KEY, "name": "office", "allowed_ips": ["10.8.0.2/32"]}) + "\n"
_TEXT: dict[str, Any] = {LINES: {"schema": {"type": "string"}, "example": _EXAMPLE}}


def add_routes(app: FastAPI) -> None:
    """The routes of this file. Before those with `{peer}` in the path."""
    app.post(
        "/v1/peers/import",
        tags=["peers"],
        summary="Register many peers",
        responses={200: {"model": bodies.Imported}},
        openapi_extra={"requestBody": {"required": True, "content": _TEXT}},
    )(import_)
    app.get(
        "/v1/peers/export",
        tags=["peers"],
        summary="All peers, or all that fit",
        response_class=StreamingResponse,
        responses={200: {"content": _TEXT, "description": "A peer a line."}},
    )(export)


async def import_(
    request: Request,
    service: ServiceOf,
    caller: CallerOf,
    key: Key,
    skip_bad: Annotated[bool, Query(description="Leave bad lines out and register the rest.")] = False,
    batch: Annotated[int, Query(ge=0, le=100_000_000, description="All or nothing by so many; 0: by all.")] = 0,
) -> Response:
    """A peer a line, with the fields of an export. Without `skip_bad` the first bad line ends it, and nothing of its
    batch is registered. Who is registered with these very values counts as present, so it may be sent again."""
    mark = hashlib.sha256(fingerprint(request, b""))
    body = _Body(request.receive, mark)
    return await to_thread.run_sync(_import, service, caller, key, skip_bad, batch, body, mark)


def _import(
    service: Service, caller: Caller, key: str | None, skip_bad: bool, batch: int, body: _Body, mark: Any
) -> Response:
    told = _Told(skip_bad)
    with service.registries.use() as registry:
        if key is not None and (before := registry.answer(key, by=caller.author)):
            body.drain()
            return replay(before, mark.digest())
        try:
            with registry.load(by=caller.author) as load:
                chunks = peer_readers.read(io.BufferedReader(body, 1 << 20), Format.JSONL)
                imports.register(chunks, load, batch, "HTTP API", imports.Teller(told.refused, told.loaded))
        except InvalidValue as error:  # what makes the rest unreadable: an endless line
            raise told.problem(None, str(error)) from None
        body.drain()
        content = told.content()
        if key is not None:
            kept = Answer(mark.digest(), 200, json.dumps(content).encode())
            registry.keep_answer(key, kept, by=caller.author)
    return answer(content)


class _Body(io.RawIOBase):
    """A request's body as a file, for a thread."""

    def __init__(self, receive: Any, mark: Any) -> None:
        self._receive = receive
        self._mark = mark
        self._rest = memoryview(b"")
        self._more = True

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Raises Problem if the sender goes or is too slow."""
        while not self._rest and self._more:
            message = from_thread.run(self._receive)
            if message["type"] != "http.request":
                raise Problem(Kind.MALFORMED, "the body broke off")
            self._rest, self._more = memoryview(message.get("body", b"")), message.get("more_body", False)
            self._mark.update(self._rest)
        part = self._rest[: len(buffer)]
        self._rest = self._rest[len(part) :]
        buffer[: len(part)] = part
        return len(part)

    def drain(self) -> None:
        """Take what is left, for its fingerprint."""
        while self.readinto(bytearray(1 << 16)):
            pass


class _Told:
    """What an import told so far."""

    def __init__(self, skip: bool) -> None:
        self._skip = skip
        self._counts = {"added": 0, "present": 0, "refused": 0}
        self._bad: list[dict[str, Any]] = []

    def loaded(self, batch: Loaded) -> None:
        """A batch is through; `refused` counts lines, and was told each of them."""
        self._counts["added"] += batch.added
        self._counts["present"] += batch.present

    def refused(self, line: int, what: object) -> None:
        """Raises Problem unless bad lines are skipped."""
        if not self._skip:
            raise self.problem(line, str(what))
        self._counts["refused"] += 1
        if len(self._bad) < _TOLD:
            self._bad.append({"line": line, "detail": str(what)})

    def problem(self, line: int | None, text: str) -> Problem:
        """What ends the import."""
        before = self._counts["added"] + self._counts["present"]
        after = f"{before} peers of the batches before are registered" if before else "nothing was registered"
        where = "body" if line is None else f"line {line}"
        return Problem(Kind.INVALID, f"{where}: {text}; {after}", [(where, text)], more=self._counts)

    def content(self) -> dict[str, Any]:
        """The answer."""
        return self._counts | {"bad": self._bad}


def export(
    service: ServiceOf,
    caller: CallerOf,
    wanted: Wanted,
    preshared_keys: Annotated[bool, Query(description="With them; scope admin or gateway.")] = False,
) -> StreamingResponse:
    """As `wgjit peer export` writes it and an import reads it."""
    if preshared_keys:
        caller.need(Scope.GATEWAY)
    headers = {"Cache-Control": "no-store"}
    return StreamingResponse(_lines(service, wanted, preshared_keys), headers=headers, media_type=LINES)


def _lines(service: Service, wanted: Filter, preshared_keys: bool) -> Iterator[str]:
    """A page of lines at a time; a registry that fails in between breaks the answer off."""
    after: str | None = None
    while True:
        with service.registries.use() as registry:
            page = registry.page(wanted, 1000, after)
        yield "".join(json.dumps(to_fields(entry, preshared_keys=preshared_keys)) + "\n" for entry in page.entries)
        if page.cursor is None:
            return
        after = page.cursor

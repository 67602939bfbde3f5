"""Checks and limits around each request: the caller is known and the body is read before the route runs.

Order of the checks: the caller (401, 429), the scope (403), the body's type (415), the caller's turn (503), the body's
size (413) and pace (408). Only an import streams its body into its route. Every other body is read as a whole first, so
that no handler waits for a slow sender. A caller may have a limited number of requests at once, each counted from the
body's first byte until the client has taken the answer's last. On threads, a caller may have fewer.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from email.message import Message as HeaderMessage
from typing import Any

from wgjit.api.caller import Caller, Gatekeeper
from wgjit.api.entrance.pace import Paced, whole_body
from wgjit.api.entrance.scopes import OPEN, Scopes
from wgjit.api.entrance.segments import decoded_path
from wgjit.api.entrance.tenure import Tenure, over_problem
from wgjit.api.entrance.threads import Threads
from wgjit.api.entrance.turns import Turns
from wgjit.api.problems import Kind, Problem, internal, unusable
from wgjit.errors import StoreError

BODY = 1 << 18
"""Bytes of a body at most, except of an import. The largest possible peer fits."""

UNDER_WAY, SHARE = 128, 8
"""Requests at once, in all and of one caller."""

IMPORT = "/v1/peers/import"
STREAMS = ("/v1/feed", "/v1/changes")
"""Paths that have quotas of their own."""

_NO_THREAD = ("/v1/status", "/v1/gateway/drain", "/v1/peers/export")
"""Paths that take no turn on a thread: the first two ask the gateway, and export takes a turn for each page."""

_JSON = ("application/json", "application/merge-patch+json")
_LINES = ("application/x-ndjson", "application/jsonl", "application/json-seq")


class Gate:
    """The outermost ASGI middleware."""

    def __init__(self, app: Any, scopes: Scopes, gatekeeper: Gatekeeper, threads: Threads, tenure: Tenure) -> None:
        self._app = app
        self._scopes = scopes
        self._gatekeeper = gatekeeper
        self._threads = threads
        self._tenure = tenure
        self._under_way = Turns(UNDER_WAY, SHARE)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        begun = False

        async def sending(message: Any) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._serve(scope, receive, sending)
        except Problem as problem:
            if begun:
                raise
            await problem.response()(scope, receive, send)
        except Exception as error:
            if scope.get("wgjit.told"):
                return
            answer = internal(error)
            if begun:  # a begun answer cannot be replaced; the connection is cut before the answer's end
                raise
            await answer.response()(scope, receive, send)

    async def _serve(self, scope: Any, receive: Any, send: Any) -> None:
        """Check a request and pass it to the application. Raises Problem."""
        scope["path"] = path = decoded_path(scope["raw_path"])
        needed = self._scopes.of(scope)
        if needed == OPEN:
            await self._app(scope, _Replay(b"", receive), send)  # anybody may ask, so the body is not read
            return
        try:
            caller = await self._gatekeeper.admit(scope)
        except StoreError as error:  # nobody knows yet who asks
            raise unusable(error) from None
        if needed is not None:
            caller.need(needed)
        scope["wgjit.caller"] = caller
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        if scope["method"] in ("POST", "PATCH", "PUT"):
            _check_type(path, headers)
        state = scope.get("state", {})
        with self._tenure.hold(caller, state.get("cut")) as over:
            scope["wgjit.over"] = over
            if path == IMPORT and scope["method"] == "POST":
                await self._app(scope, Paced(receive, over), send)
                return
            if (length := headers.get(b"content-length")) and int(length) > BODY:
                raise _too_large()
            if path in STREAMS:
                await self._app(scope, _Replay(b"", receive), send)
                return
            async with self._under_way.turn(caller.author.actor):
                body = await whole_body(receive, over, BODY, _too_large) if _has_body(headers) else b""
                await self._take_turn(scope, _Replay(body, receive), send, caller, over)
                if (drained := state.get("drained")) is not None:
                    await drained()

    async def _take_turn(self, scope: Any, receive: Any, send: Any, caller: Caller, over: asyncio.Event) -> None:
        """Run the application. The turn on a thread ends when the answer begins, so a slow reader holds no thread."""
        async with AsyncExitStack() as turn:
            if scope["path"] not in _NO_THREAD:
                looks = scope["method"] in ("GET", "HEAD")
                turns = self._threads.reading if looks else self._threads.writing
                await turn.enter_async_context(turns.turn(caller.author.actor))

            async def answering(message: Any) -> None:
                if message["type"] == "http.response.start":
                    await turn.aclose()
                elif over.is_set() and message.get("more_body"):
                    raise over_problem()
                await send(message)

            await self._app(scope, receive, answering)


def _check_type(path: str, headers: dict[bytes, str]) -> None:
    if not _has_body(headers):
        return
    message = HeaderMessage()
    message["content-type"] = headers.get(b"content-type", "none/none")
    allowed = _LINES if path == IMPORT else _JSON
    if message.get_content_type() not in allowed:
        raise Problem(Kind.MEDIA, f"send Content-Type: {allowed[0]}")


def _has_body(headers: dict[bytes, str]) -> bool:
    return headers.get(b"content-length", "0") != "0" or b"transfer-encoding" in headers


def _too_large() -> Problem:
    return Problem(Kind.TOO_LARGE, f"a body is {BODY} bytes at most; POST {IMPORT} takes any number of peers")


class _Replay:
    """A `receive` that gives a body that was read already, and then the connection's further messages."""

    def __init__(self, body: bytes, receive: Any) -> None:
        self._body: bytes | None = body
        self._receive = receive

    async def __call__(self) -> Any:
        if self._body is None:
            return await self._receive()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}

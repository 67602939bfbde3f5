"""The way in and out of the application: who asks is known and the body is read before a route is looked for.

Order: the caller (401, 429), the scope (403), the body's type (415), size (413) and pace (408). Only an import streams
its body into its route; every other is read as a whole first, so that no handler waits for a slow sender.
"""

from __future__ import annotations

import asyncio
from email.message import Message as HeaderMessage
from typing import Any
from urllib.parse import unquote

from wgjit.api.caller import OPEN_PATHS, Gatekeeper, scope_of
from wgjit.api.handles import to_segment
from wgjit.api.problems import Kind, Problem, internal

BODY = 1 << 20
"""Bytes of a body at most, but of an import."""

BODY_TIME = 30.0
"""Seconds for a body to come in whole; of an import, between two parts of it."""

IMPORT = "/v1/peers/import"

_JSON = ("application/json", "application/merge-patch+json")
_LINES = ("application/x-ndjson", "application/jsonl", "application/json-seq")


class Gate:
    """ASGI middleware around everything else."""

    def __init__(self, app: Any, gatekeeper: Gatekeeper) -> None:
        self._app = app
        self._gatekeeper = gatekeeper

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
            receive = await self._let_in(scope, receive)
            await self._app(scope, receive, sending)
        except Problem as problem:
            if begun:
                raise
            await problem.response()(scope, receive, send)
        except Exception as error:
            if scope.get("wgjit.told"):
                return
            answer = internal(error)
            if begun:  # an answer that was begun cannot be taken back: the connection ends without its end
                raise
            await answer.response()(scope, receive, send)

    async def _let_in(self, scope: Any, receive: Any) -> Any:
        """Note the caller in the scope; gives where the body comes from. Raises Problem."""
        scope["path"] = path = _path(scope)
        if path not in OPEN_PATHS:
            caller = await self._gatekeeper.admit(scope)
            caller.need(scope_of(scope["method"], path))
            scope["wgjit.caller"] = caller
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        if scope["method"] in ("POST", "PATCH", "PUT"):
            _check_type(path, headers)
        if path == IMPORT and scope["method"] == "POST":
            return _Paced(receive)
        if (length := headers.get(b"content-length")) and int(length) > BODY:
            raise _too_large()
        return _Replay(await _body(receive), receive)


def _path(scope: Any) -> str:
    """The path, in which a key's `/` that came as `%2F` does not part two segments."""
    segments = scope["raw_path"].decode("ascii", "replace").split("/")
    return "/".join(to_segment(text) if "/" in (text := unquote(part)) else text for part in segments)


def _check_type(path: str, headers: dict[bytes, str]) -> None:
    if headers.get(b"content-length", "0") == "0" and b"transfer-encoding" not in headers:
        return
    message = HeaderMessage()
    message["content-type"] = headers.get(b"content-type", "none/none")
    allowed = _LINES if path == IMPORT else _JSON
    if message.get_content_type() not in allowed:
        raise Problem(Kind.MEDIA, f"send Content-Type: {allowed[0]}")


def _too_large() -> Problem:
    return Problem(Kind.TOO_LARGE, f"a body is {BODY} bytes at most; POST {IMPORT} takes any number of peers")


def _too_slow() -> Problem:
    return Problem(Kind.TOO_SLOW, f"the body did not come within {BODY_TIME:g} s", headers={"Connection": "close"})


async def _body(receive: Any) -> bytes:
    """All of the body. Raises Problem."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIME):
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    raise Problem(Kind.MALFORMED, "the body broke off")
                body += message.get("body", b"")
                if len(body) > BODY:
                    raise _too_large()
                if not message.get("more_body"):
                    return bytes(body)
    except TimeoutError:
        raise _too_slow() from None


class _Replay:
    """Gives a body that was read, then whatever else the connection tells."""

    def __init__(self, body: bytes, receive: Any) -> None:
        self._body: bytes | None = body
        self._receive = receive

    async def __call__(self) -> Any:
        if self._body is None:
            return await self._receive()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}


class _Paced:
    """Gives a body part by part, and waits only so long for each."""

    def __init__(self, receive: Any) -> None:
        self._receive = receive
        self._is_over = False

    async def __call__(self) -> Any:
        if self._is_over:
            return await self._receive()
        try:
            async with asyncio.timeout(BODY_TIME):
                message = await self._receive()
        except TimeoutError:
            raise _too_slow() from None
        self._is_over = not message.get("more_body")
        return message

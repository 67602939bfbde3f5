"""The arguments that routes share, and the answers that routes give."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, Header, Request
from starlette.responses import Response

from wgjit.api.caller import Caller
from wgjit.api.problems import Kind, Problem, invalid
from wgjit.api.service import Service
from wgjit.errors import GatewayUnavailable
from wgjit.stores.entries import Answer, Entry
from wgjit.stores.peer_json import to_fields

_PATIENCE = 5.0
"""Seconds to wait for the gateway's answer."""


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


def _caller(request: Request) -> Caller:
    caller: Caller = request.scope["wgjit.caller"]
    return caller


async def _body(request: Request) -> bytes:
    return await request.body()


def idempotency_key(
    idempotency_key: Annotated[
        str | None,
        Header(
            description="1 to 200 printable ASCII characters. A repeated request with this key gets the same answer."
        ),
    ] = None,
) -> str | None:
    """The idempotency key of a request. Raises Problem if it is malformed."""
    key = idempotency_key
    if key is not None and not (1 <= len(key) <= 200 and key.isascii() and key.isprintable()):
        raise invalid("Idempotency-Key: write 1 to 200 printable ASCII characters", "Idempotency-Key")
    return key


ServiceOf = Annotated[Service, Depends(_service)]
CallerOf = Annotated[Caller, Depends(_caller)]
RawBody = Annotated[bytes, Depends(_body)]
Key = Annotated[str | None, Depends(idempotency_key)]


def answer(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer. By default no cache may store it."""
    return Response(
        json.dumps(content), status, {"Cache-Control": "no-store", **(headers or {})}, media_type="application/json"
    )


def peer_fields(entry: Entry, *, preshared_keys: bool = False) -> dict[str, Any]:
    """A peer as the API shows it, with its state."""
    return to_fields(entry, preshared_keys=preshared_keys) | {"state": entry.peer.standing(time.time()).value}


def fingerprint(request: Request, body: bytes) -> bytes:
    """SHA-256 of method, path with query, and body."""
    head = f"{request.method} {request.scope['path']}?{request.scope['query_string'].decode('latin-1')}\n"
    return hashlib.sha256(head.encode() + body).digest()


def replay(before: Answer, mark: bytes) -> Response:
    """The stored answer to this idempotency key. Raises Problem if it belongs to another request."""
    if before.fingerprint != mark:
        raise Problem(Kind.KEY_REUSED, "this key came with another request before; make a new one for each request")
    headers = {"Idempotency-Replayed": "true", "Cache-Control": "no-store"}
    return Response(before.body, before.status, headers, media_type="application/json")


@asynccontextmanager
async def answering(interface: str) -> AsyncIterator[None]:
    """Ask the gateway on this interface inside of this. Raises GatewayUnavailable if it does not answer in time."""
    try:
        async with asyncio.timeout(_PATIENCE):
            yield
    except TimeoutError:
        raise GatewayUnavailable(f"{interface}: the gateway does not answer; see its log") from None

"""Errors as the API answers them: problem details (RFC 9457), with one stable type for each kind.

Every answer that is not a success is made here, also for unknown paths, malformed bodies and internal errors. `errors`
names the fields: `[{"field": "allowed_ips", "detail": "..."}]`.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import traceback
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Any

import structlog
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from wgjit.api.entrance.notices import Notices
from wgjit.config.validation import said
from wgjit.errors import (
    AddressConflict,
    AmbiguousHandle,
    ConfigError,
    GatewayUnavailable,
    InvalidValue,
    NoSuchPeer,
    NoSuchToken,
    NotInFleet,
    NotPermitted,
    PeerExists,
    PoolExhausted,
    StoreBusy,
    StoreError,
    StoreUnreachable,
    TokenExists,
    WgjitError,
)
from wgjit.wire.key_text import shown, without_keys

log = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"

_TOLD = 100
"""Fields that an answer names at most, because a body may have any number of wrong fields."""

_FIELD, _DETAIL = 200, 4000
"""Characters of a field's name and of a detail in an answer. Both may repeat parts of the request."""

_PREFIX = "urn:wgjit:problem:"


class Kind(Enum):
    """A kind of problem: the last part of its type, the HTTP status, and its title."""

    MALFORMED = "malformed", 400, "The request is not what HTTP and JSON ask for"
    UNAUTHENTICATED = "unauthenticated", 401, "A valid token is needed"
    SCOPE = "insufficient-scope", 403, "The token does not allow this"
    NO_SUCH_PATH = "no-such-path", 404, "There is nothing at this path"
    NO_SUCH_PEER = "no-such-peer", 404, "No such peer is registered"
    NO_SUCH_TOKEN = "no-such-token", 404, "There is no such token"
    METHOD = "method-not-allowed", 405, "This path has no such method"
    TOO_SLOW = "too-slow", 408, "The body did not come in time"
    PEER_EXISTS = "peer-exists", 409, "Another peer has this key or name"
    ADDRESS_CONFLICT = "address-conflict", 409, "Another peer owns these addresses"
    AMBIGUOUS = "ambiguous-handle", 409, "Several peers are meant"
    POOL_EXHAUSTED = "pool-exhausted", 409, "No address is free"
    TOKEN_EXISTS = "token-exists", 409, "A token had this name before"
    NOT_IN_FLEET = "not-in-fleet", 409, "The gateway is in no fleet"
    CHANGED = "precondition-failed", 412, "The peer is not as it was"
    TOO_LARGE = "too-large", 413, "The body is too large"
    MEDIA = "unsupported-media-type", 415, "The body's type is not what is read here"
    INVALID = "invalid-value", 422, "A value cannot be taken"
    KEY_REUSED = "idempotency-key-reused", 422, "This idempotency key was used for another request"
    RATE = "rate-limited", 429, "Too many requests"
    INTERNAL = "internal-error", 500, "A mistake of the server"
    BUSY = "registry-busy", 503, "The registry is busy"
    STORE = "registry-failed", 503, "The registry cannot be used"
    NO_GATEWAY = "no-gateway", 503, "No gateway runs"
    UNHEALTHY = "unhealthy", 503, "The gateway is not fit to serve"
    OVERLOADED = "overloaded", 503, "Too much is going on"

    def __init__(self, slug: str, status: int, title: str) -> None:
        self.type = _PREFIX + slug
        self.status = status
        self.title = title


class Problem(HTTPException):
    """A problem to answer with. It is an HTTPException, so that the framework passes it on from any place."""

    def __init__(
        self,
        kind: Kind,
        detail: str,
        errors: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(kind.status, detail, dict(headers or {}))
        self.kind = kind
        self.errors = list(errors)
        self.more = dict(more or {})

    def response(self) -> Response:
        """The answer."""
        content: dict[str, Any] = {
            "type": self.kind.type,
            "title": self.kind.title,
            "status": self.kind.status,
            "detail": self.detail[:_DETAIL],
        }
        content |= self.more
        if self.errors:
            content["errors"] = [
                {"field": field[:_FIELD], "detail": detail[:_DETAIL]} for field, detail in self.errors[:_TOLD]
            ]
        headers = {"Cache-Control": "no-store", **(self.headers or {})}
        return Response(json.dumps(content), self.kind.status, headers, MEDIA_TYPE)


def invalid(text: str, field: str | None = None) -> Problem:
    """The problem of an invalid value."""
    return Problem(Kind.INVALID, text, [] if field is None else [(field, text)])


@contextlib.contextmanager
def about(field: str) -> Iterator[None]:
    """Turn an InvalidValue of the block into a Problem that names this field."""
    try:
        yield
    except InvalidValue as error:
        raise invalid(error.told, field) from None


_KINDS: tuple[tuple[type[WgjitError], Kind], ...] = (
    (PeerExists, Kind.PEER_EXISTS),
    (AddressConflict, Kind.ADDRESS_CONFLICT),
    (AmbiguousHandle, Kind.AMBIGUOUS),
    (PoolExhausted, Kind.POOL_EXHAUSTED),
    (TokenExists, Kind.TOKEN_EXISTS),
    (NoSuchPeer, Kind.NO_SUCH_PEER),
    (NoSuchToken, Kind.NO_SUCH_TOKEN),
    (InvalidValue, Kind.INVALID),
    (GatewayUnavailable, Kind.NO_GATEWAY),
    (NotInFleet, Kind.NOT_IN_FLEET),
    (NotPermitted, Kind.NO_GATEWAY),
    (StoreBusy, Kind.BUSY),
    (StoreError, Kind.STORE),
    (ConfigError, Kind.INVALID),
)

RETRY_AFTER = 5
"""Seconds after which a client should repeat a request that got a 503."""


_notices = Notices()

_TOLD_FAILURES = 3
"""Failures of the registry that are logged per minute. The rest is only counted."""


def of(error: WgjitError) -> Problem:
    """The problem for one of our own errors. Use it on the event loop."""
    if isinstance(error, StoreUnreachable):
        return unusable(error)
    kind = next((kind for type_, kind in _KINDS if isinstance(error, type_)), None)
    if kind is None:
        return internal(error)
    errors = [(error.field, error.told)] if error.field is not None and kind.status in (409, 422) else []
    headers = {"Retry-After": str(RETRY_AFTER)} if kind.status == 503 else None
    return Problem(kind, error.told, errors, headers)  # without the advice, which is for the command line


def unusable(error: StoreError) -> Problem:
    """The problem of a registry that cannot be used, for whom its text is not meant: that names servers and files.

    The log has the text. Use it on the event loop.
    """
    _notices.tell("the registry cannot be used", _TOLD_FAILURES, "error", why=str(error))
    detail = "the registry cannot be used now; the log of wgjit api says why"
    return Problem(Kind.STORE, detail, headers={"Retry-After": str(RETRY_AFTER)})


def internal(error: BaseException) -> Problem:
    """The problem of an internal error. The answer holds only an id; the log tells more under the same id."""
    number = secrets.token_hex(8)
    frames = [f"{frame.name} ({frame.filename}:{frame.lineno})" for frame in traceback.extract_tb(error.__traceback__)]
    # The exception's own text is not logged. It may repeat a value, and a value may be a secret.
    log.error("internal error", id=number, kind=type(error).__name__, at=" > ".join(frames[-6:]))
    return Problem(Kind.INTERNAL, f"a mistake of the server, noted in its log with id {number}", more={"id": number})


# --- what the framework raises ------------------------------------------------------------------------------------


async def on_http(request: Request, error: Exception) -> Response:
    """Answer the framework's HTTP errors, and our Problems."""
    if isinstance(error, Problem):
        return error.response()
    assert isinstance(error, HTTPException)
    match error.status_code:
        case 404:
            problem = Problem(Kind.NO_SUCH_PATH, "there is nothing at this path; /v1/openapi.json describes all")
        case 405:
            allowed = ", ".join(sorted(_methods(request)))
            problem = Problem(Kind.METHOD, f"this path takes {allowed}", headers={"Allow": allowed})
        case _:
            problem = Problem(Kind.MALFORMED, "the body cannot be read; send one JSON object")
    return problem.response()


def _methods(request: Request) -> set[str]:
    """All methods of a path. Each method is a route of its own."""
    found: set[str] = set()
    for route in request.app.routes:
        matched, _ = route.matches(request.scope)
        if matched.value:
            found |= getattr(route, "methods", None) or set()
    return found


async def on_wgjit(_: Request, error: Exception) -> Response:
    """Answer an expected error."""
    assert isinstance(error, WgjitError)
    return of(error).response()


async def on_invalid(_: Request, error: Exception) -> Response:
    """Answer a query or body that does not fit its model. Sent values are not repeated, since they may be secrets."""
    assert isinstance(error, RequestValidationError)
    errors = []
    for each in error.errors()[:_TOLD]:
        where = [shown(str(part)) for part in each["loc"][1:]]  # the name of an unknown field may be a key
        if each["type"] == "json_invalid":
            return Problem(Kind.MALFORMED, "the body is not JSON").response()
        errors.append((".".join(where) or str(each["loc"][0]), _plain(each)))
    detail = "; ".join(f"{field}: {text}" for field, text in errors)
    return Problem(Kind.INVALID, detail, errors).response()


def _plain(error: Mapping[str, Any]) -> str:
    match error["type"]:
        case "extra_forbidden":
            return "there is no such field"
        case "missing":
            return "is missing"
    text = without_keys(said(error))
    return text[:1].lower() + text[1:]


async def on_mistake(request: Request, error: Exception) -> Response:
    """Answer any other exception as an internal error."""
    request.scope["wgjit.told"] = True
    return internal(error).response()

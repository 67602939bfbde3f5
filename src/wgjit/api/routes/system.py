"""The state of the registry and its gateway; for administrators, tokens and the audit log."""

from __future__ import annotations

import time
from typing import Annotated, Any

from fastapi import Query, Request
from starlette.responses import Response

from wgjit.api.entrance.scopes import OPEN
from wgjit.api.problems import about, unusable
from wgjit.api.routes import bodies
from wgjit.api.routes.answers import CallerOf, ServiceOf, answer, answering
from wgjit.api.routes.declared import Routes
from wgjit.control import client
from wgjit.errors import StoreError
from wgjit.management.records import audit_fields, audited_key, gateway_fields, token_fields
from wgjit.stderr import lost_lines
from wgjit.stores.entries import AuditFilter, Scope, Verb
from wgjit.times import parse_past

routes = Routes("system")


@routes.get(
    "/v1/healthz",
    scope=OPEN,
    summary="Whether the registry can be read",
    responses={200: {"model": bodies.Health}},
)
async def healthz(service: ServiceOf) -> Response:
    """This route needs no token. The registry is read once per second at most."""
    try:
        await service.health.check()
    except StoreError as error:  # anybody may ask
        raise unusable(error) from None
    return answer({"status": "ok"})


@routes.get(
    "/v1/status",
    scope=Scope.READ,
    summary="The gateway's status",
    responses={200: {"model": dict[str, Any]}},
)
async def status(request: Request) -> Response:
    """The fields that `wgjit status --json` prints. `api` shows how much of the API's limits is used, and
    `api_log_lines_lost` counts lines of the API's own log that could not be written. 503 if no gateway runs."""
    service = request.app.state.service
    async with answering(service.interface):
        status = await client.status(service.interface)
    return answer(status.as_dict() | {"api": service.figures(), "api_log_lines_lost": lost_lines()})


@routes.get(
    "/v1/gateways",
    scope=Scope.READ,
    summary="The gateways that share the registry",
    responses={200: {"model": bodies.GatewayList}},
)
def gateways(service: ServiceOf) -> Response:
    """All gateways by name, as their heartbeats tell. Empty if no fleet shares the registry."""
    with service.registries.use() as registry:
        found = registry.gateways.every()
    return answer({"gateways": [gateway_fields(gateway) for gateway in found]})


@routes.get(
    "/v1/tokens",
    scope=Scope.ADMIN,
    tags=["tokens"],
    summary="List tokens",
    responses={200: {"model": bodies.TokenList}},
)
def tokens(
    service: ServiceOf,
    limit: Annotated[int, Query(ge=1, le=1000)] = 1000,
    after: Annotated[str | None, Query(description="`next` of the previous page.")] = None,
) -> Response:
    """All tokens by name, also expired and revoked ones. Their secrets are not shown."""
    with service.registries.use() as registry:
        found, cursor = registry.tokens.page(limit, after)
    now = time.time()
    return answer({"tokens": [token_fields(token, now) for token in found], "next": cursor})


@routes.post(
    "/v1/tokens",
    scope=Scope.ADMIN,
    tags=["tokens"],
    summary="Make a token",
    status_code=201,
    responses={201: {"model": bodies.MadeToken}},
)
def make_token(service: ServiceOf, caller: CallerOf, body: bodies.NewToken) -> Response:
    """The answer holds the token's text, which is shown only once."""
    expires_at = bodies.expiry(body.expires_at, body.expires_in)
    with service.registries.use() as registry:
        token, text = registry.tokens.create(
            body.name, Scope(body.scope), by=caller.author, expires_at=expires_at, rate=body.rate
        )
    return answer(token_fields(token, time.time()) | {"token": text}, 201)


@routes.delete(
    "/v1/tokens/{token}",
    scope=Scope.ADMIN,
    tags=["tokens"],
    summary="Revoke a token",
    responses={200: {"model": bodies.TokenBody}},
)
def revoke_token(service: ServiceOf, caller: CallerOf, token: str) -> Response:
    """`token` is a name or an id. The token is revoked at once and for good. Its open streams end."""
    with service.registries.use() as registry:
        revoked = registry.tokens.revoke(token, by=caller.author)
    return answer(token_fields(revoked, time.time()))


@routes.get(
    "/v1/audit",
    scope=Scope.ADMIN,
    tags=["audit"],
    summary="Who changed what",
    responses={200: {"model": bodies.AuditPageBody}},
)
def audit(
    service: ServiceOf,
    peer: Annotated[str | None, Query(description="A peer's handle, or the whole key of a removed peer.")] = None,
    actor: str | None = None,
    verb: Verb | None = None,
    since: Annotated[str | None, Query(description="Entries not older than 7d, or since 2027-01-31T12:00:00Z.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    after: Annotated[int | None, Query(ge=0, le=2**63 - 1, description="`next` of the previous page.")] = None,
) -> Response:
    """Entries of the audit log, newest first."""
    with about("since"):
        moment = None if since is None else parse_past(since, time.time(), "since")
    with service.registries.use() as registry:
        key = None if peer is None else audited_key(registry, peer)
        page = registry.audit.page(AuditFilter(key, actor, verb, moment), limit, after)
    return answer({"entries": [audit_fields(entry) for entry in page.entries], "next": page.cursor})

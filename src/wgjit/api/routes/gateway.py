"""The gateway beside the API: whether it is fit to serve, and how it leaves and comes back."""

from __future__ import annotations

from starlette.responses import Response

from wgjit.api.entrance.scopes import OPEN
from wgjit.api.problems import Kind, Problem
from wgjit.api.routes import bodies
from wgjit.api.routes.answers import ServiceOf, answer, answering
from wgjit.api.routes.declared import Routes
from wgjit.control import client
from wgjit.stores.entries import Scope

routes = Routes("system")


@routes.get(
    "/v1/gateway/healthz",
    scope=OPEN,
    summary="Whether the gateway is fit to serve clients",
    responses={200: {"model": bodies.GatewayHealth}},
)
async def gateway_healthz(service: ServiceOf) -> Response:
    """For load balancers. This route needs no token. The gateway is asked once per second at most. 503 if it is not
    fit, or if no gateway runs; then the detail names the checks that fail, and `wgjit health` says why."""
    health = await service.gateway_health.check()
    if not health.is_healthy:
        raise Problem(Kind.UNHEALTHY, f"these checks fail: {', '.join(health.failing)}; `wgjit health` says why")
    return answer({"healthy": True})


@routes.post(
    "/v1/gateway/drain",
    scope=Scope.ADMIN,
    summary="Let the gateway's clients go to other gateways",
    responses={200: {"model": bodies.Drain}},
)
async def drain(service: ServiceOf) -> Response:
    """The gateway takes over no more clients and is unhealthy. No session is ended. Ask again to see how many clients
    are left. 409 if the gateway is in no fleet."""
    async with answering(service.interface):
        return answer(await client.first(service.interface, "drain"))


@routes.delete(
    "/v1/gateway/drain",
    scope=Scope.ADMIN,
    summary="Let the gateway serve as before",
    responses={200: {"model": bodies.Drain}},
)
async def undrain(service: ServiceOf) -> Response:
    """The end of a drain. 409 if the gateway is in no fleet."""
    async with answering(service.interface):
        return answer(await client.first(service.interface, "undrain"))

"""The application: its routes, the answers to their errors, and its OpenAPI description."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from wgjit.api import problems
from wgjit.api.entrance.gate import Gate
from wgjit.api.entrance.scopes import EXTENSION, OPEN, Scopes
from wgjit.api.routes import bodies, bulk, gateway, peers, streams, system
from wgjit.api.service import Service
from wgjit.errors import WgjitError
from wgjit.wire.key_text import quoted, shown

_ABOUT = """The registry of a wgjit gateway over HTTP. On its Unix socket whoever may open that may do everything; on
TCP a token is needed (`Authorization: Bearer`). Errors are problem details (RFC 9457) that name the field."""

_TAGS = [
    {"name": "peers", "description": "Register, show, change and remove peers."},
    {"name": "streams", "description": "The gateway's feed and the registry's changes, as server-sent events."},
    {"name": "tokens", "description": "Make, list and revoke tokens. For administrators."},
    {"name": "audit", "description": "Who changed what. For administrators."},
    {"name": "system", "description": "The health of the registry and the status of its gateway."},
]


def create_app(service: Service) -> ASGIApp:
    """The ASGI application on a registry. Run it inside of `service.running()`.

    Raises UndeclaredScope if a route does not declare its scope.
    """
    app = FastAPI(
        title="wgjit",
        version=version("wgjit"),
        description=_ABOUT,
        openapi_url="/v1/openapi.json",
        openapi_tags=_TAGS,
        docs_url=None,  # these pages would load scripts from other sites
        redoc_url=None,
        redirect_slashes=False,
        dependencies=[Depends(_known_query)],
        generate_unique_id_function=lambda route: route.name.strip("_"),
    )
    app.state.service = service
    for room in (bulk, peers, streams, system, gateway):
        room.routes.add_to(app)
    app.add_exception_handler(HTTPException, problems.on_http)
    app.add_exception_handler(RequestValidationError, problems.on_invalid)
    app.add_exception_handler(WgjitError, problems.on_wgjit)
    app.add_exception_handler(Exception, problems.on_mistake)
    made = app.openapi

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _with_problems(made())
        return app.openapi_schema

    app.openapi = described  # type: ignore[method-assign]
    return Gate(app, Scopes(app), service.gatekeeper, service.threads, service.tenure)


def _known_query(request: Request) -> None:
    """Raise Problem for an unknown query parameter. Otherwise a mistyped filter would match all peers."""
    described = request.app.openapi()["paths"][request.scope["route"].path_format][request.method.lower()]
    known = {each["name"] for each in described.get("parameters", ()) if each["in"] == "query"}
    if unknown := sorted(request.query_params.keys() - known):
        names = ", ".join(sorted(known)) or "none"
        raise problems.invalid(
            f"query {quoted(unknown[0], 40)}: there is no such parameter; here are: {names}", shown(unknown[0])[:40]
        )


_ALWAYS = (400, 401, 403, 408, 413, 429, 500, 503)
_BY_METHOD = {
    "post": (409, 415, 422),
    "patch": (404, 409, 412, 415, 422),
    "delete": (404, 409, 412, 422),
    "get": (422,),
}


def _with_problems(schema: Any) -> dict[str, Any]:
    """The description, completed by the errors that each route may answer and the scope that it needs."""
    components = schema["components"]
    components["schemas"] = {
        name: each for name, each in components["schemas"].items() if "ValidationError" not in name
    } | {
        "ProblemBody": bodies.ProblemBody.model_json_schema(ref_template="#/components/schemas/{model}"),
        "FieldError": bodies.FieldError.model_json_schema(),
    }
    components["schemas"]["ProblemBody"].pop("$defs", None)
    components["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer", "description": "`wgjit token create`"}
    }
    components["responses"] = {
        str(kind.status): _problem(kind)
        for kind in problems.Kind
        if kind in {next(k for k in problems.Kind if k.status == kind.status)}
    }
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            _complete(path, method, operation)
    return dict(schema)


def _complete(path: str, method: str, operation: dict[str, Any]) -> None:
    statuses = {*_ALWAYS, *_BY_METHOD[method]}
    if "{" in path:
        statuses |= {404, 409}
    if path == "/v1/audit":
        statuses |= {404, 409}
    if path.endswith("/rotate"):
        statuses |= {412}
    responses = operation["responses"]
    responses.pop("422", None)
    if "201" in responses:
        responses.pop("200", None)
    for status in sorted(statuses):
        responses[str(status)] = {"$ref": f"#/components/responses/{status}"}
    if (scope := operation[EXTENSION]) == OPEN:
        return
    operation["security"] = [{"token": []}]
    operation["description"] = f"{operation.get('description', '')}\n\nScope: {scope}."
    content: Mapping[str, Any] = operation.get("requestBody", {}).get("content", {})
    if method == "patch":
        operation["requestBody"]["content"] = {"application/merge-patch+json": content["application/json"], **content}


def _problem(kind: problems.Kind) -> dict[str, Any]:
    example = {"type": kind.type, "title": kind.title, "status": kind.status, "detail": "..."}
    return {
        "description": kind.title,
        "content": {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemBody"}, "example": example}},
    }

"""Each route declares its scope: without one the API does not start, and the declared one is what a token needs."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import FastAPI

from wgjit.api.entrance.scopes import OPEN, Scopes, UndeclaredScope, declaration
from wgjit.stores.entries import Scope


def app_with(**declared: Any) -> FastAPI:
    app = FastAPI(openapi_url="/openapi.json", docs_url=None, redoc_url=None)

    @app.get("/things/all", openapi_extra=declaration(Scope.ADMIN))
    def every() -> None: ...

    @app.get("/things/{name}", **declared)
    def one(name: str) -> None: ...

    return app


def request(method: str, path: str) -> dict[str, Any]:
    return {"type": "http", "method": method, "path": path, "root_path": ""}


@pytest.mark.parametrize("declared", [{}, {"openapi_extra": {"deprecated": True}}])
def test_a_route_without_a_declared_scope_does_not_start(declared: dict[str, Any]) -> None:
    with pytest.raises(UndeclaredScope, match="things"):
        Scopes(app_with(**declared))


@pytest.mark.parametrize("scope", [Scope.READ, Scope.WRITE, OPEN])
def test_a_request_needs_what_its_route_declares(scope: Any) -> None:
    scopes = Scopes(app_with(openapi_extra=declaration(scope)))
    assert scopes.of(request("GET", "/things/x")) == scope
    assert scopes.of(request("GET", "/things/all")) is Scope.ADMIN, "the first route that fits is the one that answers"
    assert scopes.of(request("GET", "/openapi.json")) is Scope.READ


def test_what_no_route_answers_needs_no_scope() -> None:
    scopes = Scopes(app_with(openapi_extra=declaration(Scope.READ)))
    assert scopes.of(request("POST", "/things/x")) is None
    assert scopes.of(request("GET", "/nothing")) is None

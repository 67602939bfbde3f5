"""The scope that each route declares, and the route that a request means.

A route declares its scope where it is defined (`routes.declared`). There is no default: an application with a route
that declares no scope cannot be made. The description shows the scope as `x-scope`.
"""

from __future__ import annotations

from typing import Any, Literal

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.routing import Match, Route

from wgjit.stores.entries import Scope

EXTENSION = "x-scope"

Open = Literal["open"]
OPEN: Open = "open"
"""The route answers everybody, without a token."""


def declaration(scope: Scope | Open) -> dict[str, Any]:
    """The entry of a route's description that declares its scope."""
    return {EXTENSION: str(scope)}


class UndeclaredScope(Exception):
    """A route declares no scope. This is a programming error, found when the application is made."""


class Scopes:
    """The scopes that the routes of an application declare."""

    def __init__(self, app: FastAPI) -> None:
        """Raises UndeclaredScope."""
        self._routes: list[tuple[Route, Scope | Open]] = []
        for route in app.routes:
            assert isinstance(route, Route)
            self._routes.append((route, _declared(app, route)))

    def of(self, scope: Any) -> Scope | Open | None:
        """The scope that a request (an ASGI scope) needs. None if no route matches (404 or 405 will follow)."""
        for route, declared in self._routes:
            match, _ = route.matches(scope)
            if match is Match.FULL:
                return declared
        return None


def _declared(app: FastAPI, route: Route) -> Scope | Open:
    if route.path == app.openapi_url:
        return Scope.READ
    said = (route.openapi_extra or {}).get(EXTENSION) if isinstance(route, APIRoute) else None
    if said is None:
        raise UndeclaredScope(f"{route.path}: declare its scope with routes.declared.Routes")
    return OPEN if said == OPEN else Scope(said)

"""Routes as their files declare them. Each route names its scope; there is no default scope.

    routes = Routes("peers")

    @routes.get("/v1/count", scope=Scope.READ, summary="Count peers")
    def count(...): ...

FastAPI's own APIRouter is not used, because an application keeps an included router as one opaque route. Then its
routes cannot be searched for the scope of a request, or for the methods of a path.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.routing import Match

from wgjit.api.entrance.scopes import Open, declaration
from wgjit.api.entrance.segments import given
from wgjit.stores.entries import Scope

Handler = TypeVar("Handler", bound=Callable[..., Any])


class DeclaredRoute(APIRoute):
    """A route whose handler gets each segment of the path as it was sent, decoded once."""

    def matches(self, scope: Any) -> tuple[Match, Any]:
        """See Starlette's Route."""
        match, found = super().matches(scope)
        if "path_params" in found:
            found["path_params"] = given(found["path_params"])
        return match, found


class Routes:
    """The routes of one file, in the order in which they are matched."""

    def __init__(self, tag: str) -> None:
        self._tag = tag
        self._adding: list[Callable[[FastAPI], None]] = []

    def get(self, path: str, *, scope: Scope | Open, summary: str, **more: Any) -> Callable[[Handler], Handler]:
        """A route that only reads. `more` is passed to FastAPI."""
        return self._route("GET", path, scope, summary, more)

    def post(self, path: str, *, scope: Scope | Open, summary: str, **more: Any) -> Callable[[Handler], Handler]:
        """A route that creates something or starts an action."""
        return self._route("POST", path, scope, summary, more)

    def patch(self, path: str, *, scope: Scope | Open, summary: str, **more: Any) -> Callable[[Handler], Handler]:
        """A route that changes something."""
        return self._route("PATCH", path, scope, summary, more)

    def delete(self, path: str, *, scope: Scope | Open, summary: str, **more: Any) -> Callable[[Handler], Handler]:
        """A route that removes something."""
        return self._route("DELETE", path, scope, summary, more)

    def add_to(self, app: FastAPI) -> None:
        """Add the routes to an application."""
        app.router.route_class = DeclaredRoute
        for add in self._adding:
            add(app)

    def _route(
        self, method: str, path: str, scope: Scope | Open, summary: str, more: dict[str, Any]
    ) -> Callable[[Handler], Handler]:
        extra = {**declaration(scope), **more.pop("openapi_extra", {})}
        named = {"tags": [self._tag], "summary": summary, **more}

        def declare(handler: Handler) -> Handler:
            self._adding.append(
                lambda app: app.add_api_route(path, handler, methods=[method], openapi_extra=extra, **named)
            )
            return handler

        return declare

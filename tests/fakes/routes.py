"""Routes in memory, with the other programs of a machine."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from wgjit.drivers.base import Route, RouteChange, RouteNews
from wgjit.errors import RouteError

_PART = 100


class FakeRoutes:
    """Implements `drivers.base.Routes`."""

    def __init__(self) -> None:
        self.routes: dict[Route, None] = {}
        self.foreign: set[Route] = set()
        """Routes of other programs, which are in the way of ours."""
        self.calls: list[list[RouteChange]] = []
        """The changes of each call of `apply`."""
        self.down = False
        self.broken = False
        """Nothing works."""
        self.dumps = 0
        self._lost: list[Route] = []
        self._unsure = False
        self._readable, self._wake = os.pipe()
        os.set_blocking(self._readable, False)

    def apply(self, changes: Sequence[RouteChange]) -> dict[RouteChange, RouteError]:
        if self.broken:
            raise RouteError("routes: out of order")
        if changes:
            self.calls.append(list(changes))
        failed = {}
        for change in changes:
            route = change.route
            if not change.put:
                for one in [one for one in self.routes if one[:2] == route[:2] and route.metric in (0, one.metric)]:
                    del self.routes[one]
            elif self.down:
                failed[change] = RouteError(f"route {route}: the interface is down")
            elif route in self.foreign:
                failed[change] = RouteError(f"route {route}: another program has a route for it with the same metric")
            else:
                self.routes[route] = None
        return failed

    def dump(self) -> Iterator[list[Route]]:
        if self.broken:
            raise RouteError("routes: out of order")
        self.dumps += 1
        routes = list(self.routes)
        for start in range(0, max(1, len(routes)), _PART):
            yield routes[start : start + _PART]

    def fileno(self) -> int:
        return self._readable

    def read(self) -> RouteNews:
        try:
            os.read(self._readable, 4096)
        except BlockingIOError:
            return RouteNews([], False)
        news = RouteNews(self._lost, self._unsure)
        self._lost, self._unsure = [], False
        return news

    def close(self) -> None:
        os.close(self._readable)
        os.close(self._wake)

    # --- what others do -----------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Another program takes all routes away, and the kernel tells of each."""
        self._lost += self.routes
        self.routes.clear()
        os.write(self._wake, b"x")

    def vanish(self) -> None:
        """All routes go, and it is only known that something has happened."""
        self.routes.clear()
        self._unsure = True
        os.write(self._wake, b"x")

    def set_down(self) -> None:
        """The interface goes down: its routes are gone."""
        self.down = True
        self.vanish()

    def set_up(self) -> None:
        """The interface comes up again."""
        self.down = False
        self._unsure = True
        os.write(self._wake, b"x")

    def replace(self, route: Route) -> None:
        """Another program's route takes the place of one."""
        self.foreign.add(route)
        if route in self.routes:
            del self.routes[route]
            self._lost.append(route)
            os.write(self._wake, b"x")

    def give_way(self, route: Route) -> None:
        """Another program takes its route away."""
        self.foreign.discard(route)

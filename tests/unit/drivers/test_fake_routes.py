"""The fake keeps the contract of routes."""

from collections.abc import Iterator

import pytest

from tests.contracts.routes import RoutesContract
from tests.fakes.routes import FakeRoutes
from wgjit.drivers.base import Route


class InMemory:
    """A machine whose routes are the fake's."""

    def __init__(self) -> None:
        self.routes = FakeRoutes()

    def flush(self) -> None:
        self.routes.flush()

    def set_down(self) -> None:
        self.routes.set_down()

    def set_up(self) -> None:
        self.routes.set_up()

    def replace(self, route: Route) -> None:
        self.routes.replace(route)

    def give_way(self, route: Route) -> None:
        self.routes.give_way(route)


class TestFakeRoutes(RoutesContract):
    @pytest.fixture
    def machine(self) -> Iterator[InMemory]:
        machine = InMemory()
        yield machine
        machine.routes.close()

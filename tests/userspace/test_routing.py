"""Routes of residents with wireguard-go."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.fleet.engine import Engine
from lab.routing.site import Inside
from lab.wireguard import Backend
from tests.contracts.routing import RoutingContract, network


@pytest.fixture(scope="module", params=["bird", "frr"])
def inside(request: pytest.FixtureRequest, shared_engine: Engine, backend: Backend) -> Iterator[Inside]:
    with network(shared_engine, backend, request.param) as inside:
        yield inside


class TestRoutingOnWireguardGo(RoutingContract):
    pass

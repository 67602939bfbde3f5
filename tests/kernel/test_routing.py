"""Routes of residents with kernel WireGuard. FRR reads the very same routes of the host's kernel: tests/userspace."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.fleet.engine import Engine
from lab.routing.site import Inside
from lab.wireguard import Backend
from tests.contracts.routing import RoutingContract, network


@pytest.fixture(scope="module", params=["bird"])
def inside(request: pytest.FixtureRequest, shared_engine: Engine, backend: Backend) -> Iterator[Inside]:
    with network(shared_engine, backend, request.param) as inside:
        yield inside


class TestRoutingOnKernelWireGuard(RoutingContract):
    pass

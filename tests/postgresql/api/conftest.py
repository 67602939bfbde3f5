"""The real `wgjit api` process on a registry in PostgreSQL."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lab.postgresql import Cluster
from tests.unit.api.conftest import Api, run


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, cluster: Cluster, template: str) -> Iterator[Api]:
    """One server, on a database of its own, for the tests of a module."""
    with cluster.database(template) as name:
        server = run(tmp_path_factory.mktemp("api"), url=cluster.url(name))
        try:
            yield server
        finally:
            server.end()


@pytest.fixture
def own(tmp_path: Any, emptied_url: str) -> Iterator[Callable[..., Api]]:
    """Start servers in a folder of the test's own, on an empty registry."""
    started: list[Api] = []

    def begin(*options: object, **more: Any) -> Api:
        started.append(run(tmp_path, *options, **{"url": emptied_url} | more))
        return started[-1]

    try:
        yield begin
    finally:
        for server in started:
            server.end(signal.SIGKILL)

"""Fixtures: PostgreSQL for fleets. It takes up to fifteen seconds to make in a guest, so that all tests share one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.fleet.engine import Engine
from lab.netns import Lab


@pytest.fixture(scope="session")
def shared_engine() -> Iterator[Engine]:
    """PostgreSQL with a standby for all fleets of a run. Tests take `engine`."""
    with Lab() as lab, Engine(lab, standby=True) as engine:
        yield engine


@pytest.fixture
def engine(shared_engine: Engine) -> Iterator[Engine]:
    """The shared engine. A test may stop, kill or hang its primary, and does not have to start it again."""
    yield shared_engine
    shared_engine.primary.go_on()
    if not shared_engine.primary.is_running():
        shared_engine.primary.start()

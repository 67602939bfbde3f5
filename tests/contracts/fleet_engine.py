"""Fixtures: PostgreSQL for fleets. It takes up to fifteen seconds to make in a guest, so that all tests share one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.fleet.engine import Engine
from lab.fleet.site import Fleet
from lab.netns import Lab
from lab.wireguard import Backend


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


@pytest.fixture(scope="module")
def fleet(shared_engine: Engine, backend: Backend) -> Iterator[Fleet]:
    """Two gateways that run, for all tests of a module. Each test brings clients of its own."""
    with Lab() as lab, Fleet(lab, shared_engine, backend) as fleet:
        fleet.up(gateway={"unconfirmed_timeout": 4})
        yield fleet
        for member in fleet.members:
            assert set(member.status()["faults"]) <= {"record"}, "a busy engine may be too late for a packet"

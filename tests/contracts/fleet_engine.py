"""Fixtures: PostgreSQL for fleets. It takes up to fifteen seconds to make in a guest, so that all tests share one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.fleet.engine import Engine
from lab.fleet.site import Fleet
from lab.netns import Lab
from lab.registry_service import wait_until
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
def shared_fleet(shared_engine: Engine, backend: Backend) -> Iterator[Fleet]:
    """Two gateways that run, for all tests of a module. Tests take `fleet`."""
    with Lab() as lab, Fleet(lab, shared_engine, backend) as fleet:
        yield fleet


@pytest.fixture
def fleet(shared_fleet: Fleet, engine: Engine) -> Fleet:
    """Two gateways that run and hear the engine. Each test brings clients of its own.

    A test may cut links, end daemons and change what the machines have: the next test finds all well again.
    """
    shared_fleet.mend()
    shared_fleet.serve_by(shared_fleet.members[0])
    shared_fleet.reopen()
    shared_fleet.up(gateway={"unconfirmed_timeout": 4})
    for member in shared_fleet.members:
        wait_until(member.hears_the_engine, 60.0)
    return shared_fleet

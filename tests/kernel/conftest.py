"""These run as root on a kernel that has WireGuard: a guest's, as `./dev test kernel` starts it, or your own."""

import os

import pytest

from lab.wireguard import Backend, kernel_has_wireguard
from tests.contracts.fleet_engine import engine as engine
from tests.contracts.fleet_engine import fleet as fleet
from tests.contracts.fleet_engine import shared_engine as shared_engine
from tests.contracts.fleet_engine import shared_fleet as shared_fleet


def pytest_sessionstart() -> None:
    """Say what is missing once, and fail: a test that cannot run has not passed."""
    if os.geteuid() != 0 or not kernel_has_wireguard():
        pytest.exit("tests/kernel needs root and a kernel with WireGuard: ./dev test kernel boots one", 1)


@pytest.fixture(scope="session")
def backend() -> Backend:
    """The WireGuard that these tests are about."""
    return "kernel"

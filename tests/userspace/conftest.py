"""These run as root on any Linux: namespaces with wireguard-go in them. `./dev test userspace`."""

import os
import shutil

import pytest

from lab.wireguard import Backend
from tests.contracts.fleet_engine import engine as engine
from tests.contracts.fleet_engine import fleet as fleet
from tests.contracts.fleet_engine import shared_engine as shared_engine
from tests.contracts.fleet_engine import shared_fleet as shared_fleet


def pytest_sessionstart() -> None:
    """Say what is missing once, and fail: a test that cannot run has not passed."""
    if os.geteuid() != 0:
        pytest.exit("tests/userspace makes network namespaces: run it as root (sudo ./dev test userspace)", 1)
    if missing := [command for command in ("ip", "wg", "wireguard-go", "nft") if not shutil.which(command)]:
        pytest.exit(f"tests/userspace needs {', '.join(missing)}; ./dev test userspace installs them", 1)


@pytest.fixture(scope="session")
def backend() -> Backend:
    """The WireGuard that these tests are about."""
    return "go"

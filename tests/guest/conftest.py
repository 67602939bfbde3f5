"""These boot guest kernels, as root. `./dev test guest`."""

import os

import pytest


def pytest_sessionstart() -> None:
    """Say what is missing once, and fail: a test that cannot run has not passed."""
    if os.geteuid() != 0:
        pytest.exit("tests/guest boots guest kernels: run it as root (sudo ./dev test guest)", 1)

"""A registry file, and another program that writes to it."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.registry import LabRegistry


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "registry.db"


@pytest.fixture
def registry(path: Path) -> Iterator[LabRegistry]:
    registry = LabRegistry(path, timeout=0.02)
    yield registry
    registry.close()


@pytest.fixture
def shell(registry: LabRegistry) -> Iterator[sqlite3.Connection]:
    """Another program that writes to the file, with SQLite alone."""
    with contextlib.closing(sqlite3.connect(registry.path, isolation_level=None, timeout=0.02)) as connection:
        yield connection

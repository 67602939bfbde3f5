"""A registry file, and another program that writes to it."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from wgjit.stores.sqlite import SqliteRegistry


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "registry.db"


@pytest.fixture
def registry(path: Path) -> Iterator[SqliteRegistry]:
    registry = SqliteRegistry(path, timeout=0.02)
    yield registry
    registry.close()


@pytest.fixture
def shell(registry: SqliteRegistry) -> Iterator[sqlite3.Connection]:
    """Another program that writes to the file, with SQLite alone."""
    with contextlib.closing(sqlite3.connect(registry.path, isolation_level=None, timeout=0.02)) as connection:
        yield connection

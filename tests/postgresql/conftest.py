"""A real PostgreSQL server of the tests' own, and a registry of its own for each test."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from lab.postgresql import Cluster
from lab.registry import LabPostgres
from wgjit.stores.postgresql.database import schema
from wgjit.stores.postgresql.database.url import DatabaseUrl


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    with Cluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def template(cluster: Cluster) -> Iterator[str]:
    """A database with an empty registry, of which each test gets a copy."""
    with cluster.database() as name:
        schema.init(DatabaseUrl(cluster.url(name)))
        yield name


@pytest.fixture
def url(cluster: Cluster, template: str) -> Iterator[str]:
    """A database with an empty registry of its own."""
    with cluster.database(template) as name, cluster.shell(cluster.url(name)) as shell:
        new = "UPDATE wgjit.meta SET value = uuid_send(gen_random_uuid()) WHERE what = 'identity'"
        shell.execute(new)
        yield cluster.url(name)


_EMPTY = """
SET session_replication_role = replica; -- no trigger forbids it
TRUNCATE {tables} RESTART IDENTITY;
UPDATE wgjit.numbers SET value = 0;
UPDATE wgjit.meta SET value = uuid_send(gen_random_uuid()) WHERE what = 'identity';
SET session_replication_role = DEFAULT;
"""


def emptied(shell: psycopg.Connection[Any]) -> None:
    """Make a registry as it is after `init`. This takes a hundredth of the time that a database of its own takes."""
    kept = ("meta", "numbers")
    query = "SELECT relname FROM pg_class WHERE relnamespace = 'wgjit'::regnamespace AND relkind = 'r'"
    tables = [name for (name,) in shell.execute(query).fetchall() if name not in kept]
    shell.execute(_EMPTY.format(tables=", ".join(f"wgjit.{name}" for name in tables)).encode())


@pytest.fixture(scope="session")
def kept(cluster: Cluster, template: str) -> Iterator[str]:
    """One database for all tests that do not change the schema."""
    with cluster.database(template) as name:
        yield cluster.url(name)


@pytest.fixture
def emptied_url(kept: str, cluster: Cluster) -> str:
    """The database of `kept`, with an empty registry."""
    with cluster.shell(kept) as shell:
        emptied(shell)
    return kept


@pytest.fixture
def registry(url: str) -> Iterator[LabPostgres]:
    with contextlib.closing(LabPostgres(DatabaseUrl(url), timeout=0.5)) as registry:
        yield registry


class Shell:
    """psql: another program that writes to the database. Parameters may be `?`, as in the tests of the file."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection

    def execute(self, query: str, parameters: Any = None) -> psycopg.Cursor[Any]:
        if parameters is not None:
            query = query.replace("?", "%s")
        return self.connection.execute(query.encode(), parameters)


@pytest.fixture
def shell(url: str, cluster: Cluster) -> Iterator[Shell]:
    with cluster.shell(url) as connection:
        connection.execute("SET search_path = wgjit")
        yield Shell(connection)

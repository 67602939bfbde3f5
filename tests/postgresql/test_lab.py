"""The servers of the lab: what tests of faults do to them has to be true."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator

import psycopg
import pytest

from lab.postgresql import Cluster, Standby


@pytest.fixture(scope="module")
def own() -> Iterator[Cluster]:
    with Cluster({"max_connections": "70"}) as own:
        with own.shell() as shell:
            shell.execute("CREATE TABLE notes (text text)")
        yield own


@pytest.fixture
def standby(own: Cluster) -> Iterator[Standby]:
    with own.standby() as standby:
        yield standby


def write(server: Cluster, text: str) -> None:
    with server.shell() as shell:
        shell.execute("INSERT INTO notes VALUES (%s)", (text,))


def has(server: Cluster, text: str) -> bool:
    with server.shell() as shell:
        return shell.execute("SELECT 1 FROM notes WHERE text = %s", (text,)).fetchone() is not None


def test_a_standby_follows_refuses_writes_and_is_promoted(own: Cluster, standby: Standby) -> None:
    write(own, "first")
    standby.catch_up()
    assert has(standby, "first")
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        write(standby, "second")
    standby.promote()
    write(standby, "second")
    assert not has(own, "second")


def test_an_old_primary_follows_the_new_one(own: Cluster, standby: Standby) -> None:
    with own.standby() as other:
        standby.promote()
        other.follow(standby)
        write(standby, "after the failover")
        other.catch_up()
        assert has(other, "after the failover")


def test_a_killed_server_is_gone_at_once_and_starts_again(own: Cluster) -> None:
    write(own, "kept")
    with own.shell() as shell:
        own.kill()
        with pytest.raises(psycopg.OperationalError):
            shell.execute("SELECT 1")
        with pytest.raises(psycopg.OperationalError):
            own.shell()
    own.start()
    assert has(own, "kept")


def test_a_server_that_hangs_answers_nobody_until_it_goes_on(own: Cluster) -> None:
    own.hang()
    try:
        with pytest.raises(psycopg.errors.ConnectionTimeout):
            psycopg.connect(own.url(), connect_timeout=2)
    finally:
        own.go_on()
    write(own, "went on")


def test_a_server_that_hangs_is_ended_and_leaves_nothing() -> None:
    with Cluster() as cluster:
        cluster.hang()
        process, folder = os.pidfd_open(cluster.pid), cluster.folder
    try:
        assert select.select([process], [], [], 60)[0] == [process], "the server still runs"
        assert not folder.exists()
    finally:
        os.close(process)

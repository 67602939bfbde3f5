"""A replica that reads a hot standby near by, and what happens when servers are lost and take each other's place."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.postgresql import Cluster, Standby
from lab.registry import LAB, LabPostgres
from tests.contracts.store import claim, key, peer
from tests.postgresql.replicas import Gateways, equal, gateways, holding, until
from wgjit.errors import StoreError
from wgjit.model import Registration
from wgjit.stores.postgresql.database import schema
from wgjit.stores.postgresql.database.url import DatabaseUrl
from wgjit.stores.replica.store import ReplicaStore


@pytest.fixture
def primary() -> Iterator[Cluster]:
    with Cluster() as primary:
        schema.init(DatabaseUrl(primary.url()))
        yield primary


@pytest.fixture
def standby(primary: Cluster) -> Iterator[Standby]:
    with primary.standby() as standby:
        yield standby


@pytest.fixture
def record(primary: Cluster) -> Iterator[LabPostgres]:
    with contextlib.closing(LabPostgres(DatabaseUrl(primary.url()), timeout=5.0)) as registry:
        yield registry


def either(primary: Cluster, standby: Standby) -> str:
    """The URL of whichever takes writes."""
    hosts = f"{primary.folder},{standby.folder}".replace("/", "%2F")
    return f"postgresql://postgres@/postgres?host={hosts}&target_session_attrs=read-write&connect_timeout=2"


@pytest.fixture
def fleet(primary: Cluster, standby: Standby, tmp_path: Path) -> Iterator[Gateways]:
    with gateways(either(primary, standby), tmp_path) as made:
        yield made


def test_it_is_copied_from_the_standby_and_follows_it(
    primary: Cluster, standby: Standby, record: LabPostgres, fleet: Gateways
) -> None:
    record.add(peer(n, f"10.0.0.{n}/32") for n in range(1, 51))
    record.save_claims([claim(1, 5.0)])
    standby.catch_up()
    store = fleet.make(read_url=standby.url())
    assert store.figures()["reads_primary"] is False
    record.add([peer(60)])
    record.remove(key(2))
    record.claims.reset(key(1), by=LAB)
    store.fleet.say([claim(3, 5.0)], [holding(3, 5.0)])
    until(lambda: store.lookup(key(60)) and store.lookup(key(2)) is None)
    equal(store, primary.url())
    assert store.figures()["reads_primary"] is False


def test_late_commits_are_not_missed_on_a_standby(
    primary: Cluster, standby: Standby, record: LabPostgres, fleet: Gateways
) -> None:
    """A snapshot of a standby names no running transactions."""
    record.add([peer(1)])
    standby.catch_up()
    store = fleet.make(read_url=standby.url())
    with primary.shell() as slow:
        slow.execute("BEGIN")
        slow.execute("INSERT INTO wgjit.peers (public_key) VALUES (%s)", (bytes(key(2)),))
        slow.execute("DELETE FROM wgjit.peers WHERE public_key = %s", (bytes(key(1)),))
        for number in range(10, 30):
            record.add([peer(number)])
        until(lambda: store.lookup(key(29)))
        for number in range(30, 50):
            record.add([peer(number)])
        until(lambda: store.lookup(key(49)))
        assert store.lookup(key(1)) is not None
        slow.execute("COMMIT")
    until(lambda: store.lookup(key(2)) and store.lookup(key(1)) is None)
    equal(store, primary.url())


def test_the_primary_is_read_and_asked_while_the_standby_is_away(
    primary: Cluster, standby: Standby, record: LabPostgres, fleet: Gateways
) -> None:
    record.add([peer(1)])
    standby.catch_up()
    store = fleet.make(read_url=standby.url())
    standby.kill()
    record.add([peer(2)])
    until(lambda: store.lookup(key(2)))
    assert store.figures()["reads_primary"] is True
    assert store.fleet.ask(key(3)) is None
    standby.start()
    until(lambda: store.figures()["reads_primary"] is False)
    record.add([peer(4)])
    until(lambda: store.lookup(key(4)))
    equal(store, primary.url())


def test_a_standby_that_hangs_holds_nobody_up(
    primary: Cluster, standby: Standby, record: LabPostgres, fleet: Gateways
) -> None:
    record.add([peer(1)])
    standby.catch_up()
    store = fleet.make(read_url=standby.url())
    standby.hang()
    try:
        record.add([peer(2)])
        until(lambda: _asked(store, 2))
        until(lambda: store.lookup(key(2)))
        record.add([peer(3)])
        until(lambda: store.lookup(key(3)))  # read from the primary
        assert store.figures()["reads_primary"] is True
    finally:
        standby.go_on()
    until(lambda: store.figures()["reads_primary"] is False)
    equal(store, primary.url())


def _asked(store: ReplicaStore, number: int) -> bool:
    try:
        return store.fleet.ask(key(number)) == Registration(peer(number))
    except StoreError:
        return False


def test_a_standby_that_is_far_behind_is_not_read(
    primary: Cluster, standby: Standby, record: LabPostgres, fleet: Gateways
) -> None:
    record.add([peer(1)])
    standby.catch_up()
    store = fleet.make(read_url=standby.url())
    with standby.paused():
        record.add([peer(2)])
        record.remove(key(1))
        until(lambda: store.lookup(key(2)) and store.lookup(key(1)) is None)
        until(lambda: store.figures()["reads_primary"])
        record.add([peer(3)])
        until(lambda: store.lookup(key(3)))
    until(lambda: store.figures()["reads_primary"] is False)
    equal(store, primary.url())


def test_asked_for_what_the_standby_does_not_have_yet(
    primary: Cluster, standby: Standby, record: LabPostgres, fleet: Gateways
) -> None:
    standby.catch_up()
    store = fleet.make(read_url=standby.url())
    with standby.paused():
        record.add([peer(2)])
        until(lambda: _asked(store, 2))
    equal(store, primary.url())


def test_a_standby_takes_the_place_of_the_primary_and_what_it_lost_is_said_again(
    primary: Cluster, standby: Standby, record: LabPostgres, fleet: Gateways
) -> None:
    record.add(peer(n, f"10.0.0.{n}/32") for n in range(1, 51))
    one, two = fleet.make("gw1"), fleet.make("gw2")
    one.fleet.say([claim(1, 5.0)], [holding(1, 5.0)])
    until(lambda: two.fleet.hear(0)[0])
    standby.catch_up()
    standby.stop("fast")  # what is written now is lost
    one.fleet.say([claim(1, 9.0), claim(2, 9.0)], [holding(1, 9.0), holding(2, 9.0)])
    record.add([peer(60)])
    record.remove(key(3))
    record.replace(peer(4, "10.0.0.3/32", name="lost"))
    until(lambda: two.lookup(key(60)) and len(two.fleet.hear(0)[0]) == 2 and two.lookup(key(3)) is None)
    primary.kill()
    standby.start()
    standby.promote()
    with contextlib.closing(LabPostgres(DatabaseUrl(standby.url()), timeout=5.0)) as promoted:
        assert promoted.lookup(key(60)) is None
        promoted.add([peer(70, "10.0.0.70/32")])
        for store in (one, two):
            until(lambda store=store: store.lookup(key(70)) and store.lookup(key(60)) is None and store.lookup(key(3)))
        whole = Registration(peer(1, "10.0.0.1/32"), claim(1, 9.0), holding(1, 9.0))
        until(lambda: promoted.lookup(key(1)) == whole)
        until(lambda: promoted.lookup(key(2)) == Registration(peer(2, "10.0.0.2/32"), claim(2, 9.0), holding(2, 9.0)))
        for store in (one, two):
            equal(store, standby.url())

"""A replica that is damaged, deleted, or of another registry is made anew by itself, and what was not said is kept."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.postgresql import Cluster
from lab.registry import LabPostgres
from tests.contracts.store import claim, key, peer
from tests.postgresql.conftest import Shell
from tests.postgresql.replicas import Gateways, difference, equal, gateways, holding, until, whole
from tests.postgresql.test_replica import fill, smaller
from wgjit.errors import StoreError
from wgjit.model import Registration
from wgjit.stores.postgresql.database import schema
from wgjit.stores.postgresql.database.url import DatabaseUrl
from wgjit.stores.replica import anew
from wgjit.stores.replica.store import ReplicaStore


@pytest.fixture
def fleet(url: str, tmp_path: Path) -> Iterator[Gateways]:
    with gateways(url, tmp_path) as made:
        yield made


def damage(path: Path) -> None:
    """Overwrite all pages but the first, in the file and in its log."""
    for name in (path, Path(f"{path}-wal")):
        if name.exists() and (size := name.stat().st_size):
            with name.open("r+b") as file:
                file.seek(4096)
                file.write(os.urandom(max(0, size - 4096)))


def is_anew(store: ReplicaStore) -> bool:
    return bool(store.figures().get("made_anew"))


def poll(store: ReplicaStore) -> None:
    """What a gateway does all the time."""
    for call in (store.last_change, store.identity, lambda: store.lookup(key(1))):
        with contextlib.suppress(StoreError):
            call()


@pytest.mark.parametrize("what", ["file", "file and log"])
def test_deleted_under_a_running_gateway(registry: LabPostgres, fleet: Gateways, url: str, what: str) -> None:
    registry.add(peer(n, f"10.0.0.{n}/32") for n in range(1, 51))
    store = fleet.make()
    instance, change, identity = registry.gateways.every()[0].instance, store.last_change(), store.identity()
    store.fleet.say([claim(1, 5.0)], [holding(1, 5.0)])
    equal(store, url)
    place = store.fleet.hear(0, limit=0)[1]
    store.path.unlink()
    if what == "file and log":
        for end in ("-wal", "-shm"):
            Path(f"{store.path}{end}").unlink(missing_ok=True)
    until(lambda: poll(store) or is_anew(store))
    whole(store)
    equal(store, url)
    assert store.lookup(key(1)) == Registration(peer(1, "10.0.0.1/32"), claim(1, 5.0), holding(1, 5.0))
    assert store.identity() == identity, "it is the same registry"
    assert store.last_change() > change + 1, "who follows the changes notices that some are missing"
    assert store.fleet.hear(place, limit=0)[1] > place
    until(lambda: not store.fleet.is_behind())
    registry.add([peer(60)])
    until(lambda: store.lookup(key(60)))
    assert registry.gateways.every()[0].instance == instance
    assert store.figures()["restarts"] == 0


def test_deleted_while_the_engine_is_away_keeps_what_was_not_said(tmp_path: Path) -> None:
    with Cluster() as own:
        schema.init(DatabaseUrl(own.url()))
        with (
            contextlib.closing(LabPostgres(DatabaseUrl(own.url()), timeout=5.0)) as registry,
            gateways(own.url(), tmp_path) as fleet,
        ):
            registry.add([peer(1), peer(2)])
            store = fleet.make()
            own.kill()
            store.fleet.say([claim(1, 5.0)], [holding(2, 5.0)])
            until(lambda: store.figures().get("outbox") == 2)
            store.path.unlink()
            until(lambda: poll(store) or is_anew(store))
            assert store.fleet.is_behind()
            until(lambda: store.figures().get("outbox") == 2)
            assert store.lookup(key(1)) is None
            own.start()
            until(lambda: registry.lookup(key(1)) == Registration(peer(1), claim(1, 5.0)))
            until(lambda: registry.lookup(key(2)) == Registration(peer(2), None, holding(2, 5.0)))
            equal(store, own.url())


def test_damaged_under_a_running_gateway(registry: LabPostgres, fleet: Gateways, url: str) -> None:
    registry.add(peer(n, f"10.0.{n >> 8}.{n & 255}/32", name=f"peer {n}") for n in range(1, 3001))
    store = fleet.make()
    equal(store, url)
    store._reader.close()  # or it would go on to work with the pages that it has in memory
    store._reader = store.fleet._reader = type(store._reader)(store.path, read_only=True, timeout=0.25)
    damage(store.path)
    until(lambda: poll(store) or is_anew(store))
    whole(store)
    equal(store, url)
    assert store.lookup(key(1)) == Registration(peer(1, "10.0.0.1/32", name="peer 1"))
    assert store.figures()["restarts"] == 0


@pytest.mark.parametrize("how", ["garbage", "pages"])
def test_damaged_before_the_start(registry: LabPostgres, fleet: Gateways, url: str, how: str) -> None:
    registry.add(peer(n) for n in range(1, 1001))
    fleet.make().close()
    path = fleet.folder / "gw1.db"
    if how == "garbage":
        path.write_bytes(os.urandom(5000))
    else:
        damage(path)
    store = fleet.make()
    until(lambda: poll(store) or not difference(store, url))
    equal(store, url)


def test_what_can_be_read_of_a_damaged_file_is_kept(fleet: Gateways) -> None:
    store = fleet.make(start=False)
    store.fleet.say([claim(n, 5.0) for n in range(1, 201)], [holding(n, 5.0) for n in range(1, 201)])
    store.close()
    found = anew.salvage_file(store.path)
    assert (len(found.claims), len(found.holdings)) == (200, 200)
    assert found.instance is not None
    anew.start_anew(store.path, found)
    assert anew.salvage_file(store.path) == found
    store.path.write_bytes(b"no database")
    assert anew.salvage_file(store.path) == anew.Salvaged()
    assert anew.salvage_file(fleet.folder / "nothing.db") == anew.Salvaged()


def test_the_log_of_the_old_file_is_never_taken_for_the_new_ones(fleet: Gateways) -> None:
    store = fleet.make(start=False)
    with contextlib.closing(sqlite3.connect(store.path, isolation_level=None)) as other:  # keeps the log from ending
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM claims").fetchone()
        store.save_claims([claim(n, 5.0) for n in range(1, 500)])
        assert Path(f"{store.path}-wal").stat().st_size > 10_000
        anew.start_anew(store.path, anew.Salvaged())
        with contextlib.closing(sqlite3.connect(store.path)) as fresh:
            assert fresh.execute("SELECT count(*) FROM claims").fetchone() == (0,)
            assert fresh.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        other.execute("COMMIT")
    store.save_claims([claim(7, 5.0)])
    assert store.last_change() > 0
    with contextlib.closing(sqlite3.connect(store.path)) as fresh:
        assert fresh.execute("SELECT count(*) FROM claims").fetchone() == (1,)
    store.close()


# --- another registry -------------------------------------------------------------------------------------------


def test_a_registry_that_is_restored_from_a_dump_is_followed_and_what_it_lost_is_said_again(
    registry: LabPostgres, shell: Shell, cluster: Cluster, fleet: Gateways, url: str
) -> None:
    registry.add(peer(n, f"10.0.0.{n}/32") for n in range(1, 21))
    store = fleet.make()
    store.fleet.say([claim(1, 5.0)], [holding(1, 5.0)])
    until(lambda: (registry.lookup(key(1)) or Registration(peer(1))).holding)
    dump = cluster.folder / "dump.sql"
    cluster.run("pg_dump", "-d", url, "-f", str(dump))
    registry.add([peer(30)])
    registry.remove(key(2))
    registry.replace(peer(3, "10.0.0.2/32", name="moved"))
    store.fleet.say([claim(1, 9.0), claim(4, 9.0)], [holding(1, 9.0), holding(4, 9.0)])
    until(lambda: (registry.lookup(key(4)) or Registration(peer(4))).holding)
    equal(store, url)
    before = store.last_change()

    shell.execute("DROP SCHEMA wgjit CASCADE")
    until(lambda: store.figures()["trouble"])
    assert store.lookup(key(30)) is not None, "it goes on with what it has"
    cluster.run("psql", "-q", "-v", "ON_ERROR_STOP=1", "-d", url, "-f", str(dump))
    schema.init(DatabaseUrl(url))
    until(lambda: store.lookup(key(30)) is None)
    until(lambda: registry.lookup(key(1)) == Registration(peer(1, "10.0.0.1/32"), claim(1, 9.0), holding(1, 9.0)))
    until(lambda: registry.lookup(key(4)) == Registration(peer(4, "10.0.0.4/32"), claim(4, 9.0), holding(4, 9.0)))
    equal(store, url)
    concerned = {change.public_key for change in store.changes(before)}
    assert {key(3), key(30)} <= concerned <= {key(2), key(3), key(30)}
    assert store.figures().get("made_anew") is None, "no peer that is in both was dropped"


def test_another_registry(
    registry: LabPostgres, shell: Shell, fleet: Gateways, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More rows than are compared at once, on both sides."""
    smaller(monkeypatch)
    fill(shell.connection)
    store = fleet.make()
    equal(store, url)
    shell.execute("SET session_replication_role = replica")  # nothing is noted: it is another registry
    shell.execute("DELETE FROM peers WHERE substr(public_key, 1, 1) BETWEEN '\\x20' AND '\\x60'")
    for table in ("claims", "holdings"):
        shell.execute(f"DELETE FROM {table} WHERE substr(public_key, 1, 1) BETWEEN '\\x20' AND '\\xa0'")
    shell.execute("DELETE FROM addresses WHERE public_key NOT IN (SELECT public_key FROM peers)")
    shell.execute("UPDATE tallies SET peers = 0")
    shell.execute("INSERT INTO tallies (peers) SELECT count(*) FROM peers")
    shell.execute("UPDATE peers SET keepalive = 7 WHERE substr(public_key, 1, 1) > '\\xf0'")
    shell.execute("UPDATE meta SET value = uuid_send(gen_random_uuid()) WHERE what = 'identity'")
    shell.execute("SET session_replication_role = DEFAULT")
    equal(store, url)  # claims are said again, as far as there is a peer
    whole(store)


def test_a_first_copy_that_breaks_off_for_another_registry_begins_anew(
    shell: Shell, fleet: Gateways, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    smaller(monkeypatch, PAUSE=300)
    fill(shell.connection)
    store = fleet.make(wait=False)
    assert store.fleet.wait_for(lambda state: state.get("copied", 0) > 0, 60.0), store.figures()
    shell.execute("UPDATE meta SET value = uuid_send(gen_random_uuid()) WHERE what = 'identity'")
    until(lambda: is_anew(store))
    whole(store)
    assert difference(store, url) == ""


def test_a_replica_without_an_engine_is_as_it_was(registry: LabPostgres, fleet: Gateways, tmp_path: Path) -> None:
    registry.add([peer(1)])
    fleet.make().close()
    store = fleet.make(url=f"postgresql://nobody@/nothing?host={tmp_path}", wait=False)
    until(lambda: store.figures().get("trouble"))
    assert store.fleet.is_behind()
    assert store.lookup(key(1)) == Registration(peer(1))
    assert store.lookup(key(2), for_knock=False) is None, "it has all peers, as they were"

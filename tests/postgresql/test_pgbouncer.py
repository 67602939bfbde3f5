"""All of a registry, a gateway's replica, commands and API through pgbouncer in transaction mode.

There are two connections to the server for all clients of a test, and each transaction may get the other one.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.pgbouncer import PgBouncer
from lab.postgresql import Cluster
from lab.registry import LAB, LabPostgres
from tests.contracts.store import FULL, PeoplesRegistryContract, claim, key, peer
from tests.postgresql import test_as_the_file
from tests.postgresql.conftest import Shell
from tests.postgresql.replicas import Gateways, gateways, of_record, of_replica, until
from tests.postgresql.taken import taken
from tests.postgresql.test_replica import holding
from tests.postgresql.test_rules import at_once
from tests.unit.api.conftest import Api, run
from wgjit.database_url import DatabaseUrl
from wgjit.errors import NoSuchPeer, StoreUnreachable
from wgjit.model import Registration, Removed
from wgjit.stores.entries import Filter, Pool, Scope
from wgjit.stores.opening import Where, make_registry, open_registry

POOL = Pool(ipaddress.ip_network("10.8.0.0/24"))


@pytest.fixture(scope="module")
def bouncer(cluster: Cluster) -> Iterator[PgBouncer]:
    with PgBouncer(cluster) as bouncer:
        yield bouncer


@pytest.fixture
def url(emptied_url: str, bouncer: PgBouncer) -> str:
    """An empty registry through pgbouncer."""
    return bouncer.url(emptied_url.partition("@/")[2].partition("?")[0])


@pytest.fixture
def direct(emptied_url: str) -> str:
    return emptied_url


@pytest.fixture
def shell(direct: str, cluster: Cluster) -> Iterator[Shell]:
    """Another program, which has a session of its own."""
    with cluster.shell(direct) as connection:
        connection.execute("SET search_path = wgjit")
        yield Shell(connection)


class TestRegistryThroughPgbouncer(PeoplesRegistryContract):
    """The contract of a registry. The fixture `registry` is the folder's, with the URL of this file."""


globals().update(taken(test_as_the_file))


def test_transactions_share_the_servers_connections(registry: LabPostgres, shell: Shell) -> None:
    """Otherwise this file would show nothing."""
    own = registry._database
    with own.change() as one, own.change() as other:
        pids = {db.execute("SELECT pg_backend_pid()").fetchone() for db in (one, other)}
    assert len(pids) == 2
    later = []
    for _ in range(20):
        with own.view() as one, own.look() as other:
            later += [db.execute("SELECT pg_backend_pid()").fetchone() for db in (one, other)]
    assert set(later) == pids


def test_many_writers_and_readers_at_once(registry: LabPostgres, url: str, direct: str) -> None:
    """Each thread has a registry of its own; all of their transactions go over two connections."""

    def work(number: int) -> int:
        with contextlib.closing(LabPostgres(DatabaseUrl(url), timeout=60.0)) as own:
            first = 100 * number
            given = [own.hand_out(peer(first + n), {"n": str(n)}, [POOL]).allowed_ips for n in range(5)]
            own.fill([peer(first + n, f"10.{number}.0.{n}/32") for n in range(10, 60)])
            own.replace(peer(first + 10, f"10.{number}.1.0/24", name=f"wide{number}"))
            own.save_claims([claim(first + 10, float(number + 1))])
            assert own.find(f"wide{number}").public_key == key(first + 10)
            assert own.peers.page(Filter(labels={"n": "1"}), 5).entries
            with pytest.raises(NoSuchPeer):
                own.remove(key(99_999))
            own.remove(key(first + 11))
            return len(given)

    assert at_once(*[lambda number=number: work(number) for number in range(1, 7)]) == [5] * 6
    assert registry.count() == 6 * (5 + 50 - 1)
    with contextlib.closing(LabPostgres(DatabaseUrl(direct))) as straight:
        assert list(straight.every()) == list(registry.every())
        assert straight.changes(0) == registry.changes(0)


def test_nothing_of_ours_stays_on_the_servers_connections(registry: LabPostgres, url: str) -> None:
    registry.hand_out(FULL, {"team": "infra"})
    registry.fill([peer(1), peer(2)])
    registry.rotate(key(1), key(3))
    registry.tokens.create("ci", Scope.READ, by=LAB)
    registry.lookup(key(3))
    registry.peers.page(Filter(), 5)
    with registry._database.change() as one, registry._database.change() as other:  # both of them
        for db in (one, other):
            for query in (
                "SELECT name FROM pg_prepared_statements",
                "SELECT name FROM pg_settings WHERE source = 'session' AND name NOT IN ('lock_timeout', "
                "'transaction_isolation', 'transaction_read_only', 'application_name', 'client_encoding')",
                "SELECT relname FROM pg_class WHERE relnamespace = pg_my_temp_schema()",
                "SELECT objid FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()",
            ):
                assert db.execute(query.encode()).fetchall() == [], query


def test_a_pgbouncer_that_is_restarted_is_found_again(cluster: Cluster, direct: str) -> None:
    with PgBouncer(cluster) as own:
        name = direct.partition("@/")[2].partition("?")[0]
        with contextlib.closing(LabPostgres(DatabaseUrl(own.url(name)))) as registry:
            registry.add([peer(1)])
            own.stop()
            with pytest.raises(StoreUnreachable):
                registry.lookup(key(1))
            own.start()
            assert registry.lookup(key(1)) == Registration(peer(1))
            own.restart()
            assert registry.add([peer(2)]) == 1


def test_the_schema_is_made_through_it(cluster: Cluster, bouncer: PgBouncer) -> None:
    with cluster.database() as name:
        assert make_registry(Where(bouncer.url(name))) is True
        assert make_registry(Where(bouncer.url(name))) is False
        registry = open_registry(Where(bouncer.url(name)))
        assert registry.peers.count() == 0
        registry.close()


# --- a gateway --------------------------------------------------------------------------------------------------------


@pytest.fixture
def fleet(url: str, tmp_path: Path) -> Iterator[Gateways]:
    with gateways(url, tmp_path) as made:
        yield made


def test_two_gateways_copy_follow_say_hear_and_ask(
    registry: LabPostgres, fleet: Gateways, direct: str, tmp_path: Path
) -> None:
    registry.add([FULL, peer(1, "10.0.0.1/32", name="alice"), peer(2, "10.0.0.2/32")])
    registry.fill([peer(number) for number in range(1000, 4000)])
    one, two = fleet.make("gw1"), fleet.make("gw2")
    registry.add([peer(3, "10.0.0.3/32")])
    registry.replace(peer(2, "10.0.0.22/32", name="bob"))
    registry.remove(key(1))
    until(lambda: two.lookup(key(1)) is None and two.lookup(key(3)))
    assert two.former(key(1)) == Removed(key(1))
    one.fleet.say([claim(2, 1000.0)], [holding(2, 1000.0)])
    until(lambda: two.fleet.hear(0)[0] == [holding(2, 1000.0)])
    two.fleet.say([], [holding(2, 1001.0, "gw2")])
    until(lambda: one.fleet.hear(0)[0] == [holding(2, 1001.0, "gw2", before="gw1")])
    until(lambda: of_replica(one.path) == of_replica(two.path) == of_record(direct))
    slow = fleet.make("gw3", poll=30.0)
    registry.add([peer(4, "10.0.0.4/32")])
    assert slow.fleet.ask(key(4)) == Registration(peer(4, "10.0.0.4/32"))
    until(lambda: [(each.name, each.lives) for each in registry.gateways.every()] == [
        ("gw1", True), ("gw2", True), ("gw3", True)
    ])  # fmt: skip


# --- people -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def api(url: str, tmp_path: Path) -> Iterator[Api]:
    server = run(tmp_path, url=url)
    try:
        yield server
    finally:
        server.end()


def test_the_api_through_it(api: Api) -> None:
    http = api.remote(api.token("admin"))
    made = http.post("/v1/peers", json={"name": "alice", "labels": {"team": "infra"}}, headers={"Idempotency-Key": "a"})
    assert made.status_code == 201
    again = http.post(
        "/v1/peers", json={"name": "alice", "labels": {"team": "infra"}}, headers={"Idempotency-Key": "a"}
    )
    assert again.json()["public_key"] == made.json()["public_key"]
    assert http.get("/v1/peers", params={"label": "team=infra"}).json()["peers"][0]["name"] == "alice"
    assert http.post("/v1/peers/alice/rotate").status_code == 200
    assert http.delete("/v1/peers/alice").status_code == 204
    assert [entry["verb"] for entry in http.get("/v1/audit").json()["entries"]][:3] == ["remove", "rotate", "add"]
    assert "internal error" not in api.log()


def test_a_whole_registry_is_copied_through_it_and_back(
    registry: LabPostgres, url: str, cluster: Cluster, bouncer: PgBouncer, tmp_path: Path
) -> None:
    registry.fill([peer(n, f"10.0.{n >> 8}.{n & 255}/32", name=f"n{n}") for n in range(30_000)])
    registry.amend(key(5), lambda one: one, {"team": "infra"})
    registry.save_claims([claim(5, 5.0)])

    def copy(source: str, target: str) -> dict[str, int]:
        command = [sys.executable, "-m", "wgjit", "registry", "copy", source, target, "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        rows: dict[str, int] = json.loads(done.stdout)["rows"]
        return rows

    rows = copy(url, str(tmp_path / "a.db"))
    assert (rows["peers"], rows["labels"], rows["claims"]) == (30_000, 1, 1)
    with cluster.database() as name:
        assert copy(str(tmp_path / "a.db"), bouncer.url(name)) == rows


@pytest.mark.parametrize("arguments", [["peer", "list"], ["audit"], ["token", "list"], ["peer", "export"]])
def test_commands_through_it(url: str, arguments: list[str], call: Callable[..., str]) -> None:
    call("peer", "add", "alice", "--public-key", str(key(1)), "--allowed-ips", "10.0.0.1")
    call("token", "create", "alice", "--scope", "read")
    assert "alice" in call(*arguments)


@pytest.fixture
def call(url: str) -> Callable[..., str]:
    def run_it(*arguments: str) -> str:
        command = [sys.executable, "-m", "wgjit", *arguments, "--store", url]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    return run_it

"""The database: its URL is a secret, its schema has a version, and it may go away and come back."""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import logging
import subprocess
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.postgresql import Cluster
from lab.registry import LAB, LabPostgres
from tests.contracts.store import FULL, claim, key, peer
from tests.postgresql.conftest import Shell
from tests.postgresql.test_rules import at_once
from wgjit.errors import InvalidValue, NoSuchPeer, StoreBusy, StoreError, StoreUnreachable
from wgjit.model import PresharedKey, Registration, Removed
from wgjit.stores.entries import Filter, Pool, Scope
from wgjit.stores.opening import Where, make_registry, migrate_registry, open_registry
from wgjit.stores.postgresql.database import schema
from wgjit.stores.postgresql.database.url import DatabaseUrl

SECRET = "hunter2-Zq8"


# --- the URL --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"postgresql://wgjit:{SECRET}@db1/wgjit", "postgresql://db1/wgjit"),
        (f"postgres://wgjit:{SECRET}@db1:5433/wgjit?sslmode=verify-full", "postgresql://db1:5433/wgjit"),
        (
            f"postgresql://w:{SECRET}@db1:1,db2:2/wgjit?target_session_attrs=read-write",
            "postgresql://db1:1,db2:2/wgjit",
        ),
        (f"postgresql:///wgjit?host=/run/postgresql&password={SECRET}", "postgresql:///run/postgresql/wgjit"),
        (f"postgresql://db1/wgjit?sslpassword={SECRET}", "postgresql://db1/wgjit"),
    ],
)
def test_a_url_is_shown_without_its_secrets(text: str, shown: str) -> None:
    url = DatabaseUrl(text)
    assert str(url) == shown
    for told in (str(url), repr(url), f"{url}", str(Where(text)), repr(Where(text))):
        assert SECRET not in told
    assert SECRET in url.reveal()


@pytest.mark.parametrize(
    "text",
    [f"postgresql://u:{SECRET}@[h/db", f"postgresql://u:{SECRET}@h/db?{SECRET}=1", f"postgresql://u:%{SECRET}@h"],
)
def test_a_malformed_url_is_not_repeated(text: str) -> None:
    with pytest.raises(InvalidValue, match="PostgreSQL URL") as caught:
        DatabaseUrl(text)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_a_database_that_is_not_reached_says_so_without_the_password(cluster: Cluster, tmp_path: Path) -> None:
    for host in (str(tmp_path), str(cluster.folder)):
        with pytest.raises(StoreError) as caught:
            open_registry(Where(f"postgresql://nobody:{SECRET}@/nothing?host={host}"))
        assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_no_error_tells_a_secret(registry: LabPostgres, shell: Shell, caplog: pytest.LogCaptureFixture) -> None:
    """The server's DETAIL has the whole row that it refuses."""
    caplog.set_level(logging.DEBUG)
    psk = PresharedKey(b"secret--" * 4)
    shell.execute("ALTER TABLE peers ADD CONSTRAINT strange CHECK (keepalive <> 7)")
    new = dataclasses.replace(FULL, preshared_key=psk, keepalive=7)
    for attempt in (
        lambda: registry.hand_out(new, {}),
        lambda: registry.add([new, peer(1)]),
        lambda: registry.fill([new]),
    ):
        with pytest.raises(StoreError) as caught:
            attempt()
        told = "".join(traceback.format_exception(caught.value)) + caplog.text
        for form in (psk.reveal_base64(), psk.reveal().hex(), psk.reveal().decode()):
            assert form not in told


# --- the schema -----------------------------------------------------------------------------------------------------


@pytest.fixture
def empty(cluster: Cluster) -> Iterator[str]:
    with cluster.database() as name:
        yield cluster.url(name)


def test_there_is_no_registry_before_init_and_one_after(empty: str) -> None:
    where = Where(empty)
    with pytest.raises(StoreError, match="wgjit registry init"):
        open_registry(where, create=True)
    assert make_registry(where) is True
    assert make_registry(where) is False
    registry = open_registry(where)
    assert registry.peers.adopt([peer(1)], by=LAB) == 1
    registry.close()


def test_many_that_make_it_at_once_make_one(empty: str) -> None:
    results = at_once(*[lambda: schema.init(DatabaseUrl(empty))] * 6)
    assert sorted(map(str, results)) == ["False"] * 5 + ["True"]


def test_a_newer_and_an_older_schema_are_refused(registry: LabPostgres, shell: Shell, url: str) -> None:
    shell.execute("UPDATE meta SET value = '99' WHERE what = 'schema'")
    for attempt in (lambda: open_registry(Where(url)), lambda: make_registry(Where(url))):
        with pytest.raises(StoreError, match=r"made by a newer wgjit \(schema 99, this one knows \d+\); upgrade wgjit"):
            attempt()
    shell.execute("UPDATE meta SET value = '1' WHERE what = 'schema'")
    with pytest.raises(StoreError, match="its schema is older; migrate it with `wgjit registry migrate`"):
        open_registry(Where(url))


def test_an_older_schema_is_migrated_and_none_is_made_by_the_way(
    empty: str, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StoreError, match="no registry in this database; make it with `wgjit registry init`"):
        migrate_registry(Where(empty))
    today = schema.scripts("wgjit.stores.postgresql.database")
    make_registry(Where(empty))
    newer = (*today, "CREATE TABLE wgjit.extra ()")
    monkeypatch.setattr(schema, "scripts", lambda _package: newer)
    with pytest.raises(StoreError, match="its schema is older; migrate it with `wgjit registry migrate`"):
        open_registry(Where(empty))
    assert migrate_registry(Where(empty)) is True
    assert migrate_registry(Where(empty)) is False
    open_registry(Where(empty)).close()
    with cluster.shell(empty) as shell:
        assert shell.execute("SELECT to_regclass('wgjit.extra') IS NOT NULL").fetchone() == (True,)


def test_a_schema_of_another_program_is_left_alone(empty: str, cluster: Cluster) -> None:
    with cluster.shell(empty) as shell:
        shell.execute("CREATE SCHEMA wgjit")
        shell.execute("CREATE TABLE wgjit.theirs ()")
    with pytest.raises(StoreError, match="another program"):
        make_registry(Where(empty))


def test_a_dump_comes_back_as_it_was(registry: LabPostgres, url: str, empty: str, cluster: Cluster) -> None:
    registry.hand_out(FULL, {"team": "infra"})
    registry.add([peer(1, "10.7.0.0/24")])
    registry.save_claims([claim(7, 5.0)])
    registry.replace(peer(1, name="one"))
    registry.remove(key(1))
    with cluster.shell() as shell:
        for _ in range(50):  # the other server, so to say, is ahead in its transactions
            shell.execute("SELECT pg_current_xact_id()")
    dump = subprocess.run([cluster.bin / "pg_dump", url], capture_output=True, check=True).stdout
    subprocess.run(
        [cluster.bin / "psql", "-q", "-v", "ON_ERROR_STOP=1", empty], input=dump, check=True, stdout=subprocess.PIPE
    )
    with cluster.shell(empty) as shell:
        shell.execute("ALTER TABLE wgjit.peers DISABLE TRIGGER USER")
        shell.execute("UPDATE wgjit.peers SET written = '999999999'")
        shell.execute("ALTER TABLE wgjit.peers ENABLE TRIGGER USER")
    assert make_registry(Where(empty)) is False
    with contextlib.closing(LabPostgres(DatabaseUrl(empty))) as again:
        assert list(again.every()) == [FULL]
        assert again.peers.labels(key(7)) == {"team": "infra"}
        assert again.lookup(key(7)) == Registration(FULL, claim(7, 5.0))
        assert again.changes(0) == registry.changes(0)
        assert again.identity() != registry.identity()
        assert again.count() == 1
    with cluster.shell(empty) as shell:
        late = "SELECT count(*) FROM wgjit.peers WHERE written >= pg_snapshot_xmax(pg_current_snapshot())"
        assert shell.execute(late).fetchone() == (0,)


def documented_grants() -> str:
    page = (Path(__file__).parents[2] / "docs/REGISTRY.md").read_text()
    return page.partition("```sql\n")[2].partition("```")[0]


def test_the_documented_roles_can_do_their_part_and_no_more(
    registry: LabPostgres, shell: Shell, cluster: Cluster, url: str
) -> None:
    roles = ("gateways", "managers")
    shell.execute("".join(f"CREATE ROLE {role} LOGIN; " for role in roles))
    try:
        shell.execute(documented_grants())
        name = url.partition("@/")[2].partition("?")[0]
        as_gateway, as_manager = (DatabaseUrl(cluster.url(name, role)) for role in roles)
        with (
            contextlib.closing(LabPostgres(as_manager)) as manager,
            contextlib.closing(LabPostgres(as_gateway)) as gateway,
        ):
            manager.hand_out(FULL, {"team": "infra"}, [Pool(ipaddress.ip_network("10.7.0.0/24"))])
            manager.fill([peer(1, "10.6.0.0/24")])
            manager.replace(peer(1, name="one"))
            manager.tokens.create("ci", Scope.READ, by=LAB)
            gateway.save_claims([claim(7, 5.0)])
            assert gateway.lookup(key(7)) == manager.lookup(key(7)) is not None
            assert gateway.changes(0) == manager.changes(0) != []
            assert gateway.addresses_version() == manager.addresses_version()
            assert gateway.cover([ipaddress.ip_network("10.0.0.0/8")], 50).prefixes
            manager.claims.reset(key(7), by=LAB)
            manager.remove(key(7))
            assert gateway.former(key(7)) == Removed(key(7))
            for attempt in (
                lambda: gateway.add([peer(2)]),
                lambda: gateway.remove(key(1)),
                lambda: gateway.reset_claim(key(7)),
                lambda: gateway.tokens.every(),
            ):
                with pytest.raises(StoreError, match="access is denied"):
                    attempt()
    finally:
        shell.execute("".join(f"DROP OWNED BY {role}; DROP ROLE {role}; " for role in roles))


# --- connections ----------------------------------------------------------------------------------------------------


def test_a_server_that_is_restarted_is_found_again(tmp_path: Path) -> None:
    with Cluster() as own:
        schema.init(DatabaseUrl(own.url()))
        with contextlib.closing(LabPostgres(DatabaseUrl(own.url()))) as registry:
            registry.add([peer(1)])
            own.stop("fast")
            with pytest.raises(StoreUnreachable):
                registry.lookup(key(1))
            with pytest.raises(StoreUnreachable):
                registry.add([peer(2)])
            own.start()
            assert registry.lookup(key(1)) == Registration(peer(1))
            own.stop("fast")
            own.start()
            assert registry.add([peer(2)]) == 1  # its idle connection had ended meanwhile


def test_a_connection_that_breaks_in_a_transaction_undoes_it(registry: LabPostgres, shell: Shell) -> None:
    def breaks(_: object) -> None:
        shell.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

    with pytest.raises(StoreUnreachable):
        registry.hand_out(peer(1), {}, (), breaks)
    assert registry.count() == 0
    assert registry.add([peer(1)]) == 1


def test_who_waits_too_long_for_another_writer_is_told(registry: LabPostgres, cluster: Cluster, url: str) -> None:
    registry.add([peer(1)])
    with cluster.shell(url) as other:
        other.execute("BEGIN")
        other.execute("UPDATE wgjit.peers SET keepalive = 5")
        with pytest.raises(StoreBusy, match="another program is writing"):
            registry.replace(peer(1, name="a"))
        assert registry.lookup(key(1)) == Registration(peer(1))
        assert registry.peers.page(Filter(), 5).entries
        other.execute("COMMIT")
    registry.replace(peer(1, name="a"))


def test_a_reader_changes_nothing(registry: LabPostgres, url: str) -> None:
    registry.add([peer(1)])
    _, text = registry.tokens.create("ci", Scope.READ, by=LAB)
    with contextlib.closing(LabPostgres(DatabaseUrl(url), read_only=True)) as reader:
        assert reader.lookup(key(1)) == Registration(peer(1))
        assert reader.tokens.authenticate(text, 2e9) is not None
        for attempt in (lambda: reader.add([peer(2)]), lambda: reader.save_claims([claim(1, 1.0)])):
            with pytest.raises(StoreError, match="read only"):
                attempt()
    assert registry.tokens.every()[0].last_used_at is None


def test_nothing_stays_in_a_session(registry: LabPostgres, url: str) -> None:
    """No setting, no temporary table, no lock: the next use finds the connection as it was."""
    registry.hand_out(FULL, {"team": "infra"})
    registry.fill([peer(1), peer(2)])
    registry.peers.page(Filter(), 5)
    for _ in range(10):
        registry.lookup(key(1))
    registry.save_claims([claim(1, 1.0)])
    with pytest.raises(NoSuchPeer):
        registry.remove(key(99))
    idle = registry._database._idle
    assert idle
    for _, db in idle:
        for query in (
            "SELECT name FROM pg_settings WHERE source = 'session'",
            "SELECT relname FROM pg_class WHERE relnamespace = pg_my_temp_schema()",
            "SELECT objid FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()",
        ):
            assert db.execute(query.encode()).fetchall() == []


def test_a_migration_that_changes_what_a_prepared_statement_returns_spoils_one_use_alone(
    registry: LabPostgres, shell: Shell
) -> None:
    registry.add([peer(1)])
    assert registry.lookup(key(1)) == Registration(peer(1))
    shell.execute("ALTER TABLE peers ALTER COLUMN keepalive TYPE bigint")
    with contextlib.suppress(StoreError):
        registry.lookup(key(1))
    assert registry.lookup(key(1)) == Registration(peer(1))


def test_a_lookup_is_planned_once_on_a_connection_to_the_server_itself(registry: LabPostgres) -> None:
    registry.add([peer(1)])
    for _ in range(3):
        registry.lookup(key(1))
    [(_, db)] = registry._database._idle
    prepared = db.execute("SELECT sum(generic_plans + custom_plans) FROM pg_prepared_statements").fetchone()
    assert prepared is not None
    assert prepared[0] >= 3


def test_many_threads_share_few_connections(registry: LabPostgres, shell: Shell) -> None:
    registry.add([peer(1)])
    registry._database._timeout = 30.0
    most: list[int] = []
    done = threading.Event()

    def watch() -> int:
        while not done.is_set():
            row = shell.execute(
                "SELECT count(*) FROM pg_stat_activity "
                "WHERE application_name = 'wgjit' AND datname = current_database()"
            ).fetchone()
            most.append(0 if row is None else row[0])
        return 1

    def look() -> int:
        for _ in range(50):
            assert registry.lookup(key(1)) is not None
        return 1

    watcher = threading.Thread(target=watch)
    watcher.start()
    results = at_once(*[look] * 24)
    done.set()
    watcher.join()
    assert results == [1] * 24
    assert 1 <= max(most) <= 8


def test_texts_that_postgresql_cannot_keep_are_looked_for_in_vain(registry: LabPostgres) -> None:
    registry.add([peer(1, name="alice")])
    for text in ("a\0b", "\udcff", "alice\0"):
        assert registry.peers.names(text, 5) == []
        assert registry.peers.search(text, 5, anywhere=True) == []
        assert registry.peers.page(Filter(name_prefix=text), 5).entries == []
        assert registry.peers.page(Filter(labels={text: text}), 5).entries == []
        assert registry.answers.find(text, by=LAB) is None
        with pytest.raises(NoSuchPeer):
            registry.find(text)

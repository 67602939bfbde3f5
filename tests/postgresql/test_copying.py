"""`wgjit registry copy`: exact in every direction, of one moment, resumable after a kill, and never into another's."""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from lab.postgresql import Cluster
from lab.registry import LAB, LabPostgres, LabRegistry, opened
from tests.contracts.store import FULL, claim, inferred, key, peer
from tests.postgresql.conftest import emptied
from tests.unit.cli.conftest import Run, two, wgjit, written_by_another
from wgjit.database_url import DatabaseUrl
from wgjit.errors import StoreError
from wgjit.model import NEVER, Peer, Removed
from wgjit.stores.copying.copy import digest_of
from wgjit.stores.copying.database import DatabaseSource
from wgjit.stores.copying.file import FileSource
from wgjit.stores.copying.tables import CHUNK, TABLES, Table
from wgjit.stores.entries import Answer, AuditFilter, Author, Filter, Pool, Scope
from wgjit.stores.opening import Where, copy_registry, open_registry

__all__ = ["two", "wgjit"]

POOL4 = Pool(ipaddress.ip_network("10.40.0.0/24"), quarantine=3600)
POOL6 = Pool(ipaddress.ip_network("fd40::/64"), quarantine=0)
AUDIT = AuditFilter()
WIDER = Pool(ipaddress.ip_network("10.40.0.0/16"))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "unused.db"


@pytest.fixture
def free(kept: str, cluster: Cluster) -> Iterator[str]:
    """A database with an empty registry, and empty again afterwards, also if a copy has left its mark."""
    with cluster.shell(kept) as shell:
        emptied(shell)
        yield kept
        shell.execute("DELETE FROM wgjit.meta WHERE what = 'copying'")
        emptied(shell)


class Silent:
    """Takes a copy's progress. `at` is called when a step begins."""

    def __init__(self, at: Callable[[str, str], None] = lambda _doing, _table: None) -> None:
        self.at = at

    def begin(self, doing: str, table: Table, rows: int) -> None:
        self.at(doing, table.name)

    def advance(self, rows: int) -> None:
        pass


def copied(source: Path | str, target: Path | str) -> dict[str, int]:
    counts, _ = copy_registry(Where(str(source)), Where(str(target)), Silent())
    return {table.name: count for table, count in counts.items()}


def full(path: Path) -> Path:
    """A file with something of everything."""
    with contextlib.closing(LabRegistry(path, pools=[POOL4, POOL6])) as registry:
        registry.add(
            [
                FULL,
                peer(1, "10.7.0.1/32", "10.30.0.0/24", "fd01:7::/48", name='Zoë, "the" 1'),
                peer(2),
                Peer(key(3), idle_timeout=NEVER, enabled=False, expires_at=-5, keepalive=65535),
                *(peer(number, f"10.6.{number // 250}.{number % 250}/32") for number in range(20, 400)),
            ]
        )
        registry.amend(key(1), lambda one: one, {"team": "infra", "env": 'a "b", c=d', "Zürich": "1"})
        registry.save_claims([claim(1, 5.5), claim(7, 7.25, "gw2", "[fe80::1%3]:9"), inferred(2, 99.0, 3.0)])
        registry.save_claims([claim(21, 1.0)])
        for number in (21, 22):
            registry.remove(key(number))
        for number in range(1000, 1006):
            registry.hand_out(Peer(key(number)), {}, [POOL4, POOL6])
        for number in (1001, 1002):
            registry.remove(key(number))
        registry.hand_out(Peer(key(1010)), {}, [WIDER])
        registry.add([peer(1020, "10.40.0.128/25")])
        registry.remove(key(1020))  # a wide range rests in both pools
        for name, rate in (("ci", None), ("portal", 5.5), ("old", 1e-3)):
            registry.tokens.create(name, Scope.WRITE, by=LAB, rate=rate, expires_at=time.time() + 1e6)
        registry.tokens.revoke("old", by=LAB)
        registry.answers.keep("again", Answer(b"f" * 32, 201, b'{"a": "\xc3\xa4"}'), by=Author("token ci"))
    with contextlib.closing(sqlite3.connect(path)) as raw, raw:
        raw.execute("UPDATE pools SET next = NULL WHERE last = x'040a2800ff'")  # its end was reached
        for number, until, before in ((1, None, "gw2"), (7, 12.5, None)):
            raw.execute(
                "INSERT INTO holdings SELECT public_key, timestamp, 3, 'gw1', 1700000000123, endpoint, 1.5, ?, ?, 7 "
                "FROM claims WHERE public_key = ?",
                (until, before, key(number)),
            )
    return path


def dump(path: Path) -> dict[str, list[Any]]:
    """All that a file keeps, but its own identity and its log of changes; not read by the code that copies."""
    queries = {
        name: f"SELECT * FROM {name} ORDER BY 1, 2"
        for name in ("peers", "addresses", "labels", "claims", "removed", "tokens", "audit", "idempotency", "totals")
    }
    queries["pools"] = "SELECT first, last, next FROM pools ORDER BY 1, 2"
    queries["freed"] = (
        "SELECT p.first, p.last, f.first, f.last, f.at FROM freed AS f JOIN pools AS p ON p.id = f.pool "
        "ORDER BY 1, 2, 3, 4"
    )
    queries["holdings"] = (
        "SELECT public_key, timestamp, takeovers, gateway, epoch, endpoint, since, until, before FROM holdings "
        "ORDER BY 1"
    )
    queries["next entry"] = "SELECT seq FROM sqlite_sequence WHERE name = 'audit'"
    with contextlib.closing(sqlite3.connect(path)) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return {what: raw.execute(query).fetchall() for what, query in queries.items()}


# --- exact ------------------------------------------------------------------------------------------------------------


def test_there_and_back_everything_is_as_it_was(tmp_path: Path, free: str, cluster: Cluster) -> None:
    source, back, again = full(tmp_path / "a.db"), tmp_path / "b.db", tmp_path / "c.db"
    before = dump(source)
    assert all(before.values())
    counts = copied(source, free)
    assert counts == {table.name: len(before[table.name]) for table in TABLES}
    assert all(counts.values())
    assert copied(free, back) == counts
    assert dump(back) == before
    assert copied(back, again) == counts
    assert dump(again) == before
    assert dump(source) == before
    ends = (FileSource(source), DatabaseSource(DatabaseUrl(free)), FileSource(back), FileSource(again))
    for table in TABLES:
        assert len({digest_of(end, table).value for end in ends}) == 1, table.name
    assert len({end.identity() for end in ends}) == 4
    for end in ends:
        end.close()


def test_from_one_database_into_another(tmp_path: Path, free: str, cluster: Cluster) -> None:
    counts = copied(full(tmp_path / "a.db"), free)
    with cluster.database() as name:  # without a registry: it is made
        assert copied(free, cluster.url(name)) == counts
        assert copied(cluster.url(name), tmp_path / "b.db") == counts
    assert dump(tmp_path / "b.db") == dump(tmp_path / "a.db")


def test_the_copy_goes_on_as_the_registry_would(tmp_path: Path, free: str) -> None:
    source = full(tmp_path / "a.db")
    with contextlib.closing(LabRegistry(source)) as old:
        secret = old.tokens.create("late", Scope.ADMIN, by=LAB)[1]
        entries = old.audit.page(AUDIT, 1).entries
    copied(source, free)
    with (
        contextlib.closing(LabRegistry(source, pools=[POOL4, POOL6])) as old,
        contextlib.closing(LabPostgres(DatabaseUrl(free), pools=[POOL4, POOL6])) as new,
    ):
        assert new.identity() != old.identity()
        assert new.last_change() == 0
        found, known = new.lookup(key(7)), old.lookup(key(7))
        assert found is not None
        assert known is not None
        assert found.holding is not None  # a file tells of it only if it is a gateway's copy
        assert dataclasses.replace(found, holding=None) == known
        assert isinstance(new.former(key(21)), Removed)
        assert new.former(key(21)) == old.former(key(21))
        assert new.peers.count() == old.peers.count()
        assert [e.labels for e in new.peers.entries(Filter())] == [e.labels for e in old.peers.entries(Filter())]
        assert new.tokens.authenticate(secret, time.time()) is not None
        assert new.answers.find("again", by=Author("token ci")) == old.answers.find("again", by=Author("token ci"))
        for number in range(2000, 2003):
            given = [registry.hand_out(Peer(key(number)), {}, [POOL6]).allowed_ips for registry in (old, new)]
            assert given[0] == given[1]
        with pytest.raises(StoreError, match="no address is free"):
            new.hand_out(Peer(key(2009)), {}, [POOL4])
        assert new.audit.page(AUDIT, 1).entries[0].id > entries[0].id


def test_addresses_that_a_database_had_ready_are_given_out_by_the_file(tmp_path: Path, free: str) -> None:
    small = Pool(ipaddress.ip_network("10.20.0.0/28"), quarantine=3600)
    with contextlib.closing(LabPostgres(DatabaseUrl(free), pools=[small])) as registry:
        first = registry.hand_out(Peer(key(1)), {}, [small]).allowed_ips
    assert [str(prefix) for prefix in first] == ["10.20.0.1/32"]
    copied(free, tmp_path / "b.db")
    with contextlib.closing(LabRegistry(tmp_path / "b.db", pools=[small])) as registry:
        given = [str(registry.hand_out(Peer(key(n)), {}, [small]).allowed_ips[0]) for n in range(2, 15)]
        assert sorted(given, key=ipaddress.ip_network) == [f"10.20.0.{n}/32" for n in range(2, 15)]


def test_it_is_of_one_moment_and_says_what_it_has_missed(tmp_path: Path, free: str, cluster: Cluster) -> None:
    """A peer that is changed while others are copied is in the copy as it was when the copy began."""
    source = full(tmp_path / "a.db")
    before = dump(source)

    def write(doing: str, table: str) -> None:
        if (doing, table) == ("copying", "addresses"):
            with opened(place, timeout=5) as registry:
                registry.replace(peer(2, "10.99.0.1/32", name="late"))
                registry.save_claims([claim(1, 900.0)])

    place: Path | str = source
    _, changed = copy_registry(Where(str(source)), Where(free), Silent(write))
    assert changed
    place = free
    _, changed = copy_registry(Where(free), Where(str(tmp_path / "b.db")), Silent(write))
    assert changed
    assert dump(tmp_path / "b.db") == before
    with opened(free) as registry:
        assert registry.find("late").public_key == key(2)


# --- interrupted ------------------------------------------------------------------------------------------------------


def many(path: Path, count: int) -> None:
    with contextlib.closing(LabRegistry(path, timeout=5)) as registry, registry.load() as load:
        load.peers(
            (n, peer(n, f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}/32", name=f"n{n}" if n % 3 else None))
            for n in range(count)
        )
        load.commit(lambda *_: None, "test")
        registry.save_claims([claim(n, float(n)) for n in range(0, count, 7)])


def rows_in(place: Path | str) -> int:
    try:
        if isinstance(place, Path):
            with contextlib.closing(sqlite3.connect(f"file:{place}?mode=ro", uri=True)) as raw:
                return int(raw.execute("SELECT count(*) FROM peers").fetchone()[0])
        with contextlib.closing(DatabaseSource(DatabaseUrl(place))) as end:
            return end.count(TABLES[0])
    except (sqlite3.Error, StoreError):
        return 0


def change(place: Path | str) -> None:
    """All that may happen between two tries: gone, new, other values, a name and an address that go to another peer."""
    with opened(place, timeout=5) as registry:
        registry.remove(key(1))
        registry.remove(key(3))
        registry.add([peer(3, "10.0.0.1/32"), peer(10**6, "172.16.0.0/24", name="new")])
        taken = registry.peers.registration("n5").peer
        registry.replace(dataclasses.replace(taken, name=None, allowed_ips=()))
        registry.replace(dataclasses.replace(peer(10, "10.0.0.5/32"), name="n5"))
        registry.amend(key(8), lambda one: one, {"team": "infra"})
        registry.claims.reset(key(7), by=LAB)
        registry.save_claims([claim(14, 1e6)])
        registry.tokens.create("between", Scope.READ, by=LAB)


@pytest.mark.parametrize("changed", [False, True])
@pytest.mark.parametrize("into", ["database", "file"])
def test_a_copy_that_was_killed_goes_on_and_is_exact(tmp_path: Path, free: str, into: str, changed: bool) -> None:
    count = 4 * CHUNK + 7
    path, back = tmp_path / "a.db", tmp_path / "b.db"
    many(path, count)
    source: Path | str = path
    target: Path | str = free
    if into == "file":
        copied(path, free)
        source, target = free, back
    command = [sys.executable, "-m", "wgjit", "registry", "copy", str(source), str(target)]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        while not rows_in(target):
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert 0 < rows_in(target) < count
    with pytest.raises(StoreError, match="is not whole yet; finish it with `wgjit registry copy`"):
        open_registry(Where(str(target)))
    if changed:
        change(source)
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    about = json.loads(done.stdout)
    assert about["rows"]["peers"] == count  # if it was changed, one is gone and one is new
    assert not about["changed"]
    assert "checking" in done.stderr
    with opened(target) as registry:
        assert registry.peers.count() == about["rows"]["peers"]
    if into == "database":
        copied(free, back)
        assert dump(back) == dump(path)
    else:
        third = tmp_path / "c.db"
        copied(free, third)
        assert dump(back) == dump(third)


def test_two_at_once_harm_nobody(tmp_path: Path, free: str) -> None:
    path = tmp_path / "a.db"
    many(path, 3 * CHUNK)
    command = [sys.executable, "-m", "wgjit", "registry", "copy", str(path), free]
    both = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    ended = [(process.communicate()[1], process.returncode) for process in both]
    assert {status for _, status in ended} <= {0, 1}, ended
    if all(status == 1 for _, status in ended):
        assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    copied(free, tmp_path / "b.db")
    assert dump(tmp_path / "b.db") == dump(path)


# --- refused ----------------------------------------------------------------------------------------------------------


def refused(source: Path | str, target: Path | str) -> str:
    with pytest.raises(StoreError) as caught:
        copied(source, target)
    return str(caught.value)


def test_what_has_something_of_its_own_is_left_alone(tmp_path: Path, free: str) -> None:
    source, other = full(tmp_path / "a.db"), tmp_path / "other.db"
    for target in (free, other):
        with opened(target) as registry:
            registry.tokens.create("mine", Scope.READ, by=LAB)
        assert "has tokens of its own, and a copy would mix them up; give an empty one" in refused(source, target)
        with opened(target) as registry:
            registry.add([peer(1)])
        assert "has peers of its own" in refused(source, target)
        with opened(target) as registry:
            assert [token.name for token in registry.tokens.every()] == ["mine"]
            assert registry.peers.count() == 1


def test_a_part_of_another_copy_is_left_alone_and_no_source(tmp_path: Path, free: str) -> None:
    first, second = full(tmp_path / "a.db"), full(tmp_path / "b.db")

    def stop(doing: str, table: str) -> None:
        if (doing, table) == ("copying", "claims"):
            raise KeyboardInterrupt

    for target in (free, tmp_path / "c.db"):
        with pytest.raises(KeyboardInterrupt):
            copy_registry(Where(str(first)), Where(str(target)), Silent(stop))
        assert "is a part of a copy of another registry than" in refused(second, target)
        assert "is an unfinished copy itself; finish that copy first" in refused(target, tmp_path / "d.db")
        copied(first, target)
        with opened(target) as registry:
            assert registry.peers.count() > 100


def test_the_same_registry_is_no_copy_of_itself(tmp_path: Path, free: str) -> None:
    path, twin = full(tmp_path / "a.db"), tmp_path / "twin.db"
    with contextlib.closing(sqlite3.connect(path)) as raw, contextlib.closing(sqlite3.connect(twin)) as copy:
        raw.backup(copy)
    copied(path, free)
    for source, target in ((path, path), (path, twin), (free, free)):
        assert "is the same as" in refused(source, target)


def test_a_gateways_copy_is_neither_end(tmp_path: Path, free: str) -> None:
    path, replica = full(tmp_path / "a.db"), tmp_path / "replica.db"
    contextlib.closing(LabRegistry(replica)).__enter__().close()
    written_by_another(replica, "INSERT INTO replica (what, value) VALUES ('instance', x'00')")
    for source, target in ((path, replica), (replica, free)):
        assert "is a gateway's copy of a registry in PostgreSQL, and has not all of it" in refused(source, target)


def test_a_source_that_is_not_there_makes_nothing(tmp_path: Path, cluster: Cluster) -> None:
    target = tmp_path / "new.db"
    assert "no such file" in refused(tmp_path / "none.db", target)
    assert "there is no registry in this database" in refused(cluster.url("template1"), target)
    assert not target.exists()


def test_a_row_that_a_database_cannot_keep_is_named(tmp_path: Path, free: str) -> None:
    for statement, told in (
        ("UPDATE peers SET name = 'a' || char(0) || 'b'", f"peers {key(2)}: has a text with a zero"),
        ("UPDATE peers SET allowed_ips = x'ff'", f"peer {key(2)}: its row in the registry is damaged"),
        ("UPDATE audit SET details = 'x'", "audit "),
    ):
        path = tmp_path / f"{abs(hash(told))}.db"
        full(path)
        with contextlib.closing(sqlite3.connect(path)) as raw, raw:
            raw.execute("DROP TRIGGER audit_fixed")
            raw.execute(f"{statement} WHERE public_key = ?", (key(2),))
        assert told in refused(path, free)
        with contextlib.closing(DatabaseSource(DatabaseUrl(free))) as end:
            assert end.mark() is not None
        with contextlib.closing(sqlite3.connect(path)) as raw, raw:  # mended, the copy goes on
            raw.execute("UPDATE peers SET name = NULL, allowed_ips = x'' WHERE public_key = ?", (key(2),))
            raw.execute("UPDATE audit SET details = '{}' WHERE public_key = ?", (key(2),))
        copied(path, free)
        emptied_again(free)


def emptied_again(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as shell:
        emptied(shell)


def test_a_source_whose_addresses_do_not_fit_its_peers_is_told(tmp_path: Path, free: str) -> None:
    path = full(tmp_path / "a.db")
    with contextlib.closing(sqlite3.connect(path)) as raw, raw:
        raw.execute("DELETE FROM addresses WHERE public_key = ?", (key(30),))
    assert "its table addresses does not fit its peers" in refused(path, free)


def test_a_target_that_is_written_to_meanwhile_is_told(tmp_path: Path, free: str, cluster: Cluster) -> None:
    path = full(tmp_path / "a.db")

    def write(doing: str, table: str) -> None:
        if (doing, table) == ("comparing", "peers"):
            with cluster.shell(free) as shell:
                shell.execute("UPDATE wgjit.peers SET keepalive = 77 WHERE public_key = %s", (key(2),))

    with pytest.raises(StoreError, match=r"its peers are not as in .* another program has written into it"):
        copy_registry(Where(str(path)), Where(free), Silent(write))
    copied(path, free)


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command_says_what_it_does_and_no_password(wgjit: Run, tmp_path: Path, free: str) -> None:
    path = full(tmp_path / "a.db")
    url = f"{free}&password=hunter2-Zq8"
    status, out, err = wgjit("registry", "copy", path, url)
    assert status == 0, err
    assert out.startswith("copied 387 peers, ")
    assert out.endswith("s; both are equal\n")
    assert f"from {path} to {DatabaseUrl(url)} in" in out
    assert "copying 387 peers\n" in err
    assert "comparing 387 peers\n" in err
    for arguments in (
        ("copy", path, url),
        ("copy", url, url),
        ("copy", "postgresq://u:hunter2-Zq8@h/db", path),
        ("copy", "postgresql:/u:hunter2-Zq8@h/db", path),
        ("copy", "https://u:hunter2-Zq8@h/", path),
        ("copy", path, "postgresql://u:hunter2-Zq8/x@h/db"),
    ):
        status, more, told = wgjit("registry", *arguments)
        assert (status, more) == (1, "")
        assert "hunter2" not in told
    assert "hunter2" not in out + err


def test_a_manager_who_does_not_own_the_schema_is_told(tmp_path: Path, free: str, cluster: Cluster) -> None:
    path = full(tmp_path / "a.db")
    name = free.partition("@/")[2].partition("?")[0]
    with cluster.shell(free) as shell:
        shell.execute("CREATE ROLE clerk LOGIN; GRANT USAGE ON SCHEMA wgjit TO clerk")
        shell.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA wgjit TO clerk")
        try:
            assert "access is denied" in refused(path, cluster.url(name, "clerk"))
        finally:
            shell.execute("DROP OWNED BY clerk; DROP ROLE clerk")

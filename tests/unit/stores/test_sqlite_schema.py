"""The schema of a file: whose it is, its version, its migrations, its rules against any writer."""

import contextlib
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from lab.registry import LabRegistry
from tests.contracts.store import FULL, claim, key, peer
from wgjit.errors import StoreError
from wgjit.model import ChangeKind
from wgjit.stores.sqlite.file import schema


def test_a_file_of_another_kind_is_refused_untouched(path: Path) -> None:
    path.write_text("not a database, but a text of some length\n" * 100)
    with pytest.raises(StoreError, match="not an SQLite database"):
        LabRegistry(path)
    path.unlink()
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE songs (title)")
    before = path.read_bytes()
    with pytest.raises(StoreError, match="of another program"):
        LabRegistry(path)
    assert path.read_bytes() == before


def test_a_newer_file_is_refused(registry: LabRegistry, shell: sqlite3.Connection) -> None:
    shell.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match=r"made by a newer wgjit \(schema 99, .*upgrade"):
        LabRegistry(registry.path)


def test_an_old_file_is_migrated_and_a_failed_migration_changes_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with contextlib.closing(LabRegistry(path)) as registry:
        registry.add([FULL])
    today = schema.migrations()
    broken = "CREATE TABLE extra (a);\nCREATE TABLE peers (b);\n"
    monkeypatch.setattr(schema, "migrations", lambda kind: (*today, broken))
    with pytest.raises(StoreError, match="table peers already exists"):
        LabRegistry(path)
    with contextlib.closing(sqlite3.connect(path)) as raw:
        assert raw.execute("PRAGMA user_version").fetchone() == (len(today),)
        assert raw.execute("SELECT count(*) FROM sqlite_master WHERE name = 'extra'").fetchone() == (0,)
    monkeypatch.setattr(schema, "migrations", lambda kind: (*today, "CREATE TABLE extra (a);\n"))
    with pytest.raises(StoreError, match=f"older schema; migrate it with `wgjit registry migrate --store {path}`"):
        LabRegistry(path, read_only=True)
    with contextlib.closing(LabRegistry(path)) as registry:
        assert registry.find("alice's phone") == FULL
    with contextlib.closing(sqlite3.connect(path)) as raw:
        assert raw.execute("PRAGMA user_version").fetchone() == (len(today) + 1,)


def test_processes_that_open_a_new_file_at_once_make_one_schema(path: Path) -> None:
    program = """
import sys
from tests.contracts.store import peer
from lab.registry import LabRegistry
print("ready", flush=True)
sys.stdin.readline()
LabRegistry(sys.argv[1], timeout=10).add([peer(int(sys.argv[2]), f"10.0.0.{sys.argv[2]}/32")])
"""
    children = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(path), str(number)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for number in range(1, 5)
    ]
    try:
        for child in children:
            assert child.stdout is not None
            assert child.stdout.readline() == b"ready\n"
        for child in children:
            assert child.stdin is not None
            child.stdin.write(b"go\n")
            child.stdin.flush()
        assert [child.wait(timeout=60) for child in children] == [0, 0, 0, 0]
    finally:
        for child in children:
            child.kill()
            child.communicate()
    with contextlib.closing(LabRegistry(path, create=False)) as registry:
        assert [p.public_key for p in registry.peers.every()] == [key(number) for number in range(1, 5)]


def test_changes_by_another_program_are_logged_and_cascade(registry: LabRegistry, shell: sqlite3.Connection) -> None:
    registry.add([FULL, peer(1, "10.0.0.1/32"), peer(2, "10.0.0.2/32")])
    registry.save_claims([claim(7, 5.0), claim(1, 5.0)])
    shell.execute("UPDATE peers SET enabled = 0 WHERE public_key = ?", (key(1),))
    shell.execute("UPDATE peers SET idle_timeout = 0 WHERE public_key = ?", (key(2),))
    shell.execute("DELETE FROM peers WHERE name = ?", (FULL.name,))
    shell.execute("DELETE FROM claims")
    kinds = [(change.kind, change.public_key) for change in registry.changes(0)]
    assert kinds == [
        (ChangeKind.UPDATED, key(1)),
        (ChangeKind.UPDATED, key(2)),
        (ChangeKind.REMOVED, FULL.public_key),
        (ChangeKind.UPDATED, key(1)),
    ]
    assert shell.execute("SELECT count(*) FROM addresses").fetchone() == (2,)
    found = registry.lookup(key(1))
    assert found is not None
    assert not found.peer.enabled
    assert registry.add([FULL]) == 1


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT OR REPLACE INTO peers (public_key) SELECT public_key FROM peers LIMIT 1",
        "INSERT OR REPLACE INTO peers (public_key, name) VALUES (zeroblob(32), 'alice')",
        "UPDATE peers SET public_key = zeroblob(32)",
        "UPDATE peers SET keepalive = 65536",
        "UPDATE peers SET preshared_key = x'00'",
        "UPDATE peers SET idle_timeout = 179",
        "UPDATE peers SET idle_timeout = -1",
        "UPDATE peers SET idle_timeout = 315360001",
        "UPDATE peers SET idle_timeout = '1h'",
        "UPDATE peers SET allowed_ips = 'text'",
        "INSERT INTO peers (public_key) VALUES (x'00')",
        "INSERT INTO addresses VALUES (x'040a000001', NULL, zeroblob(32))",
        "INSERT INTO addresses VALUES (x'040a000000', x'040a0000ff', zeroblob(32))",
        "INSERT INTO addresses VALUES (x'040b000001', x'040b000000', zeroblob(32))",
        "UPDATE addresses SET last = x'04ffffffff'",
        "UPDATE claims SET timestamp = x'00'",
    ],
)
def test_no_writer_breaks_the_rules(registry: LabRegistry, shell: sqlite3.Connection, statement: str) -> None:
    registry.add([peer(1, "10.0.0.1/32", name="alice")])
    registry.save_claims([claim(1, 5.0)])
    with pytest.raises(sqlite3.IntegrityError):
        shell.execute(statement)
    assert registry.find("alice") == peer(1, "10.0.0.1/32", name="alice")
    assert registry.last_change() == 0


def test_the_change_log_is_bounded_and_its_numbers_only_grow(registry: LabRegistry, shell: sqlite3.Connection) -> None:
    shell.execute(
        """WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100005)
        INSERT INTO changes (kind, public_key) SELECT 'updated', ? FROM n""",
        (key(1),),
    )
    assert shell.execute("SELECT count(*), min(sequence) FROM changes").fetchone() == (100_000, 6)
    assert registry.last_change() == 100_005
    assert registry.changes(2, limit=1)[0].sequence == 6  # a hole after 2: the reader knows that it missed some
    shell.execute("DELETE FROM changes")
    assert registry.last_change() == 100_005
    registry.add([peer(1)])
    registry.remove(key(1))
    assert [change.sequence for change in registry.changes(100_005)] == [100_006]

"""What is SQLite's own: the file, its schema and its rules against any writer, locks, damage, healing."""

import contextlib
import ipaddress
import shutil
import sqlite3
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contracts.store import FULL, claim, key, peer
from wgjit.errors import AddressConflict, StoreBusy, StoreError
from wgjit.model import ChangeKind, Peer
from wgjit.stores import schema
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


# --- the file -----------------------------------------------------------------------------------------------


def test_a_new_file_and_its_companions_are_for_the_owner_alone(registry: SqliteRegistry) -> None:
    registry.add([FULL])
    files = sorted(registry.path.parent.iterdir())
    assert [file.name for file in files] == ["registry.db", "registry.db-shm", "registry.db-wal"]
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}


def test_a_mode_that_the_operator_chose_stays(path: Path) -> None:
    SqliteRegistry(path).close()
    path.chmod(0o640)
    SqliteRegistry(path).close()
    assert path.stat().st_mode & 0o777 == 0o640


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"no folder .*/none; make it with `mkdir -p -m 0700 "):
        SqliteRegistry(tmp_path / "none" / "registry.db")


@pytest.mark.parametrize("options", [{"create": False}, {"read_only": True}])
def test_missing_file_is_not_made_unless_asked(path: Path, options: dict[str, bool]) -> None:
    with pytest.raises(StoreError, match="no such file"):
        SqliteRegistry(path, **options)
    assert not path.exists()


def test_a_path_may_hold_any_character(tmp_path: Path) -> None:
    odd = tmp_path / "a b?mode=memory#%41.db"
    with contextlib.closing(SqliteRegistry(odd)) as registry:
        registry.add([peer(1)])
    with contextlib.closing(SqliteRegistry(odd, create=False)) as registry:
        assert registry.count() == 1
    assert odd.exists()


def test_what_was_written_outlives_the_process(path: Path) -> None:
    with contextlib.closing(SqliteRegistry(path)) as registry:
        registry.add([FULL])
        registry.save_claims([claim(7, 5.0)])
    with contextlib.closing(SqliteRegistry(path, read_only=True)) as registry:
        found = registry.lookup(key(7))
    assert found is not None
    assert (found.peer, found.claim) == (FULL, claim(7, 5.0))


def test_read_only_reads_and_refuses_to_write(path: Path) -> None:
    with contextlib.closing(SqliteRegistry(path)) as registry:
        registry.add([peer(1)])
    before = path.read_bytes()
    with contextlib.closing(SqliteRegistry(path, read_only=True)) as registry:
        assert registry.find(str(key(1))) == peer(1)
        for write in (
            lambda: registry.add([peer(2)]),
            lambda: registry.replace(peer(1, name="a")),
            lambda: registry.remove(key(1)),
            lambda: registry.save_claims([claim(1, 1.0)]),
        ):
            with pytest.raises(StoreError, match="cannot be written"):
                write()
        assert registry.count() == 1
    assert path.read_bytes() == before


# --- schema -------------------------------------------------------------------------------------------------


def test_a_file_of_another_kind_is_refused_untouched(path: Path) -> None:
    path.write_text("not a database, but a text of some length\n" * 100)
    with pytest.raises(StoreError, match="not an SQLite database"):
        SqliteRegistry(path)
    path.unlink()
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE songs (title)")
    before = path.read_bytes()
    with pytest.raises(StoreError, match="of another program"):
        SqliteRegistry(path)
    assert path.read_bytes() == before


def test_a_newer_file_is_refused(registry: SqliteRegistry, shell: sqlite3.Connection) -> None:
    shell.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match=r"made by a newer wgjit \(schema 99, .*upgrade"):
        SqliteRegistry(registry.path)


def test_an_old_file_is_migrated_and_a_failed_migration_changes_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with contextlib.closing(SqliteRegistry(path)) as registry:
        registry.add([FULL])
    today = schema.migrations()
    monkeypatch.setattr(schema, "migrations", lambda: (*today, "CREATE TABLE extra (a);\nCREATE TABLE peers (b);\n"))
    with pytest.raises(StoreError, match="table peers already exists"):
        SqliteRegistry(path)
    with contextlib.closing(sqlite3.connect(path)) as raw:
        assert raw.execute("PRAGMA user_version").fetchone() == (len(today),)
        assert raw.execute("SELECT count(*) FROM sqlite_master WHERE name = 'extra'").fetchone() == (0,)
    monkeypatch.setattr(schema, "migrations", lambda: (*today, "CREATE TABLE extra (a);\n"))
    with pytest.raises(StoreError, match="schema is old"):
        SqliteRegistry(path, read_only=True)
    with contextlib.closing(SqliteRegistry(path)) as registry:
        assert registry.find("alice's phone") == FULL
    with contextlib.closing(sqlite3.connect(path)) as raw:
        assert raw.execute("PRAGMA user_version").fetchone() == (len(today) + 1,)


def test_processes_that_open_a_new_file_at_once_make_one_schema(path: Path) -> None:
    program = """
import sys
from tests.contracts.store import peer
from wgjit.stores.sqlite import SqliteRegistry
print("ready", flush=True)
sys.stdin.readline()
SqliteRegistry(sys.argv[1], timeout=10).add([peer(int(sys.argv[2]), f"10.0.0.{sys.argv[2]}/32")])
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
    with contextlib.closing(SqliteRegistry(path, create=False)) as registry:
        assert [p.public_key for p in registry.peers()] == [key(number) for number in range(1, 5)]


# --- other writers ------------------------------------------------------------------------------------------


def test_changes_by_another_program_are_logged_and_cascade(registry: SqliteRegistry, shell: sqlite3.Connection) -> None:
    registry.add([FULL, peer(1, "10.0.0.1/32"), peer(2, "10.0.0.2/32")])
    registry.save_claims([claim(7, 5.0), claim(1, 5.0)])
    shell.execute("UPDATE peers SET enabled = 0 WHERE public_key = ?", (key(1),))
    shell.execute("DELETE FROM peers WHERE name = ?", (FULL.name,))
    shell.execute("DELETE FROM claims")
    kinds = [(change.kind, change.public_key) for change in registry.changes(0)]
    assert kinds == [
        (ChangeKind.UPDATED, key(1)),
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
        "UPDATE peers SET allowed_ips = 'text'",
        "INSERT INTO peers (public_key) VALUES (x'00')",
        "INSERT INTO addresses VALUES (x'040a000001', NULL, zeroblob(32))",
        "INSERT INTO addresses VALUES (x'040a000000', x'040a0000ff', zeroblob(32))",
        "INSERT INTO addresses VALUES (x'040b000001', x'040b000000', zeroblob(32))",
        "UPDATE addresses SET last = x'04ffffffff'",
        "UPDATE claims SET timestamp = x'00'",
    ],
)
def test_no_writer_breaks_the_rules(registry: SqliteRegistry, shell: sqlite3.Connection, statement: str) -> None:
    registry.add([peer(1, "10.0.0.1/32", name="alice")])
    registry.save_claims([claim(1, 5.0)])
    with pytest.raises(sqlite3.IntegrityError):
        shell.execute(statement)
    assert registry.find("alice") == peer(1, "10.0.0.1/32", name="alice")
    assert registry.last_change() == 0


def test_the_change_log_is_bounded_and_its_numbers_only_grow(
    registry: SqliteRegistry, shell: sqlite3.Connection
) -> None:
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


# --- locks --------------------------------------------------------------------------------------------------


def test_a_locked_file_is_busy_for_writers_and_open_for_readers(
    registry: SqliteRegistry, shell: sqlite3.Connection
) -> None:
    registry.add([peer(1)])
    shell.execute("BEGIN IMMEDIATE")
    for write in (
        lambda: registry.add([peer(2)]),
        lambda: registry.remove(key(1)),
        lambda: registry.save_claims([claim(1, 1.0)]),
        lambda: registry.replace(peer(1, name="a")),
        lambda: registry.reset_claim(key(1)),
    ):
        with pytest.raises(StoreBusy, match="another process is writing"):
            write()
    assert registry.lookup(key(1)) is not None
    assert registry.last_change() == 0
    shell.execute("ROLLBACK")
    registry.remove(key(1))


def test_an_exclusive_lock_on_the_whole_file_is_busy_for_all(path: Path) -> None:
    """Not by us (WAL): an operator's `.recover` or a switch of the journal."""
    with contextlib.closing(SqliteRegistry(path)) as registry:
        registry.add([peer(1)])
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode = DELETE")
        registry = SqliteRegistry(path, timeout=0.02)
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreBusy):
            registry.lookup(key(1))
        other.execute("ROLLBACK")
        assert registry.lookup(key(1)) is not None
        registry.close()


def test_while_one_thread_adds_others_read_and_are_refused_to_write(registry: SqliteRegistry) -> None:
    registry.add([peer(1)])
    begun, finish = threading.Event(), threading.Event()

    def slow() -> Iterator[Peer]:
        yield peer(2)
        begun.set()
        assert finish.wait(30)
        yield peer(3)

    thread = threading.Thread(target=registry.add, args=(slow(),))
    thread.start()
    try:
        assert begun.wait(30)
        assert registry.lookup(key(1)) is not None
        assert registry.lookup(key(2)) is None
        with pytest.raises(StoreBusy, match="another thread is writing"):
            registry.save_claims([claim(1, 1.0)])
    finally:
        finish.set()
        thread.join()
    assert registry.lookup(key(3)) is not None
    registry.save_claims([claim(1, 1.0)])


def test_many_threads(path: Path) -> None:
    failures: list[BaseException] = []
    with contextlib.closing(SqliteRegistry(path, timeout=30)) as registry:
        registry.add(peer(number) for number in range(100))

        def work(thread: int) -> None:
            try:
                for round_ in range(50):
                    registry.save_claims([claim(round_, float(thread * 50 + round_))])
                    found = registry.lookup(key(round_))
                    assert found is not None
                    assert found.claim is not None
                    registry.replace(peer(round_, f"10.{thread}.0.{round_}/32"))
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert registry.last_change() == 200
        for number in range(50):
            found = registry.lookup(key(number))
            assert found is not None
            assert found.claim == claim(number, 150.0 + number)


def test_an_import_that_is_killed_leaves_nothing_and_no_lock(registry: SqliteRegistry) -> None:
    program = """
import sys
from tests.contracts.store import peer
from wgjit.stores.sqlite import SqliteRegistry
def peers():
    yield from (peer(number) for number in range(2, 25_000))
    print("halfway", flush=True)
    sys.stdin.readline()
SqliteRegistry(sys.argv[1]).add(peers())
"""
    registry.add([peer(1)])
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(registry.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"halfway\n"
        with pytest.raises(StoreBusy):
            registry.save_claims([claim(1, 1.0)])
    finally:
        child.kill()
        child.communicate()
    registry.save_claims([claim(1, 1.0)])
    assert registry.count() == 1


def test_adding_holds_one_round_of_peers_at_a_time(registry: SqliteRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wgjit.stores.sqlite._CHUNK", 10)
    alive: weakref.WeakSet[ipaddress.IPv4Network] = weakref.WeakSet()
    most = 0

    def peers() -> Iterator[Peer]:
        nonlocal most
        for number in range(200):
            prefix = ipaddress.IPv4Network(number)
            alive.add(prefix)
            most = max(most, len(alive))
            yield Peer(key(number), (prefix,))

    assert registry.add(peers()) == 200
    assert 10 <= most <= 22


# --- damage and healing ---------------------------------------------------------------------------------------


def test_a_damaged_row_is_an_error_and_spares_the_others(registry: SqliteRegistry, shell: sqlite3.Connection) -> None:
    registry.add([peer(1), peer(2)])
    registry.save_claims([claim(2, 5.0)])
    shell.execute("UPDATE peers SET allowed_ips = x'0a0800' WHERE public_key = ?", (key(1),))
    with pytest.raises(StoreError, match=r"damaged; remove the peer"):
        registry.lookup(key(1))
    assert registry.lookup(key(2)) is not None
    registry.remove(key(1))  # as the error says
    assert registry.add([peer(1)]) == 1


def test_a_name_that_is_no_utf8_is_an_error(registry: SqliteRegistry, shell: sqlite3.Connection) -> None:
    registry.add([peer(1)])
    shell.execute("UPDATE peers SET name = CAST(x'ff' AS TEXT)")
    with pytest.raises(StoreError):
        registry.lookup(key(1))
    registry.replace(peer(1))
    assert registry.lookup(key(1)) is not None


def test_a_damaged_file_is_an_error_until_it_is_put_back(path: Path, tmp_path: Path) -> None:
    with contextlib.closing(SqliteRegistry(path)) as registry:
        registry.add(peer(number) for number in range(5000))
    backup = tmp_path / "backup.db"
    shutil.copy(path, backup)
    with contextlib.closing(SqliteRegistry(path)) as registry:
        with open(path, "r+b") as file:  # all pages but the first, which holds the schema
            file.seek(4096)
            file.write(b"\xa5" * (path.stat().st_size - 4096))
        with pytest.raises(StoreError, match="damaged"):
            registry.lookup(key(1))
        with pytest.raises(StoreError, match="damaged"):
            registry.add([peer(9000)])
        shutil.copy(backup, tmp_path / "new.db")
        (tmp_path / "new.db").rename(path)
        assert registry.lookup(key(1)) is not None
        assert registry.add([peer(9000)]) == 1


def test_a_file_that_goes_and_comes_back(registry: SqliteRegistry, path: Path, tmp_path: Path) -> None:
    registry.add([peer(1)])
    assert registry.lookup(key(1)) is not None
    aside = tmp_path / "aside"
    aside.mkdir()
    files = [file for file in tmp_path.iterdir() if file.is_file()]
    for file in files:
        file.rename(aside / file.name)
    for call in (lambda: registry.lookup(key(1)), lambda: registry.add([peer(2)]), lambda: registry.last_change()):
        with pytest.raises(StoreError, match="no such file"):
            call()
    assert not path.exists()  # nothing made an empty one in its place
    for file in files:
        (aside / file.name).rename(file)
    assert registry.lookup(key(1)) is not None
    assert registry.add([peer(2)]) == 1


def test_a_file_that_is_replaced_is_read_anew(registry: SqliteRegistry, path: Path, tmp_path: Path) -> None:
    registry.add([peer(1)])
    other = tmp_path / "other.db"
    with contextlib.closing(SqliteRegistry(other)) as replacement:
        replacement.add([peer(2)])
    for companion in ("-wal", "-shm"):
        Path(f"{path}{companion}").unlink()
    other.rename(path)
    assert registry.lookup(key(1)) is None
    assert registry.lookup(key(2)) is not None
    registry.remove(key(2))


def test_a_failed_call_leaves_no_transaction_behind(registry: SqliteRegistry, shell: sqlite3.Connection) -> None:
    registry.add([peer(1, "10.0.0.1/32")])
    with pytest.raises(AddressConflict):
        registry.add([peer(2, "10.0.0.1/32")])
    shell.execute("UPDATE peers SET enabled = 0")  # would be locked out

    def interrupted() -> Iterator[Peer]:
        yield peer(3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        registry.add(interrupted())
    shell.execute("UPDATE peers SET enabled = 1")
    assert registry.count() == 1

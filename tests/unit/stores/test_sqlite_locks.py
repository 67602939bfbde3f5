"""One writer at a time, readers never wait; who dies leaves no lock."""

import contextlib
import ipaddress
import sqlite3
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.registry import LabRegistry
from tests.contracts.store import claim, key, peer
from wgjit.errors import StoreBusy
from wgjit.model import Peer
from wgjit.stores.sqlite.file.connection import Link


def test_a_locked_file_is_busy_for_writers_and_open_for_readers(
    registry: LabRegistry, shell: sqlite3.Connection
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
    with contextlib.closing(LabRegistry(path)) as registry:
        registry.add([peer(1)])
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode = DELETE")
        registry = LabRegistry(path, timeout=0.02)
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreBusy):
            registry.lookup(key(1))
        other.execute("ROLLBACK")
        assert registry.lookup(key(1)) is not None
        registry.close()


def test_while_one_thread_adds_others_read_and_are_refused_to_write(registry: LabRegistry) -> None:
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
    with contextlib.closing(LabRegistry(path, timeout=30)) as registry:
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


def test_an_import_that_is_killed_leaves_nothing_and_no_lock(registry: LabRegistry) -> None:
    program = """
import sys
from tests.contracts.store import peer
from wgjit.stores.sqlite.file.connection import Link
from lab.registry import LabRegistry
def peers():
    yield from (peer(number) for number in range(2, 25_000))
    print("halfway", flush=True)
    sys.stdin.readline()
LabRegistry(sys.argv[1]).add(peers())
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
    assert registry.peers.count() == 1


def test_adding_holds_one_round_of_peers_at_a_time(registry: LabRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wgjit.stores.sqlite.peers._PAGE", 10)
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


def test_a_reader_that_was_kept_out_does_not_wait_again_until_it_has_got_through(path: Path) -> None:
    """Packets wait for lookups: a lock that lasts must not cost each of them the whole patience."""

    LabRegistry(path).close()
    reader = Link(path, read_only=True, timeout=0.02)

    def read() -> int:
        """How long it may wait, milliseconds."""
        nonlocal patience
        with reader as db:
            (patience,) = db.execute("PRAGMA busy_timeout").fetchone()
            db.execute("SELECT count(*) FROM peers")
        return patience

    patience = -1
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode = DELETE")
        assert read() == 20
        other.execute("BEGIN EXCLUSIVE")
        for expected in (20, 0, 0):
            with pytest.raises(StoreBusy):
                read()
            assert patience == expected
        other.execute("ROLLBACK")
        assert [read(), read()] == [0, 20]
        reader.close()

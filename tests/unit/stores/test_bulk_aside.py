"""The second core of a bulk load: nothing of its files stays, and what goes wrong there is told all the same."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from lab.registry import LabRegistry
from tests.contracts.store import key, peer
from tests.unit.stores.test_bulk import fail, schema, stage
from wgjit.errors import PeerRefused, StoreError
from wgjit.model import Peer
from wgjit.stores.entries import Loaded
from wgjit.stores.sqlite.bulk import aside
from wgjit.stores.sqlite.bulk.load import BulkLoad


@pytest.fixture
def staging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files."""
    folder = tmp_path / "staging"
    folder.mkdir()
    monkeypatch.setenv("SQLITE_TMPDIR", str(folder))
    return folder


def many(first: int, last: int) -> list[tuple[int, Peer]]:
    return [(n, peer(n, f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}/32")) for n in range(first, last)]


def held(folder: Path) -> list[str]:
    """The files in a folder that this process has open, though they have no name any more."""
    links = []
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the descriptor of this very listing
            links.append(os.readlink(entry))
    return [link for link in links if link.startswith(f"{folder}/") and link.endswith(" (deleted)")]


def test_its_files_have_no_name_and_end_with_it(registry: LabRegistry, staging: Path) -> None:
    threads = threading.active_count()
    with registry.load() as load:
        for batch in range(3):
            stage(load, many(batch * 20_000, (batch + 1) * 20_000))
            load._aside.settle()
            assert list(staging.iterdir()) == []
            assert held(staging)
            load.commit(fail)
    assert registry.peers.count() == 60_000
    assert list(staging.iterdir()) == []
    assert held(staging) == []
    assert threading.active_count() == threads


def test_a_load_that_is_killed_leaves_no_temporary_file(registry: LabRegistry, staging: Path) -> None:
    """Just before it moves the sorted addresses over."""
    program = """
import os, sys
from tests.unit.stores.test_bulk_aside import many, stage
from lab.registry import LabRegistry
with LabRegistry(sys.argv[1]).load() as load:
    stage(load, many(0, 50_000))
    settle = load._aside.settle
    def killed():
        settle()
        if load._aside._is_sorted:
            os.kill(os.getpid(), 9)
    load._aside.settle = killed
    load.commit(print)
"""
    before = schema(registry.path)
    done = subprocess.run([sys.executable, "-c", program, str(registry.path)], check=False)
    assert done.returncode == -9
    assert list(staging.iterdir()) == []
    assert schema(registry.path) == before
    assert registry.peers.count() == 0
    with registry.load() as load:
        stage(load, many(0, 10))
        assert load.commit(fail) == Loaded(10, 0, 0)


def test_an_address_twice_is_found_on_the_second_core(registry: LabRegistry) -> None:
    with registry.load() as load:
        stage(load, [*many(0, 30_000), (40_000, peer(40_000, "10.0.0.9/32"))])
        refused: list[tuple[int, StoreError]] = []
        assert load.commit(lambda line, error: refused.append((line, error))) == Loaded(30_000, 0, 1)
        [(line, error)] = refused
        assert line == 40_000
        assert isinstance(error, PeerRefused)
        stage(load, many(50_000, 50_010))  # the next batch is as any other
        assert load.commit(fail) == Loaded(10, 0, 0)


def test_the_main_thread_ends_what_sorts_if_a_key_is_taken(registry: LabRegistry) -> None:
    registry.add([peer(7, "10.9.0.7/32")])
    with registry.load() as load:
        stage(load, many(0, 30_000))
        refused: list[int] = []
        assert load.commit(lambda line, error: refused.append(line)) == Loaded(29_999, 0, 1)
    assert refused == [7]


@pytest.mark.parametrize("which", ["staged", "sorted"])
def test_a_full_disk_names_both_folders_and_leaves_nothing(
    registry: LabRegistry, staging: Path, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    """SQLite's own limit stands for the disk's: its error is the same."""
    share = aside.Aside._share

    def small(self: aside.Aside, name: str, writer: sqlite3.Connection, reader: sqlite3.Connection, table: str) -> None:
        share(self, name, writer, reader, table)
        if name == which:
            writer.execute(f"PRAGMA {name}.max_page_count = 20")

    monkeypatch.setattr(aside.Aside, "_share", small)
    before = schema(registry.path)
    with pytest.raises(StoreError, match=rf"disk is full; free space in {registry.path.parent}, or {staging}"):
        load_all(registry)
    assert registry.peers.count() == 0
    assert schema(registry.path) == before
    assert held(staging) == []
    monkeypatch.undo()
    assert load_all(registry) == Loaded(40_000, 0, 0)


def load_all(registry: LabRegistry) -> Loaded:
    with registry.load() as load:
        stage(load, many(0, 40_000))
        return load.commit(fail)


def test_what_fails_while_staging_is_told_before_anything_is_registered(registry: LabRegistry) -> None:
    """On the thread, so only when something waits for it."""
    with registry.load() as load:
        load.plain(range(1, 2), [b"k" * 37])
        with pytest.raises(sqlite3.IntegrityError, match="length"):
            load.commit(fail)
    assert registry.peers.count() == 0


def test_a_load_that_is_left_while_it_stages_ends(registry: LabRegistry) -> None:
    def left() -> BulkLoad:
        with registry.load() as load:
            stage(load, many(0, 16_000))
            raise KeyError

    with pytest.raises(KeyError):
        left()
    assert registry.peers.count() == 0
    registry.add([peer(1)])
    assert registry.find(str(key(1))).public_key == key(1)


@pytest.mark.parametrize(
    ("set_to", "expected"),
    [
        ({"SQLITE_TMPDIR": "a", "TMPDIR": "b"}, "a"),
        ({"TMPDIR": "b"}, "b"),
        ({"SQLITE_TMPDIR": "no", "TMPDIR": "b"}, "b"),
    ],
)
def test_the_temporary_folder_is_sqlites(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, set_to: dict[str, str], expected: str
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    for name in ("SQLITE_TMPDIR", "TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in set_to.items():
        monkeypatch.setenv(name, str(tmp_path / value))
    assert aside.temporary_folder() == tmp_path / expected

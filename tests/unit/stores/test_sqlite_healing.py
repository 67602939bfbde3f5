"""Damage is told and spares the rest; a cause that is gone needs no restart."""

import contextlib
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.registry import LabRegistry
from tests.contracts.store import claim, key, peer
from wgjit.errors import AddressConflict, StoreError
from wgjit.model import Peer
from wgjit.stores.sqlite.file.schema import APPLICATION_ID


def test_a_damaged_row_is_an_error_and_spares_the_others(registry: LabRegistry, shell: sqlite3.Connection) -> None:
    registry.add([peer(1), peer(2)])
    registry.save_claims([claim(2, 5.0)])
    shell.execute("UPDATE peers SET allowed_ips = x'0a0800' WHERE public_key = ?", (key(1),))
    with pytest.raises(StoreError, match=r"damaged; remove the peer"):
        registry.lookup(key(1))
    assert registry.lookup(key(2)) is not None
    registry.remove(key(1))  # as the error says
    assert registry.add([peer(1)]) == 1


def test_a_name_that_is_no_utf8_is_an_error(registry: LabRegistry, shell: sqlite3.Connection) -> None:
    registry.add([peer(1)])
    shell.execute("UPDATE peers SET name = CAST(x'ff' AS TEXT)")
    with pytest.raises(StoreError):
        registry.lookup(key(1))
    registry.remove(key(1))
    registry.add([peer(1)])
    assert registry.lookup(key(1)) is not None


def test_a_damaged_file_is_an_error_until_it_is_put_back(path: Path, tmp_path: Path) -> None:
    with contextlib.closing(LabRegistry(path)) as registry:
        registry.add(peer(number) for number in range(5000))
    backup = tmp_path / "backup.db"
    shutil.copy(path, backup)
    with contextlib.closing(LabRegistry(path)) as registry:
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


def test_a_file_that_goes_and_comes_back(registry: LabRegistry, path: Path, tmp_path: Path) -> None:
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


def test_a_file_that_is_replaced_is_read_anew(registry: LabRegistry, path: Path, tmp_path: Path) -> None:
    registry.add([peer(1)])
    other = tmp_path / "other.db"
    with contextlib.closing(LabRegistry(other)) as replacement:
        replacement.add([peer(2)])
    for companion in ("-wal", "-shm"):
        Path(f"{path}{companion}").unlink()
    other.rename(path)
    assert registry.lookup(key(1)) is None
    assert registry.lookup(key(2)) is not None
    registry.remove(key(2))


@pytest.mark.parametrize(
    ("version", "told"), [(0, "an empty file: no schema was made in it"), (1, "a file of an older schema")]
)
def test_a_file_that_was_replaced_by_one_of_another_schema_is_told(
    registry: LabRegistry, path: Path, version: int, told: str
) -> None:
    registry.add([peer(1)])
    for file in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        file.unlink()
    with contextlib.closing(sqlite3.connect(path)) as other:
        if version:
            other.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        other.execute(f"PRAGMA user_version = {version}")
    with pytest.raises(StoreError, match=f"{told}; migrate it with `wgjit registry migrate --store {path}`"):
        registry.lookup(key(1))


def test_a_failed_call_leaves_no_transaction_behind(registry: LabRegistry, shell: sqlite3.Connection) -> None:
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
    assert registry.peers.count() == 1

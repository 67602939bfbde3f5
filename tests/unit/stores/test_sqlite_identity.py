"""Which registry a file is, whatever is copied, restored or renamed, and who was removed from it."""

import contextlib
import sqlite3
from pathlib import Path

from lab.registry import LabRegistry
from tests.contracts.store import claim, key, peer
from wgjit.model import Registration, Removed
from wgjit.stores import packing


def copy(path: Path, target: Path) -> None:
    """As docs/REGISTRY.md says that a file is backed up."""
    with contextlib.closing(sqlite3.connect(path)) as source, contextlib.closing(sqlite3.connect(target)) as into:
        source.backup(into)


def number_of(path: Path) -> bytes:
    with contextlib.closing(sqlite3.connect(path)) as db:
        return bytes(db.execute("SELECT value FROM meta WHERE what = 'identity'").fetchone()[0])


def test_each_file_has_a_number_of_its_own_that_its_copies_keep(path: Path, tmp_path: Path) -> None:
    for file in (path, tmp_path / "other.db"):
        LabRegistry(file).close()
    copy(path, tmp_path / "copy.db")
    assert len(number_of(path)) == 16
    assert number_of(path) != number_of(tmp_path / "other.db")
    assert number_of(path) == number_of(tmp_path / "copy.db")


def test_whatever_is_renamed_over_the_file_is_noticed(registry: LabRegistry, tmp_path: Path) -> None:
    seen = [registry.identity()]
    copy(registry.path, tmp_path / "copy.db")
    LabRegistry(tmp_path / "other.db").close()
    for name in ("copy.db", "other.db"):
        for companion in ("-wal", "-shm"):
            Path(f"{registry.path}{companion}").unlink(missing_ok=True)
        (tmp_path / name).rename(registry.path)
        seen.append(registry.identity())
    assert len(set(seen)) == 3


def test_a_migration_does_not_make_another_registry(path: Path) -> None:
    LabRegistry(path).close()
    before = number_of(path)
    LabRegistry(path).close()
    assert number_of(path) == before


# --- removed keys, by whatever verb -----------------------------------------------------------------------------------


def test_rotation_removal_of_many_and_another_program_leave_the_claim(path: Path) -> None:
    with contextlib.closing(LabRegistry(path)) as registry:
        registry.add([peer(number, f"10.0.0.{number}/32") for number in range(1, 4)])
        registry.save_claims([claim(number, 100.0 + number) for number in range(1, 4)])
        registry.rotate(key(1), key(9))
        registry.remove_all([key(2)])
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as shell:
            shell.execute("DELETE FROM peers WHERE public_key = ?", (key(3),))
        for number in range(1, 4):
            assert registry.former(key(number)) == Removed(key(number), claim(number, 100.0 + number))
        assert registry.lookup(key(9)) == Registration(peer(9, "10.0.0.1/32")), "the new key has none"


def test_an_import_of_a_removed_key_finds_its_claim(registry: LabRegistry) -> None:
    registry.add([peer(1), peer(2)])
    registry.save_claims([claim(1, 7.0), claim(2, 8.0)])
    for number in (1, 2):
        registry.remove(key(number))
    with registry.load() as load:
        load.plain(range(1), [key(1) + packing.pack_allowed_ips(peer(1, "10.0.0.1/32").allowed_ips)])
        load.peers([(1, peer(2, "10.0.0.2/32", name="bob"))])
        load.commit(lambda line, error: None)
    assert registry.lookup(key(1)) == Registration(peer(1, "10.0.0.1/32"), claim(1, 7.0))
    assert registry.lookup(key(2)) == Registration(peer(2, "10.0.0.2/32", name="bob"), claim(2, 8.0))
    assert registry.former(key(1)) is None


def test_a_removed_peer_takes_this_many_bytes(path: Path, tmp_path: Path) -> None:
    count = 10_000
    with contextlib.closing(LabRegistry(path)) as registry:
        registry.add(peer(number) for number in range(count))
        for number in range(count):
            registry.remove(key(number))
    with contextlib.closing(sqlite3.connect(path)) as db:
        (payload,) = db.execute("SELECT sum(payload) FROM dbstat WHERE name = 'removed'").fetchone()
    assert payload <= 44 * count

"""The registry on a disk that fills up, and on one that turns read-only. Needs root, to mount a small tmpfs."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.registry import LabRegistry
from tests.contracts.store import claim, key, peer
from wgjit.errors import StoreError


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Two megabytes of disk of its own."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m,mode=0700", "wgjit-test", tmp_path], check=True)
    yield tmp_path
    subprocess.run(["umount", tmp_path], check=True)


def fill(path: Path) -> None:
    disk = os.statvfs(path.parent)
    with open(path, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, disk.f_bavail * disk.f_frsize)


def test_a_full_disk_is_an_error_and_heals(disk: Path) -> None:
    with contextlib.closing(LabRegistry(disk / "registry.db")) as registry:
        registry.add([peer(1)])
        filler = disk / "filler"
        fill(filler)
        with pytest.raises(StoreError, match="disk is full"):
            registry.add(peer(number) for number in range(2, 5000))
        with pytest.raises(StoreError, match="disk"):
            registry.replace(peer(1, *(f"10.0.{number}.0/24" for number in range(256)), name="alice " * 19 + "alice"))
        assert registry.lookup(key(1)) is not None
        assert registry.peers.count() == 1
        filler.unlink()
        assert registry.add(peer(number) for number in range(2, 3000)) == 2998
        registry.save_claims([claim(1, 5.0)])


def test_a_disk_that_turns_read_only_is_an_error_and_heals(disk: Path) -> None:
    with contextlib.closing(LabRegistry(disk / "registry.db")) as registry:
        registry.add([peer(1)])
    os.sync()
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    for options in ({}, {"read_only": True}):  # even a reader of a WAL file writes beside it
        with pytest.raises(StoreError, match=r"write its folder|cannot be written"):
            LabRegistry(disk / "registry.db", **options)
    subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
    with contextlib.closing(LabRegistry(disk / "registry.db")) as registry:
        assert registry.add([peer(2)]) == 1

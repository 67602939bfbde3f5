"""The file: who may read it, where it may lie, what is made, what is refused."""

import contextlib
import os
import pwd
import tempfile
import traceback
from pathlib import Path

import pytest

from lab.registry import LabRegistry
from tests.contracts.store import FULL, claim, key, peer
from wgjit.errors import StoreError


def test_a_new_file_and_its_companions_are_for_the_owner_alone(registry: LabRegistry) -> None:
    registry.add([FULL])
    files = sorted(registry.path.parent.iterdir())
    assert [file.name for file in files] == ["registry.db", "registry.db-shm", "registry.db-wal"]
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}


def test_a_mode_that_the_operator_chose_stays(path: Path) -> None:
    LabRegistry(path).close()
    path.chmod(0o640)
    LabRegistry(path).close()
    assert path.stat().st_mode & 0o777 == 0o640


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"no folder .*/none; make it with `mkdir -p -m 0700 "):
        LabRegistry(tmp_path / "none" / "registry.db")


@pytest.mark.parametrize("options", [{"create": False}, {"read_only": True}])
def test_missing_file_is_not_made_unless_asked(path: Path, options: dict[str, bool]) -> None:
    with pytest.raises(StoreError, match="no such file"):
        LabRegistry(path, **options)
    assert not path.exists()


def test_a_path_may_hold_any_character(tmp_path: Path) -> None:
    odd = tmp_path / "a b?mode=memory#%41.db"
    with contextlib.closing(LabRegistry(odd)) as registry:
        registry.add([peer(1)])
    with contextlib.closing(LabRegistry(odd, create=False)) as registry:
        assert registry.peers.count() == 1
    assert odd.exists()


def test_what_was_written_outlives_the_process(path: Path) -> None:
    with contextlib.closing(LabRegistry(path)) as registry:
        registry.add([FULL])
        registry.save_claims([claim(7, 5.0)])
    with contextlib.closing(LabRegistry(path, read_only=True)) as registry:
        found = registry.lookup(key(7))
    assert found is not None
    assert (found.peer, found.claim) == (FULL, claim(7, 5.0))


def test_read_only_reads_and_refuses_to_write(path: Path) -> None:
    with contextlib.closing(LabRegistry(path)) as registry:
        registry.add([peer(1)])
    before = path.read_bytes()
    with contextlib.closing(LabRegistry(path, read_only=True)) as registry:
        assert registry.find(str(key(1))) == peer(1)
        for write in (
            lambda: registry.add([peer(2)]),
            lambda: registry.replace(peer(1, name="a")),
            lambda: registry.remove(key(1)),
            lambda: registry.save_claims([claim(1, 1.0)]),
        ):
            with pytest.raises(StoreError, match="cannot be written"):
                write()
        assert registry.peers.count() == 1
    assert path.read_bytes() == before


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files away, so it needs root")
@pytest.mark.parametrize("clean", [True, False], ids=["closed", "left open"])
def test_what_root_makes_in_an_accounts_folder_is_the_accounts(tmp_path: Path, clean: bool) -> None:
    """Root registers the first peer; then the service, as another account, reads and writes the file."""
    nobody = pwd.getpwnam("nobody")
    with tempfile.TemporaryDirectory() as home:  # not under tmp_path, which pytest shuts to other accounts
        os.chown(home, nobody.pw_uid, nobody.pw_gid)
        path = Path(home) / "registry.db"
        registry = LabRegistry(path)
        registry.add([peer(1)])
        if clean:
            registry.close()
        else:
            assert len(list(path.parent.iterdir())) == 3
        for file in path.parent.iterdir():
            status = file.stat()
            assert (status.st_uid, status.st_gid) == (nobody.pw_uid, nobody.pw_gid), file
            assert status.st_mode & 0o777 == 0o600
        child = os.fork()
        if child == 0:  # the account's own process; _exit, so that it never returns into pytest
            try:
                os.setgroups([])
                os.setgid(nobody.pw_gid)
                os.setuid(nobody.pw_uid)
                other = LabRegistry(path, create=False)
                other.add([peer(2)])
                os._exit(0 if other.peers.count() == 2 else 3)
            except BaseException:
                traceback.print_exc()
                os._exit(4)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        registry.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="changes its account, so it needs root")
def test_in_roots_own_folder_it_stays_roots(path: Path) -> None:
    LabRegistry(path).close()
    assert (path.stat().st_uid, path.stat().st_gid) == (0, os.getegid())

"""The lock's file: its owner's alone, and nothing is done to a file that is no lock of ours."""

from __future__ import annotations

import fcntl
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from wgjit.control.status import GatewayStatus
from wgjit.daemon.control import ControlServer
from wgjit.daemon.feed_hub import FeedHub
from wgjit.daemon.process.lock import interface_lock
from wgjit.errors import ConfigError, GatewayRunning, InvalidValue

OTHER = 54321
"""An account that is nobody's."""

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to other accounts")


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WGJIT_RUN_FOLDER", str(tmp_path))
    return tmp_path / "wgtest.lock"


@pytest.fixture
def loose_mask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("loose_mask")
def test_a_new_lock_is_its_owners_alone(path: Path) -> None:
    with interface_lock("wgtest"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert path.read_text() == f"{os.getpid()}\n"


def test_one_of_an_older_wgjit_is_tightened(path: Path) -> None:
    path.write_text("1234567890\n")
    path.chmod(0o644)
    with interface_lock("wgtest"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert path.read_text() == f"{os.getpid()}\n"


def test_a_symbolic_link_is_not_followed(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    for content in ("precious", None):
        if content is None:
            target.unlink()
        else:
            target.write_text(content)
        path.unlink(missing_ok=True)
        path.symlink_to(target)
        with pytest.raises(ConfigError, match=f"{path}: is a symbolic link.*rm {path}"), interface_lock("wgtest"):
            pass
        assert (target.read_text() if content else target.exists()) == (content or False)


def test_another_name_of_a_file_is_no_lock(path: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("kept")
    precious.chmod(0o644)
    os.link(precious, path)
    with pytest.raises(ConfigError, match="no lock file of its own"), interface_lock("wgtest"):
        pass
    assert precious.read_text() == "kept"
    assert stat.S_IMODE(precious.stat().st_mode) == 0o644


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_none_either(path: Path, make: object) -> None:
    make(path)  # type: ignore[operator]
    with pytest.raises(ConfigError, match=str(path)), interface_lock("wgtest"):
        pass


@as_root
def test_anothers_file_is_refused_with_its_owner_and_the_fix(path: Path) -> None:
    path.write_text("kept")
    os.chown(path, OTHER, OTHER)
    with pytest.raises(ConfigError, match=f"{path}: belongs to uid {OTHER}.*rm {path}"), interface_lock("wgtest"):
        pass
    assert path.read_text() == "kept"


@as_root
def test_roots_own_is_told_of_to_an_account_that_may_not_open_it(path: Path, tmp_path: Path) -> None:
    path.touch(0o600)
    for folder in (tmp_path, *tmp_path.parents):
        if not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o011)
    child = os.fork()
    if not child:
        try:
            os.setgid(OTHER)
            os.setuid(OTHER)
            with pytest.raises(ConfigError, match=f"{path}: belongs to root .*rm {path}"), interface_lock("wgtest"):
                pass
        except BaseException:
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def test_nothing_is_truncated_while_another_holds_it(path: Path) -> None:
    path.write_text("4711\n")
    with open(path) as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(GatewayRunning, match="process 4711"), interface_lock("wgtest"):
            pass
        assert path.read_text() == "4711\n"


def test_a_holder_that_is_no_number_is_not_repeated(path: Path) -> None:
    path.write_text("\x1b[31mcall me\n")
    with open(path) as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(GatewayRunning, match="process unknown"), interface_lock("wgtest"):
            pass


def test_a_file_that_was_put_in_its_place_meanwhile_is_the_one_that_is_locked(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = fcntl.flock

    def flock(descriptor: int, how: int) -> None:
        original(descriptor, how)
        monkeypatch.setattr(fcntl, "flock", original)
        path.unlink()

    monkeypatch.setattr(fcntl, "flock", flock)
    with interface_lock("wgtest"), pytest.raises(GatewayRunning), interface_lock("wgtest"):
        pass


def test_a_lock_is_not_inherited(path: Path) -> None:
    with interface_lock("wgtest"):
        listed = subprocess.run(["ls", "-l", "/proc/self/fd"], capture_output=True, text=True, close_fds=False)
        assert "wgtest.lock" not in listed.stdout
        assert listed.returncode == 0


def test_a_name_that_is_no_interfaces_reaches_no_file(path: Path) -> None:
    with pytest.raises(InvalidValue, match="interface name"), interface_lock("../wgtest"):
        pass


# --- the control socket, in the same folder ---------------------------------------------------------------------------


async def _status() -> GatewayStatus:
    return GatewayStatus(interface="wgtest")


@pytest.mark.parametrize("kind", ["file", "link"])
def test_what_is_no_socket_is_not_taken_away(path: Path, tmp_path: Path, kind: str) -> None:
    import asyncio

    there = tmp_path / "wgtest.sock"
    if kind == "file":
        there.write_text("kept")
    else:
        there.symlink_to(path)

    async def serve() -> None:
        async with ControlServer("wgtest", _status, FeedHub()):
            pass

    with pytest.raises(ConfigError, match=f"control socket {there}: is there and is no socket; remove it"):
        asyncio.run(serve())
    assert there.is_symlink() == (kind == "link")
    assert kind == "link" or there.read_text() == "kept"


def test_what_was_put_in_the_sockets_place_stays(path: Path, tmp_path: Path) -> None:
    import asyncio

    there = tmp_path / "wgtest.sock"

    async def serve() -> None:
        async with ControlServer("wgtest", _status, FeedHub()):
            there.unlink()
            there.write_text("kept")

    asyncio.run(serve())
    assert there.read_text() == "kept"

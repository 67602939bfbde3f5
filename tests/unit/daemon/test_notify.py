"""What the service manager hears, on a real datagram socket of each kind; and a process whose memory is sealed."""

from __future__ import annotations

import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from wgjit.notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, dict[str, str]]]:
    """A manager's socket, and the environment that it would give us."""
    name = f"{tmp_path}/notify" if request.param == "path" else f"@wgjit-test-{secrets.token_hex(8)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.settimeout(60)
        listener.bind(name.replace("@", "\0", 1))
        yield listener, {"NOTIFY_SOCKET": name, "PATH": "/bin"}


def test_the_manager_hears_each_word(manager: tuple[socket.socket, dict[str, str]]) -> None:
    listener, environment = manager
    notifier = Notifier(environment)
    notifier.ready("wg0: port 51820,\ndelivery hold")
    notifier.alive()
    notifier.stopping("ending; sessions stay")
    said = [listener.recv(1024).decode() for _ in range(3)]
    # one line: a newline in the status would be a message of its own
    assert said[0] == "READY=1\nSTATUS=wg0: port 51820, delivery hold"
    assert said[1] == "WATCHDOG=1"
    assert said[2].splitlines()[0] == "STOPPING=1"


def test_programs_that_we_start_cannot_speak_in_our_name(manager: tuple[socket.socket, dict[str, str]]) -> None:
    _, environment = manager
    Notifier(environment)
    assert environment == {"PATH": "/bin"}


@pytest.mark.parametrize(
    "name",
    [None, "", "vsock:2:1234", "relative", "/nowhere/at/all"],
    ids=["none", "empty", "vsock", "relative", "gone"],
)
def test_without_a_manager_it_is_harmless(name: str | None) -> None:
    notifier = Notifier({} if name is None else {"NOTIFY_SOCKET": name})
    notifier.ready("well")
    notifier.alive()
    notifier.stopping("ending; sessions stay")


def test_a_manager_that_does_not_read_does_not_stop_us(manager: tuple[socket.socket, dict[str, str]]) -> None:
    """The kernel queues some datagrams (net.unix.max_dgram_qlen), then a blocking sender would wait."""
    listener, environment = manager
    notifier = Notifier(environment)
    for _ in range(5000):
        notifier.alive()
    assert listener.recv(64) == b"WATCHDOG=1"


def test_sealed_memory() -> None:
    """In a process of its own: there is no way back to a core limit above zero."""
    code = """
import ctypes, resource
from wgjit.secrecy import seal_memory
assert ctypes.CDLL(None).prctl(3, 0, 0, 0, 0) == 1  # PR_GET_DUMPABLE
seal_memory()
print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), resource.getrlimit(resource.RLIMIT_CORE))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "0 (0, 0)"

"""What `./dev guest` promises, on both kernels: status, output, signals, what survives, and that nothing stays."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUN = [str(ROOT / "lab" / "guest" / "run")]
MARK = "WGJIT_TEST_GUEST"
"""In the environment of all that a test starts, so that what it leaves behind is known for its own."""


@pytest.fixture(params=["uml", "tcg"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """An environment that tells this test's processes from others'; none of them may be left at its end."""
    mark = f"{MARK}={os.getpid()}-{tmp_path.name}"
    yield {**os.environ, MARK: mark.partition("=")[2]}
    end = time.monotonic() + 10
    while (left := carrying(mark)) and time.monotonic() < end:  # the kernel takes a killed namespace down by and by
        time.sleep(0.05)
    assert left == []


def carrying(mark: str) -> list[bytes]:
    """The command lines of the processes that have this in their environment."""
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark.encode() in environ.read_bytes():
                found.append((environ.parent / "cmdline").read_bytes())
        except OSError:  # it has ended meanwhile
            continue
    return found


def guest(backend: str, *words: str, environment: dict[str, str], cwd: Path = ROOT) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*RUN, "-b", backend, *words],
        env=environment,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_command_comes_back_whole(backend: str, environment: dict[str, str], tmp_path: Path) -> None:
    """Status, both outputs, folder, environment and quoting come through; only what is written to -w survives."""
    shared = tmp_path / "with a space"
    shared.mkdir()
    script = (
        'printf "%s|" "$PWD" "$WGJIT_GUEST" "$QUOTED" "$1" "$(id -u)"; echo "on stderr" >&2;'
        "ip link add x type wireguard && cat /sys/class/net/x/mtu;"
        "echo kept >kept; echo lost >../lost; cat; exit 7"
    )
    process = guest(
        backend, "-w", str(shared), "--", "sh", "-c", script, "sh", "a 'b' $c\n\"d\"",
        environment=environment | {"QUOTED": "it's\n$HOME"}, cwd=shared,
    )  # fmt: skip
    out, err = process.communicate(timeout=400)
    assert process.returncode == 7, err
    assert out == f"{shared}|{backend}|it's\n$HOME|a 'b' $c\n\"d\"|0|1420\n"
    assert err.splitlines()[-1] == "on stderr"
    assert (shared / "kept").read_text() == "kept\n"
    assert not (tmp_path / "lost").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_the_command(backend: str, environment: dict[str, str], number: signal.Signals) -> None:
    script = f"trap 'echo got it; exit 1' {number.name[3:]}; echo up; sleep 1000 & wait"
    process = guest(backend, "--", "bash", "-c", script, environment=environment)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    process.send_signal(number)
    out, _ = process.communicate(timeout=60)
    assert (out, process.returncode) == ("got it\n", 128 + number)


def test_a_guest_that_takes_too_long_is_ended(backend: str, environment: dict[str, str]) -> None:
    process = guest(backend, "-t", "0.5", "--", "sleep", "1000", environment=environment)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 124
    assert "no end within 0.5 s" in err


def test_a_killed_runner_takes_its_guest_along(backend: str, environment: dict[str, str]) -> None:
    process = guest(backend, "--", "sh", "-c", "echo up; sleep 1000", environment=environment)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    process.kill()
    process.communicate(timeout=60)  # it would not return if the guest held the output open


def test_a_guest_that_dies_is_told_from_a_command_that_fails(environment: dict[str, str]) -> None:
    process = guest("uml", "-m", "1M", "--", "true", environment=environment)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 125
    assert "ended without a status" in err


def test_bad_options_are_refused(environment: dict[str, str], tmp_path: Path) -> None:
    for words in ([], ["-w", str(tmp_path / "absent"), "--", "true"], ["-b", "kvm", "--", "true"]):
        process = subprocess.run([*RUN, *words], env=environment, capture_output=True, text=True)
        assert process.returncode == 2
        assert "usage: ./dev guest" in process.stderr

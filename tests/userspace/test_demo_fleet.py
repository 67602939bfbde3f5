"""`./dev demo fleet`, made small: it shows what it promises, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.netns import NETNS, UAPI_SOCKETS

ROOT = Path(__file__).parents[2]


def start(folder: Path | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "lab.fleet.demo", "--peers", "500", "--clients", "2", "--new", "2", "--downloads", "4"],
        cwd=ROOT,
        env=os.environ | ({"TMPDIR": str(folder)} if folder else {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def left(folder: Path) -> set[str]:
    """What the demo with these temporary files has made. Its lab's prefix is in a name there."""
    files = set(os.listdir(folder))
    prefixes = tuple(name.split("-")[0] for name in files if re.match(r"w[a-z0-9]{4}-", name))
    names = {*os.listdir(NETNS), *(path.name for path in UAPI_SOCKETS.glob("*.sock"))}
    return files | {name for name in names if name.startswith(prefixes)}


def test_the_demo_shows_what_it_promises() -> None:
    demo = start()
    output, _ = demo.communicate(timeout=300)
    assert demo.returncode == 0, output
    assert "500 peers are registered in PostgreSQL, for three gateways" in output
    row = r"^  [abc] → [abc] +[\d.,]+ ms +[\d.,]+ ms +[\d.,]+ ms +\d+, \d+ µs$"
    assert len(re.findall(row, output, re.MULTILINE)) == 2
    assert "the registry of record was asked 0 times" in output
    assert "2 new clients connect to gateway c" in output
    assert re.search(r"all claims are in it after [\d.]+ s, and a has let go after [\d.]+ s", output)
    assert re.search(r"routing leads them to gateway b after [\d.]+ s; it calls 4, 0 have to knock", output)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Not below pytest's own folder, which is root's alone: the server runs as an account without rights."""
    with tempfile.TemporaryDirectory(prefix="wgjit-demo-") as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


def test_an_interrupted_demo_leaves_nothing(folder: Path) -> None:
    demo = start(folder)
    assert demo.stdout is not None
    while "is ready" not in (line := demo.stdout.readline()):
        assert line, "the demo ended by itself"
    made = left(folder)
    assert any(name.startswith("wgjit-pg-") for name in made)
    assert any((NETNS / name).exists() for name in made)
    demo.send_signal(signal.SIGINT)
    output, _ = demo.communicate(timeout=120)
    assert (demo.returncode, "interrupted" in output) == (130, True), output
    assert left(folder) == set()
    assert [name for name in made if (NETNS / name).exists() or (UAPI_SOCKETS / name).exists()] == []

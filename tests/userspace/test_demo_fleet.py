"""`./dev demo fleet`, made small: it shows what it promises, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from lab.netns import NETNS, UAPI_SOCKETS

ROOT = Path(__file__).parents[2]


def start() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "lab.fleet.demo", "--peers", "500", "--clients", "2", "--new", "2"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def left() -> set[str]:
    """What demos leave while they run."""
    folders = Path(tempfile.gettempdir()).glob("wgjit-pg-*")
    return {*os.listdir(NETNS), *(path.name for path in UAPI_SOCKETS.glob("*.sock")), *(path.name for path in folders)}


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


def test_an_interrupted_demo_leaves_nothing() -> None:
    before = left()
    demo = start()
    assert demo.stdout is not None
    while "is ready" not in (line := demo.stdout.readline()):
        assert line, "the demo ended by itself"
    new = left() - before
    assert any(name.startswith("wgjit-pg-") for name in new)
    demo.send_signal(signal.SIGINT)
    output, _ = demo.communicate(timeout=120)
    assert (demo.returncode, "interrupted" in output) == (130, True), output
    assert left() & new == set()

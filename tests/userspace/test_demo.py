"""`./dev demo`, made small: it shows what it promises, says when it cannot, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lab.netns import NETNS, RUN_FOLDER, UAPI_SOCKETS

ROOT = Path(__file__).parents[2]
SMALL = ("--peers", "500", "--clients", "2", "--at-once", "3")


def left_behind(prefix: str) -> list[Path]:
    """Namespaces, sockets and locks of a demo that has ended."""
    return [path for folder in (NETNS, UAPI_SOCKETS, RUN_FOLDER) for path in folder.glob(f"{prefix}*")]


def start(*options: str, path: str | None = None) -> subprocess.Popen[str]:
    environment = os.environ | ({} if path is None else {"PATH": path})
    return subprocess.Popen(
        [sys.executable, "-m", "lab.demo", *options],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_the_demo_shows_what_it_promises() -> None:
    demo = start(*SMALL)
    output, _ = demo.communicate(timeout=120)
    assert demo.returncode == 0, output
    assert "500 peers are registered with a gateway, and none is installed" in output
    assert re.search(r"wgjit up \w+: delivery (hold|replay), 0 peers installed", output)
    line = r"^  {} +(?:outside|behind NAT) +([\d,.]+) ms"
    times = {
        how: [float(found.replace(",", "")) for found in re.findall(line.format(how), output, re.MULTILINE)]
        for how in ("pre-installed", "plain retry", "one by one", "all at once")
    }
    assert {how: len(found) for how, found in times.items()} == {
        "pre-installed": 3, "plain retry": 1, "one by one": 2, "all at once": 3,
    }  # fmt: skip
    assert times["plain retry"][0] > 4500
    assert max(times["one by one"] + times["all at once"]) < 2000
    assert re.search(r"installed now: 5 of 5\d\d registered peers", output)
    assert re.search(r"wg setconf takes [\d.]+ s for 500 peers", output)
    told = [line for line in output.splitlines() if re.match(r"  (one by one|all at once) ", line)]
    assert all(line.count(" ms") == 1 for line in told), "no column repeats what the summary says"
    assert "  ./dev wgjit doctor  " in output, "what to type next"
    prefix = re.findall(r"wgjit up (\w{5})", output)[0]
    assert left_behind(prefix) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_demo_leaves_nothing(number: signal.Signals) -> None:
    demo = start("--peers", "500")
    assert demo.stdout is not None
    while "wgjit up" not in (line := demo.stdout.readline()):
        assert line, "the demo ended by itself"
    prefix = re.findall(r"wgjit up (\w{5})", line)[0]
    assert [name for name in os.listdir(NETNS) if name.startswith(prefix)]
    demo.send_signal(number)
    output, _ = demo.communicate(timeout=60)
    assert (demo.returncode, "interrupted" in output) == (130, True)
    assert left_behind(prefix) == []


def test_a_stage_that_cannot_work_says_so(tmp_path: Path) -> None:
    """A machine without wireguard-go, where an interface of the kernel's WireGuard cannot be made either."""
    for name in ("ip", "nft", "iptables-legacy", "ip6tables-legacy"):
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    (tmp_path / "unshare").write_text("#!/bin/sh\nexit 1\n")  # how the lab finds out
    (tmp_path / "unshare").chmod(0o755)
    demo = start(*SMALL, path=str(tmp_path))
    output, _ = demo.communicate(timeout=60)
    assert demo.returncode == 1, output
    assert re.search(r"the demo failed: .*wireguard-go is not installed", output)


def test_options_out_of_range_are_refused() -> None:
    demo = start("--at-once", "0")
    output, _ = demo.communicate(timeout=60)
    assert (demo.returncode, "--at-once 1 to 100" in output) == (2, True)

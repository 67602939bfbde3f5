"""CPU time and memory of processes, read from outside."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from bench.processes import Process

WORK = """
import sys, time
end = time.process_time() + 0.2
while time.process_time() < end: pass
print(flush=True)
sys.stdin.read()
"""


def test_a_process_is_seen_to_work_and_to_rest() -> None:
    with subprocess.Popen([sys.executable, "-c", WORK], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        seen = Process(child.pid)
        assert child.stdout is not None
        child.stdout.readline()
        worked = seen.cpu()
        assert 0.2 <= worked < 2.0
        assert seen.memory() > 1 << 20
        time.sleep(0.05)
        assert seen.cpu() - worked < 0.04, "it waits for its input"
        child.communicate()
    with pytest.raises(OSError):  # noqa: PT011 - which one, depends on what is asked
        seen.cpu()


def test_of_this_process_it_is_what_the_process_says() -> None:
    assert Process(os.getpid()).cpu() == pytest.approx(time.process_time(), abs=0.05)

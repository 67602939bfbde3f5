"""Signals: in a process of their own, since a signal's handlers are the process's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

PROGRAM = """
import asyncio, signal, sys
from wgjit.cli.shared.log import set_up_log
from wgjit.daemon.process.signals import handle_signals, on_a_terminal

async def main():
    set_up_log(False)
    ends = asyncio.Event()
    why = []
    def end(name):
        why.append(name)
        ends.set()
    terminal = sys.argv[1] == "terminal" or (sys.argv[1] == "as it is" and on_a_terminal())
    handle_signals(asyncio.get_running_loop(), lambda: end("asked"), lambda: end("stop"), terminal=terminal)
    print("ready", flush=True)
    await ends.wait()
    print(*why, flush=True)

if "nohup" in sys.argv:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
asyncio.run(main())
"""


def start(*words: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *words],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def told(process: subprocess.Popen[str]) -> str:
    """The next line of its log."""
    assert process.stderr is not None
    return process.stderr.readline()


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2])
def test_a_service_goes_on_and_says_so(number: signal.Signals) -> None:
    process = start("service")
    for _ in range(2):
        process.send_signal(number)
        line = told(process)
        assert number.name in line
        assert "restart" in line
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "asked\n")


def test_a_terminal_that_is_gone_ends_it_as_sigterm_does() -> None:
    process = start("terminal")
    process.send_signal(signal.SIGHUP)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "asked\n", "")


def test_a_signal_that_nohup_has_ignored_stays_ignored() -> None:
    process = start("terminal", "nohup")
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "stop\n", "")


@pytest.mark.parametrize("is_one", [True, False])
def test_a_terminal_is_known_by_standard_input(is_one: bool) -> None:
    master, end = os.openpty()
    try:
        process = start("as it is", stdin=end if is_one else subprocess.DEVNULL)
        process.send_signal(signal.SIGHUP)
        if not is_one:
            assert "SIGHUP" in told(process)
            process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=60)[0] == "asked\n"
    finally:
        os.close(master)
        os.close(end)


def test_a_standard_input_that_is_closed_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    from wgjit.daemon.process.signals import on_a_terminal

    monkeypatch.setattr(sys, "stdin", None)
    assert not on_a_terminal()

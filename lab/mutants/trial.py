"""One trial: a copy of the package with a break in it, and the tests near the break, in a process of their own.

The process is forked from one that has imported what the tests import, but nothing of the package: this takes a third
of the time of a new interpreter. The checkout is never changed.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import signal
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path

import pytest

PATIENCE = 30.0
"""Seconds that a trial may take beyond ten times what its tests take: a break may make the code run for ever."""


class Outcome(StrEnum):
    NOTICED = "noticed"
    SURVIVED = "survived"
    HUNG = "hung"
    """The tests did not come to their end, which is to notice it."""
    UNREACHED = "unreached"
    """No test executes the line."""


class _Selection:
    """A plugin of pytest: these tests alone, in this order."""

    def __init__(self, tests: Sequence[str]) -> None:
        self._place = {test: place for place, test in enumerate(tests)}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = sorted(
            (item for item in items if item.nodeid in self._place), key=lambda item: self._place[item.nodeid]
        )


class Bench:
    """The copy of the package, and the processes over it."""

    def __init__(self, checkout: Path, folder: Path) -> None:
        """`folder` is the bench's own: what is in it is removed."""
        self._checkout = checkout
        self._folder = folder
        self.source = folder / "src"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(checkout / "src", self.source, ignore=shutil.ignore_patterns("*.egg-info"))

    def remove(self) -> None:
        """Remove the copy."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def prepare(self, modules: Sequence[str]) -> None:
        """Import these modules, so that no trial has to."""
        with warnings.catch_warnings(), contextlib.suppress(ValueError):
            warnings.simplefilter("ignore")
            for name in modules:
                with contextlib.suppress(Exception):
                    importlib.import_module(name)
        assert "wgjit" not in sys.modules, "trials would have the package without its breaks"

    def run(self, work: Callable[[list[str]], int], limit: float = float("inf")) -> int | None:
        """The status of `work` in a process of its own, which gets pytest's arguments; None if it took too long."""
        output = self._folder / "output"
        sys.stdout.flush()
        process = os.fork()
        if not process:
            status = 70
            try:
                self._become(output)
                status = work(self._arguments())
            finally:
                os._exit(status)
        return wait(process, limit)

    def trial(self, module: str, source: str, text: str, tests: Sequence[str], seconds: float) -> Outcome:
        """The outcome of the module's text instead of its source. `module` is relative to src.

        `seconds` is what the tests take.
        """
        if not tests:
            return Outcome.UNREACHED
        files = sorted({test.partition("::")[0] for test in tests})

        def work(arguments: list[str]) -> int:
            return int(pytest.main([*arguments, "-x", *files], plugins=[_Selection(tests)]))

        path = self.source / module
        path.write_text(text)
        _forget(path)
        try:
            status = self.run(work, PATIENCE + 10 * seconds)
        finally:
            path.write_text(source)
            _forget(path)
        if status is None:
            return Outcome.HUNG
        return Outcome.NOTICED if status else Outcome.SURVIVED

    def output(self) -> str:
        """What the last process printed."""
        return (self._folder / "output").read_text(errors="replace")

    def _arguments(self) -> list[str]:
        return ["-p", "no:cacheprovider", "--basetemp", str(self._folder / "tmp"), "-p", "lab.mutants.profile"]

    def _become(self, output: Path) -> None:
        os.setsid()
        file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        for number in (1, 2):
            os.dup2(file, number)
        sys.path.insert(0, str(self.source))
        sys.dont_write_bytecode = True  # two texts of one size within a second are one to a cache
        os.environ |= {"PYTHONPATH": str(self.source), "PYTHONDONTWRITEBYTECODE": "1"}
        os.chdir(self._checkout)


def _forget(path: Path) -> None:
    for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*"):
        compiled.unlink()


def wait(process: int, limit: float) -> int | None:
    """The status of a process that leads a session of its own; None if it took longer. All of the session is ended."""
    ends = time.monotonic() + limit
    pause = 0.001
    try:
        while time.monotonic() < ends:
            ended, status = os.waitpid(process, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status)
            time.sleep(pause := min(0.05, 1.2 * pause))
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        return None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process, signal.SIGKILL)

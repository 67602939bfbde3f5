"""A run over modules of one package: which breaks are tried, in which way, and until when."""

from __future__ import annotations

import difflib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.mutants.breaks import Break, broken
from lab.mutants.reach import Reach
from lab.mutants.session import SURVIVORS, Session
from lab.mutants.trial import Bench, Outcome
from lab.mutants.warm import Warm

SLOW = 1.0
"""Seconds of a test that a quick run leaves out: models of the whole core, and what runs processes."""

Trial = Callable[[str, str, str, list[str], float], Outcome | None]
"""The outcome of a module with its source, another text, the tests to run, and the seconds that they take."""


@dataclass(frozen=True)
class Run:
    """Tries what has no outcome yet, until `ends` (monotonic seconds). `quick` leaves out slow tests."""

    bench: Bench
    reach: Reach
    modules: list[str]
    """Relative to the folder of the source."""
    folder: Path
    """Of the sessions."""
    ends: float
    quick: bool = False

    def warm(self, tests: list[str]) -> None:
        """Try the breaks of functions."""
        terminal = os.dup(2)

        def work(warm: Warm) -> None:
            self._each(warm.trial, terminal)

        def collect(arguments: list[str]) -> int:
            return int(pytest.main([*arguments, "-s", *tests], plugins=[Warm(self.bench.source, work)]))

        try:
            if self.bench.run(collect):
                raise RuntimeError(self.bench.output())
        finally:
            os.close(terminal)

    def cold(self) -> None:
        """Try the other breaks."""
        self._each(self.bench.trial, 2)

    def _each(self, trial: Trial, terminal: int) -> None:
        for module in self.modules:
            source = (self.bench.source / module).read_text()
            with Session(self.folder, module, source) as session:
                todo = session.untried()
                for number, one in enumerate(todo, 1):
                    if time.monotonic() >= self.ends:
                        return
                    outcome = self._try(trial, session, module, source, one)
                    if outcome in SURVIVORS or not number % 100:
                        line = f"{module} {number}/{len(todo)} {outcome} {said(source, one)}\n"
                        os.write(terminal, line.encode())

    def _try(self, trial: Trial, session: Session, module: str, source: str, one: Break) -> Outcome | None:
        text = broken(source, one)
        tests = self.reach.tests(module, one.start[0], one.end[0])
        if self.quick:
            tests = [test for test in tests if self.reach.seconds[test] < SLOW]
        outcome = trial(module, source, text, tests, sum(self.reach.seconds[test] for test in tests))
        if outcome is not None:
            session.tried(one, outcome, _difference(source, text))
        return outcome


def said(source: str, one: Break) -> str:
    """A break in one line: `12: a < b → a <= b`."""
    text = broken(source, one)
    first, last = one.start[0] - 1, one.end[0]
    added = len(text.splitlines()) - len(source.splitlines())
    before = " ".join(" ".join(source.splitlines()[first:last]).split())
    after = " ".join(" ".join(text.splitlines()[first : last + added]).split())
    return f"{one.start[0]}: {before} → {after}"


def _difference(source: str, text: str) -> str:
    return "\n".join(difflib.unified_diff(source.splitlines(), text.splitlines(), lineterm="", n=0))

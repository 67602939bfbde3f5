"""Which tests execute which line of the package, and how long each takes: measured once for a suite, by coverage.

What is measured is kept beside the sessions, under a name with a hash of the package and the tests.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import coverage
import pytest

_IMPORTED = ""
"""The context of lines that run when a module is imported."""


@dataclass(frozen=True)
class Reach:
    """What the tests of a suite execute."""

    seconds: dict[str, float]
    """Duration by the test's id."""
    lines: dict[str, dict[int, list[str]]]
    """The tests that execute a line, by module (relative to src) and line."""
    modules: list[str]
    """What the tests import: all but the package and the tests themselves."""

    def tests(self, module: str, first: int, last: int) -> list[str]:
        """The tests to run for a break in these lines.

        If the lines run at an import only (a constant, a default), these are the tests that execute anything else of
        the module, or all if there are none.
        """
        of_module = self.lines.get(module, {})
        near = {test for line in range(first, last + 1) for test in of_module.get(line, ())}
        if near - {_IMPORTED}:
            return self._in_order(near - {_IMPORTED})
        if not near:
            return []
        return self._in_order({test for tests in of_module.values() for test in tests} - {_IMPORTED}) or list(
            self.seconds
        )

    def _in_order(self, tests: set[str]) -> list[str]:
        """First the tests of the first folder (those of the module's own package), then the quickest."""
        nearest = next(iter(self.seconds)).rpartition("/")[0]
        return sorted(tests, key=lambda test: (not test.startswith(nearest), self.seconds[test]))


def digest(folders: list[Path]) -> str:
    """A hash of all Python files below these folders."""
    hashed = hashlib.sha256()
    for folder in folders:
        for path in sorted(folder.rglob("*.py")):
            hashed.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    return hashed.hexdigest()[:12]


class _Watch:
    """A plugin of pytest: each test is a context of coverage."""

    def __init__(self, measured: coverage.Coverage) -> None:
        self._measured = measured
        self.seconds: dict[str, float] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self._measured.switch_context(item.nodeid)
        began = time.monotonic()
        try:
            return (yield)
        finally:
            self.seconds[item.nodeid] = time.monotonic() - began
            self._measured.switch_context(_IMPORTED)


def measure(source: Path, arguments: list[str], result: Path) -> int:
    """Run pytest with these arguments over the package below `source`, and write what it reaches. pytest's status."""
    measured = coverage.Coverage(data_file=None, source=[str(source / "wgjit")], config_file=False, messages=False)
    watch = _Watch(measured)
    measured.start()
    try:
        status = int(pytest.main(arguments, plugins=[watch]))
    finally:
        measured.stop()
    data = measured.get_data()
    lines = {
        str(Path(file).relative_to(source)): {
            str(line): contexts for line, contexts in data.contexts_by_lineno(file).items()
        }
        for file in data.measured_files()
    }
    own = {path.name for path in Path.cwd().iterdir()} | {"wgjit", "__main__"}
    modules = sorted(name for name in sys.modules if name.split(".")[0] not in own)
    result.write_text(json.dumps({"seconds": watch.seconds, "lines": lines, "modules": modules}))
    return status


def load(path: Path) -> Reach:
    """What `measure` has written."""
    read = json.loads(path.read_text())
    lines = {file: {int(line): tests for line, tests in by.items()} for file, by in read["lines"].items()}
    return Reach(read["seconds"], lines, read["modules"])

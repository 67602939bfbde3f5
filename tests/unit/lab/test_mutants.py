"""`./dev mutants`, over a package of a few lines: what is broken, what is noticed, and how a later run goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab.mutants.breaks import breaks, broken

ROOT = Path(__file__).parents[3]

MODULE = '''\
"""A module with a limit."""

from __future__ import annotations

LIMIT = 3


def is_over(count: int | None, more: int) -> bool:
    if count is None:
        return False
    return count + more > LIMIT


def never_called() -> int:
    return 7


def until(stop: list[int]) -> None:
    while not stop:
        pass


class Counter:
    def __init__(self) -> None:
        self.seen: dict[int, int] = {}

    def add(self, one: int) -> bool:
        is_new = one not in self.seen
        self.seen[one] = 1
        return is_new
'''

TESTS = """
from wgjit.core.module import Counter, is_over, until

def test_the_limit():
    assert is_over(4, 0) and not is_over(3, 0)

def test_a_counter():
    counter = Counter()
    assert counter.add(1)
    assert not counter.add(1)
    until([1])
"""

RUN = """
import pathlib, sys
from lab.mutants import __main__ as command, warm
command.ROOT = root = pathlib.Path(sys.argv[1])
command.SOURCE, command.PACKAGE, command.SUITES = root / "src", root / "src/wgjit", {"core": ["tests"]}
warm.PATIENCE = 1.0
sys.exit(command.main(["--folder", sys.argv[1] + "/outcomes", *sys.argv[2:]]))
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    package = tmp_path / "src" / "wgjit" / "core"
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / "__init__.py").touch()
    (package / "module.py").write_text(MODULE)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_module.py").write_text(TESTS)
    return tmp_path


def run(checkout: Path, *arguments: str) -> tuple[int, list[str]]:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}"}
    ended = subprocess.run(
        [sys.executable, "-c", RUN, checkout, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode in (0, 1), ended.stderr
    return ended.returncode, ended.stdout.splitlines()


def test_it_finds_what_no_test_notices_and_goes_on_where_it_ended(checkout: Path) -> None:
    status, lines = run(checkout, "core/module.py")
    assert status == 1
    assert "not tried" not in lines[0]
    assert "2 hung" in lines[0]
    assert lines[1:] == [
        "  unreached 10: return False → return True",
        "  survived 11: return count + more > LIMIT → return count - more > LIMIT",
        "  unreached 15: return 7 → return 8",
        "  unreached 15: return 7 → return 6",
        "  survived 29: self.seen[one] = 1 → self.seen[one] = 2",
        "  survived 29: self.seen[one] = 1 → self.seen[one] = 0",
    ]
    (checkout / "tests" / "test_more.py").write_text(
        "from wgjit.core.module import *\ndef test(): assert is_over(2, 2)"
    )
    assert run(checkout, "--warm")[1] == lines, "what has an outcome is not tried again"
    again = run(checkout, "--warm", "--again")[1]
    assert [line for line in lines[1:] if line not in again] == [lines[2]]
    assert (checkout / "src/wgjit/core/module.py").read_text() == MODULE
    (checkout / "src/wgjit/core/module.py").write_text(MODULE + "\n\nMORE = 1\n")
    _, listed = run(checkout, "--list")
    assert "not tried" in listed[0], "another text is begun anew"
    assert len(listed) == 1


def test_tests_that_fail_without_a_break_end_it(checkout: Path) -> None:
    (checkout / "tests" / "test_module.py").write_text("def test(): assert False")
    ended = subprocess.run(
        [sys.executable, "-c", RUN, checkout], env={**os.environ, "PYTHONPATH": f"{ROOT}"}, check=False
    )
    assert ended.returncode == 1
    assert not list((checkout / "outcomes").glob("reach*"))


def test_what_does_not_run_is_not_broken() -> None:
    text = """
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    X = 1
def a(b: int | None, c: "Literal[1]") -> int | str:
    assert b + 1
    d: int | None
class E:
    def __repr__(self): return "x" + 1
"""
    assert breaks(text) == []


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ("A = 180", {"A = 181", "A = 179"}),
        ("a = b < c", {"a = b <= c", "a = b >= c"}),
        ("g(1)", {"None", "g( 2)", "g( 0)"}),
        ("await g()", {"None"}),
        ("a.b = c", {"None"}),
        ("a[b] += c", {"None"}),
        ("a.b: int = c", set()),
        ("if a and not b: pass", {"if a or not b: pass", "if a and b: pass", "if not a and not b: pass"}),
        ("a = b in c", {"a = b not in c"}),
        ("a = b not in c", {"a = b in c"}),
        ("for a in b: break", {"for a in []: break", "for a in b: continue"}),
        ("a = b", set()),
    ],
)
def test_the_breaks_of_a_text(text: str, changed: set[str]) -> None:
    assert {" ".join(broken(text + "\n", one).split()) for one in breaks(text + "\n")} == changed

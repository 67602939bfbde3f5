"""docs/TROUBLE.md has every line that wgjit writes to its log at info, warning or error, and no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

import wgjit
from wgjit.daemon.metrics import Metrics
from wgjit.daemon.telling.troubles import Trouble
from wgjit.daemon.telling.words import LEFT, REFUSED, REVOKED

SOURCES = Path(wgjit.__file__).parent
PAGE = Path(__file__).parents[2] / "docs" / "TROUBLE.md"
LEVELS = {"info", "warning", "error", "critical", "exception"}


class Unreadable(Exception):
    """The text of a log line is not written out where it is logged."""


def texts(node: ast.expr) -> list[str]:
    """All texts that an expression may be, of constants, `+` and `a if b else c`. Raises Unreadable."""
    match node:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.IfExp(body=body, orelse=orelse):
            return texts(body) + texts(orelse)
        case ast.BinOp(op=ast.Add(), left=left, right=right):
            return [one + other for one, other in product(texts(left), texts(right))]
    raise Unreadable(ast.unparse(node))


def lines_of(source: str) -> Iterator[tuple[str, str]]:
    """Text and level of each line that a module may log. Raises Unreadable."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=level), args=[text, *_]) if (
                name in {"log", "_log", "logger"} and level in LEVELS
            ):
                yield from ((one, level) for one in texts(text))


def logged() -> set[tuple[str, str]]:
    return {line for path in SOURCES.rglob("*.py") for line in lines_of(path.read_text())}


def rows(column: str) -> list[list[str]]:
    """The rows of the page's tables whose first column has this name: their cells."""
    found = []
    for table in re.findall(rf"^\| {column} \|.*\n\|[ -|]*\n((?:\|.*\n)+)", PAGE.read_text(), re.MULTILINE):
        found += [[cell.strip() for cell in row.strip("|").split(" | ")] for row in table.splitlines()]
    return found


def test_every_line_of_the_log_is_on_the_page_and_every_line_of_the_page_is_in_the_code() -> None:
    written = [(row[0].strip("`"), row[1]) for row in rows("line")]
    assert len(written) == len(set(written))
    assert set(written) - logged() == set(), "on the page, and nowhere in the code"
    assert logged() - set(written) == set(), "in the code, and not on the page: add a row"


def test_every_row_says_what_it_means_and_what_to_do() -> None:
    found = rows("line")
    assert found
    for row in found:
        assert len(row) == 4, row
        assert all(row), row


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ("`refusal`", [refusal.value for refusal in REFUSED]),
        ("`trouble`", [trouble.value for trouble in Trouble]),
    ],
)
def test_the_words_in_a_line_are_explained(column: str, words: list[str]) -> None:
    assert [row[0].strip("`") for row in rows(column)] == words


def test_the_parts_of_a_fault_are_explained() -> None:
    parts = set()
    for path in SOURCES.rglob("*.py"):
        parts |= set(re.findall(r'faults\.occurred\(\s*"(\w+)"', path.read_text()))
    assert {row[0].strip("`") for row in rows("`part`")} == parts


def test_what_is_said_of_a_departure_is_on_the_page() -> None:
    text = " ".join(PAGE.read_text().split())
    for why in (*LEFT.values(), *REVOKED.values()):
        assert why.partition(";")[0] in text, why


def test_every_counter_of_a_trouble_is_a_word_of_the_code() -> None:
    assert "troubles" in Metrics.__dataclass_fields__


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('log.info("a")', [("a", "info")]),
        ('log.warning("a" " b", x=1)', [("a b", "warning")]),
        ('log.error("a" if x else "b" + "c")', [("a", "error"), ("bc", "error")]),
        ('log.debug("a")', []),
    ],
)
def test_the_reader_of_the_sources_reads_all_ways_of_writing(source: str, found: list[tuple[str, str]]) -> None:
    assert list(lines_of(source)) == found


@pytest.mark.parametrize("source", ["log.info(text)", 'log.info(f"{a} b")', "log.warning(texts[0])"])
def test_a_text_that_is_put_together_at_run_time_is_refused(source: str) -> None:
    with pytest.raises(Unreadable):
        list(lines_of(source))

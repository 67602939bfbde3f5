"""On which line of a TOML text a value is.

tomllib gives values without places. So the text is parsed as it grows, line by line: the first beginning in which a
value exists ends at the value's last line, and its first line is the one after the beginning before. That is right
for every spelling (dotted keys, inline tables, values over many lines), since tomllib itself reads it.
"""

from __future__ import annotations

import re
import tomllib
from typing import Any

Path = tuple[str | int, ...]
"""The keys that lead to a value, and indices of its entries."""

_CLOSED = ("", "\n]", "\n]}")
"""What may be missing behind a list's first entries."""


class Positions:
    """Lines of one text, counted from 1. The text need not be TOML to its end."""

    def __init__(self, text: str) -> None:
        self._lines = text.replace("\r\n", "\n").split("\n")  # a return alone, at a beginning's end, is not TOML
        self._steps: list[tuple[int, int, dict[str, Any]]] = []  # first and last line of a step, and all up to there
        first = 1
        for last in range(1, len(self._lines) + 1):
            if (found := self._parse(last)) is not None:
                self._steps.append((first, last, found))
                first = last + 1
        self.unfinished = first
        """The first line that belongs to no whole statement; one more than there are if all do."""

    def line(self, path: Path) -> int:
        """The line on which the value begins, or what comes nearest to it: its table, the text's first line."""
        while path:
            for first, last, found in self._steps:
                if _exists(found, path):
                    return self._entry(first, last, path)
            path = path[:-1]
        return 1

    def _entry(self, first: int, last: int, path: Path) -> int:
        """The line of a list's entry, where the list has many lines."""
        if not isinstance(path[-1], int):
            return first
        for line in range(first, last):
            for closed in _CLOSED:
                found = self._parse(line, closed)
                if found is not None and _exists(found, path):
                    return line
        return last if last > first else first

    def _parse(self, lines: int, closed: str = "") -> dict[str, Any] | None:
        try:
            return tomllib.loads("\n".join(self._lines[:lines]) + closed)
        except tomllib.TOMLDecodeError:
            return None


def error_line(text: str, error: tomllib.TOMLDecodeError) -> int:
    """The line of a syntax error. What lacks its end is told where it begins."""
    at = re.search(r"at line (\d+)", str(error))
    return int(at[1]) if at else Positions(text).unfinished


def _exists(value: Any, path: Path) -> bool:
    for key in path:
        if isinstance(key, int):
            if not isinstance(value, list) or key >= len(value):
                return False
        elif not isinstance(value, dict) or key not in value:
            return False
        value = value[key]
    return True

"""Finds the line of a value in a TOML text.

tomllib gives values without their places. So longer and longer beginnings of the text are parsed, line by line. The
first beginning in which a value exists ends at the value's last line. The value's first line is the line after the
beginning before. This is right for every spelling (dotted keys, inline tables, values over many lines), since tomllib
itself reads it.
"""

from __future__ import annotations

import re
import tomllib
from typing import Any

Path = tuple[str | int, ...]
"""The keys that lead to a value, and the indices of entries in lists."""

_CLOSED = ("", "\n]", "\n]}")
"""The text that may be missing after the first entries of a list."""


class Positions:
    """The lines of one text, counted from 1. The end of the text need not be TOML."""

    def __init__(self, text: str) -> None:
        self._lines = text.replace("\r\n", "\n").split("\n")  # a single return at the end of a beginning is not TOML
        self._steps: list[tuple[int, int, dict[str, Any]]] = []  # first and last line of a step, all values so far
        first = 1
        for last in range(1, len(self._lines) + 1):
            if (found := self._parse(last)) is not None:
                self._steps.append((first, last, found))
                first = last + 1
        self.unfinished = first
        """The first line that belongs to no whole statement. If all lines do, it is the number of lines plus one."""

    def line(self, path: Path) -> int:
        """The line on which the value begins. If the value does not exist, the line of its table, or else 1."""
        while path:
            for first, last, found in self._steps:
                if _exists(found, path):
                    return self._entry(first, last, path)
            path = path[:-1]
        return 1

    def _entry(self, first: int, last: int, path: Path) -> int:
        """The line of an entry, in a list that has many lines."""
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
    """The line of a syntax error. For a statement without its end, this is the line on which it begins."""
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

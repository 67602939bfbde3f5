"""A peer's fields as cells of CSV. The table of fields is in `stores.peer_json`."""

from __future__ import annotations

import csv
import io
import re
from typing import Any

from wgjit.errors import InvalidValue
from wgjit.model import Peer
from wgjit.stores import label_rules
from wgjit.stores.peer_json import NUMBERS, Labels, from_fields

_FORMULA = re.compile(r"'*[=+@-]")
"""The beginning of a text that a spreadsheet takes for a formula, and of one that has been guarded against it."""


def from_cells(columns: list[str], cells: list[str]) -> tuple[Peer, Labels]:
    """The peer of a CSV row with these columns, and its labels. Raises InvalidValue."""
    if len(cells) != len(columns):
        raise InvalidValue(f"{len(cells)} cells under {len(columns)} columns; a text with a comma is written in quotes")
    return from_fields(
        {name: _from_cell(name, cell) for name, cell in zip(columns, cells, strict=True) if cell or name == "labels"}
    )


def to_cell(name: str, value: Any) -> object:
    """A field's value as a cell of CSV. A name or labels that a spreadsheet would take for a formula have a `'` before
    them."""
    match value:
        case str() if name == "name":
            return _no_formula(escaped(value))
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case list():
            return ",".join(value)
        case dict():
            text = io.StringIO()
            csv.writer(text, lineterminator="").writerow([escaped(f"{key}={worth}") for key, worth in value.items()])
            return _no_formula(text.getvalue())
    return value


def escaped(text: str) -> str:
    """A text of one line: other programs may have written control characters into a registry. `\\n` for a newline."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def _no_formula(text: str) -> str:
    return f"'{text}" if _FORMULA.match(text) else text


def _from_cell(name: str, cell: str) -> Any:
    if name in ("name", "labels") and cell.startswith("'") and _FORMULA.match(cell):
        cell = cell[1:]
    if name in NUMBERS:
        return _number(name, cell)
    match name:
        case "allowed_ips":
            return [text for text in re.split(r"[\s,;]+", cell) if text]
        case "has_preshared_key" | "enabled":
            if cell.lower() not in ("true", "false"):
                raise InvalidValue(f"field {name!r}: write true or false")
            return cell.lower() == "true"
        case "labels":
            return label_rules.parse_labels(text.strip() for text in cells_of(cell))
        case "expires_at" if re.fullmatch(r"-?[0-9]{5,19}", cell):  # four digits are a year
            return int(cell)
    return cell


def cells_of(text: str) -> list[str]:
    """The cells of a line of CSV. Raises InvalidValue."""
    try:
        return next(csv.reader([text], strict=True), [])
    except csv.Error:
        raise InvalidValue('not CSV; write cells with commas between, and quotes as "a ""b"""') from None


def _number(name: str, text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,18}", text, re.ASCII):
        raise InvalidValue(f"field {name!r}: write a number of seconds")
    return int(text)

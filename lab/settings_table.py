"""The table of settings in docs/CONFIGURATION.md. `./dev docs` makes it from the settings in the code."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from types import NoneType
from typing import Any, Literal, NamedTuple, get_args, get_origin

from pydantic.fields import FieldInfo

from wgjit.config.layers import SECTIONS, Setting
from wgjit.config.reference import meanings
from wgjit.database_url import DatabaseUrl

PAGE = Path(__file__).resolve().parents[1] / "docs" / "CONFIGURATION.md"
BEGIN, END = "<!-- settings -->\n", "<!-- /settings -->\n"

DEFAULTS_IN_WORDS: dict[Setting, str] = {
    ("store", "path"): "`/var/lib/wgjit/INTERFACE.db`",
    ("store", "ca_file"): "the system's",
    ("client", "public_key"): "that of `interface.private_key_file`",
    ("gateway", "name"): "the host's name",
    ("api", "socket"): "`/run/wgjit/INTERFACE.api.sock`",
}
"""Texts for defaults that are found on the machine where the gateway runs."""

_KINDS = {Path: "path", bool: "true, false", int: "whole number", float: "number", str: "text", DatabaseUrl: "text"}


class Row(NamedTuple):
    """A row of the table of settings, in Markdown."""

    setting: str
    default: str
    values: str
    meaning: str


def rows() -> Iterator[Row]:
    """All settings, by section."""
    for section, model in SECTIONS.items():
        for name, field in model.model_fields.items():
            setting = section, name
            default = DEFAULTS_IN_WORDS.get(setting) or _shown(field.get_default(call_default_factory=True))
            yield Row(f"`{section}.{name}`", default, _values(field), meanings()[setting])


def _shown(default: Any) -> str:
    match default:
        case None | []:
            return "none"
        case bool():
            return str(default).lower()
        case int() | float():
            return f"{default:.10g}"
        case list():
            return ", ".join(f"`{each}`" for each in default)
    return f"`{default}`"


def _values(field: FieldInfo) -> str:
    """The values that the setting may have, as far as one line can tell."""
    kinds = [kind for kind in get_args(field.annotation) or (field.annotation,) if kind is not NoneType]
    words = [word for kind in kinds for word in _words(kind)]
    if words:
        return ", ".join(f"`{word}`" for word in words)
    if get_origin(field.annotation) is list:
        return "list"
    named = _KINDS.get(kinds[0], "prefix")
    limits = {type(each).__name__: each for each in field.metadata}
    if "Gt" in limits:
        named += f", above {limits['Gt'].gt}"
    if "Ge" in limits:
        named += f", {'from ' if 'Le' not in limits else ''}{limits['Ge'].ge}"
    if "Le" in limits:
        named += f" to {limits['Le'].le}"
    return named


def _words(kind: Any) -> list[str]:
    if get_origin(kind) is Literal:
        return [str(word) for word in get_args(kind)]
    if isinstance(kind, str):
        return [kind]
    return [str(each.value) for each in kind] if isinstance(kind, type) and issubclass(kind, Enum) else []


def table() -> str:
    """The table in Markdown."""
    head = Row("setting", "default", "values", "meaning")
    lines = [head, Row(*["---"] * len(head)), *rows()]
    text = "".join("| " + " | ".join(row) + " |\n" for row in lines)
    return re.sub(r"\b([A-Z]+\.md)", r"[\1](\1)", text)


def written(page: str) -> str:
    """The page with the current table between its markers. Raises ValueError if the page has no markers."""
    before, found, rest = page.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not found or not ended:
        raise ValueError(f"{PAGE.name}: needs the two lines {BEGIN.strip()} and {END.strip()}, in this order")
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
    print(f"written: {PAGE}", file=sys.stderr)

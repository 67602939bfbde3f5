"""The errors of settings, as pydantic passes them on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class SettingsDisagree(ValueError):
    """Settings that do not go together."""

    def __init__(self, text: str, *settings: str) -> None:
        """`settings` are the concerned settings, as `section.name`. The error names the first, then has `text`."""
        super().__init__(f"{settings[0]}: {text}")
        self.text = text
        self.settings = [(section, name) for section, _, name in (each.partition(".") for each in settings)]


def cause(entry: Mapping[str, Any]) -> Exception | None:
    """The exception of wgjit's own validator; None if pydantic made the error. `entry` is one of its errors."""
    error = entry.get("ctx", {}).get("error")
    return error if isinstance(error, Exception) else None


def said(entry: Mapping[str, Any]) -> str:
    """The error's text for people."""
    error = cause(entry)
    return str(entry["msg"]) if error is None else str(error)

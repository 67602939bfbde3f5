"""What is wrong with a setting, as pydantic hands it on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class SettingsDisagree(ValueError):
    """Settings that do not go together."""

    def __init__(self, text: str, *settings: str) -> None:
        """`settings` are those that the text is about, as `section.name`; it goes on behind the first of them."""
        super().__init__(f"{settings[0]}: {text}")
        self.text = text
        self.settings = [(section, name) for section, _, name in (each.partition(".") for each in settings)]


def cause(entry: Mapping[str, Any]) -> Exception | None:
    """What a validator of ours raised; None if the complaint is pydantic's own. `entry` is one of the error's."""
    error = entry.get("ctx", {}).get("error")
    return error if isinstance(error, Exception) else None


def said(entry: Mapping[str, Any]) -> str:
    """The text for people."""
    error = cause(entry)
    return str(entry["msg"]) if error is None else str(error)

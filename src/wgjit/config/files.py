"""A configuration file: TOML, for one interface or for several.

    [gateway]                        # for all interfaces
    capacity = 50_000

    [interfaces.wg1.gateway]         # for wg1, over the former
    capacity = 500

A file with `interfaces` configures only the interfaces that it lists there; `[interfaces.wg0]` alone lists wg0.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from wgjit.config.key_file import unreadable
from wgjit.config.layers import SECTIONS, Layer, Mistake, Origin, Setting, Values, unknown
from wgjit.config.positions import Positions, error_line
from wgjit.config.settings import store_in_short
from wgjit.errors import ConfigError
from wgjit.wire.key_text import shown


class TomlFile:
    """The content of a file. Mistakes are collected in `mistakes`. After a syntax error the content is empty."""

    def __init__(self, path: Path) -> None:
        """Raises ConfigError if the file cannot be read."""
        self.path = path
        self.mistakes: list[Mistake] = []
        self._positions: Positions | None = None
        self._text = ""
        content: dict[str, Any] = {}
        try:
            raw = path.read_bytes()
        except OSError as error:
            raise ConfigError(unreadable(path, error)) from None
        try:
            self._text = raw.decode()
            content = tomllib.loads(self._text)
        except tomllib.TOMLDecodeError as error:
            line = error_line(self._text, error)
            self.mistakes.append(Mistake(Origin("file", str(path), line), "", f"not TOML: {error}"))
        except UnicodeDecodeError as error:
            line = raw.count(b"\n", 0, error.start) + 1
            self.mistakes.append(Mistake(Origin("file", str(path), line), "", "not TOML: not UTF-8"))
        listed = content.pop("interfaces", None)
        self.is_shared = listed is not None
        """Whether the file lists interfaces."""
        self.common = self._layer((), content, extra=("interfaces",))
        """The settings for all its interfaces."""
        self.own: dict[str, Layer] = {}
        """The settings for single interfaces, by name; empty for a file without a list of interfaces."""
        if not isinstance(listed, dict | None):
            self._wrong(("interfaces",), "write a section for each interface, such as [interfaces.wg0]")
            listed = {}
        for name, entries in (listed or {}).items():
            if isinstance(entries, dict):
                self.own[name] = self._layer(("interfaces", name), entries)
            else:
                self._wrong(("interfaces", name), f"write a section: [interfaces.{name}]")

    def layers(self, interface: str) -> list[Layer]:
        """The file's settings for an interface, general ones first. Raises ConfigError if it lists only others."""
        if self.is_shared and interface not in self.own and not self.mistakes:
            listed, asked = ", ".join(self.own) or "none", shown(interface)
            raise ConfigError(f"{self.path}: does not list {asked}, only: {listed}; add a section [interfaces.{asked}]")
        return [self.common, *([self.own[interface]] if interface in self.own else [])]

    def line(self, path: tuple[str | int, ...]) -> int:
        """The line on which a value is."""
        if self._positions is None:
            self._positions = Positions(self._text)
        return self._positions.line(path)

    def _wrong(self, path: tuple[str, ...], text: str) -> None:
        origin = Origin("file", str(self.path), self.line(path))
        self.mistakes.append(Mistake(origin, ".".join(path), text))

    def _layer(self, prefix: tuple[str, ...], content: dict[str, Any], extra: tuple[str, ...] = ()) -> Layer:
        values: Values = {}
        for section, entries in content.items():
            if section not in SECTIONS:
                self._wrong((*prefix, section), unknown(section, [*SECTIONS, *extra]))
                continue
            if section == "store" and isinstance(entries, str):
                entries = store_in_short(entries)
            if not isinstance(entries, dict):
                self._wrong((*prefix, section), f"write a section: [{'.'.join((*prefix, section))}]")
                continue
            values[section] = {}
            for name, value in entries.items():
                if name in SECTIONS[section].model_fields:
                    values[section][name] = value
                else:
                    self._wrong((*prefix, section, name), _unknown(section, name))
        return _FromFile(self, prefix, values)


class _FromFile:
    """A file's settings for all interfaces, or for one."""

    def __init__(self, file: TomlFile, prefix: tuple[str, ...], values: Values) -> None:
        self.values = values
        self._file = file
        self._prefix = prefix

    def origin(self, setting: Setting, index: int | None = None) -> Origin:
        path = (*self._prefix, *setting, *(() if index is None else (index,)))
        return Origin("file", str(self._file.path), self._file.line(path))

    def field(self, setting: Setting) -> str:
        return ".".join((*self._prefix, *setting))


def _unknown(section: str, name: str) -> str:
    elsewhere = [other for other, model in SECTIONS.items() if name in model.model_fields]
    if elsewhere:
        return f"no such setting; did you mean {elsewhere[0]}.{name}?"
    return unknown(name, SECTIONS[section].model_fields)

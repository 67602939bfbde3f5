"""Loads the settings of an interface, or of several, from files, environment and command line."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wgjit.config.environment import from_environment
from wgjit.config.files import TomlFile
from wgjit.config.layers import DEFAULT, Layer, Mistake, Origin, Setting, origins, validate
from wgjit.config.locate import config_path
from wgjit.config.settings import Config
from wgjit.config.together import clashes
from wgjit.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings of an interface."""

    interface: str
    config: Config
    path: Path | None
    """The file, if there is one."""
    origin: Callable[[Setting], Origin]
    """Gives the place of a setting's value."""


def load(
    interface: str,
    path: Path | None = None,
    options: Sequence[Layer] = (),
    environment: Mapping[str, str] = os.environ,
) -> Loaded:
    """The settings of an interface. `options` come before the environment, then its file (`config_path`), defaults.

    Raises ConfigError with all mistakes, one a line: file, line and field, or the variable, or the option.
    """
    loaded, mistakes = examine(interface, config_path(interface, path), options, environment)
    if loaded is None:
        raise _error(mistakes)
    return loaded


def load_all(
    interfaces: Sequence[str],
    path: Path | None = None,
    options: Sequence[Layer] = (),
    environment: Mapping[str, str] = os.environ,
) -> list[Loaded]:
    """The settings of several interfaces for one daemon. Raises ConfigError, also if two cannot run together."""
    mistakes: dict[Mistake, None] = {}
    found = []
    for interface in interfaces:
        loaded, wrong = examine(interface, config_path(interface, path), options, environment)
        mistakes |= dict.fromkeys(wrong)
        if loaded is not None:
            found.append(loaded)
    if not mistakes:
        mistakes = dict.fromkeys(clashes([(one.interface, one.config, one.origin) for one in found]))
    if mistakes:
        raise _error(list(mistakes))
    return found


def examine(
    interface: str,
    path: Path | None,
    options: Sequence[Layer] = (),
    environment: Mapping[str, str] = os.environ,
) -> tuple[Loaded | None, list[Mistake]]:
    """The settings of an interface by this file, if any, or all mistakes. Raises ConfigError for an unreadable file."""
    file = None if path is None else TomlFile(path)
    layers = [*([] if file is None else file.layers(interface)), from_environment(environment), *options]
    config, mistakes = validate(layers)
    if file is not None and file.mistakes:
        config, mistakes = None, [*file.mistakes, *mistakes]
    if config is None:
        return None, mistakes
    # Finding lines takes a while, and few callers need them.
    return Loaded(interface, config, path, lambda setting: origins(layers).get(setting, DEFAULT)), []


def load_config(path: Path) -> Config:
    """The settings of a file alone, checked for each interface that it lists. Raises ConfigError with all mistakes."""
    file = TomlFile(path)
    config, mistakes = validate([file.common])
    every = dict.fromkeys([*file.mistakes, *mistakes])
    for own in file.own.values():
        every |= dict.fromkeys(validate([file.common, own])[1])
    if every or config is None:
        raise _error(list(every))
    return config


def _error(mistakes: Sequence[Mistake]) -> ConfigError:
    by_place = sorted(mistakes, key=lambda mistake: (mistake.origin.name, mistake.origin.line or 0))
    return ConfigError("\n".join(map(str, by_place)))

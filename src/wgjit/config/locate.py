"""Finds the file that configures an interface: its own file, or the file that lists several interfaces."""

from __future__ import annotations

from pathlib import Path

from wgjit.config import folders
from wgjit.config.files import TomlFile
from wgjit.errors import ConfigError

SHARED = "wgjit.toml"
"""The file for several interfaces, in the same folder as the files for one."""


def shared_path() -> Path:
    """The file that lists several interfaces, /etc/wgjit/wgjit.toml."""
    return folders.CONFIG_FOLDER / SHARED


def own_path(interface: str) -> Path:
    """The file for one interface, /etc/wgjit/INTERFACE.toml."""
    return folders.CONFIG_FOLDER / f"{interface}.toml"


def config_path(interface: str, path: Path | None) -> Path | None:
    """The file with an interface's settings; None if there is none, so that all settings have their defaults.

    This is `path`, else /etc/wgjit/INTERFACE.toml, else /etc/wgjit/wgjit.toml if it lists the interface. Raises
    ConfigError if both of the latter configure the interface, or if one of them cannot be read.
    """
    if path is not None:
        return path
    own, shared = own_path(interface), shared_path()
    if own == shared or not shared.exists():
        return own if own.exists() else None
    file = TomlFile(shared)
    if interface not in file.own:
        if file.mistakes and not own.exists():
            return shared  # unknown whether it lists the interface; loading it will report the mistakes
        return own if own.exists() else None
    if own.exists():
        line = file.line(("interfaces", interface))
        raise ConfigError(
            f"{shared}:{line}: interfaces.{interface}: {own} configures {interface}, too; keep one of them"
        )
    return shared


def listed_interfaces(path: Path | None = None) -> list[str]:
    """The interfaces that a file lists, by default /etc/wgjit/wgjit.toml. Raises ConfigError if it lists none."""
    path = path or shared_path()
    file = TomlFile(path)
    if not file.own:
        told = [str(mistake) for mistake in file.mistakes]
        none = f"{path}: lists no interface; add a section such as [interfaces.wg0], or name one: wgjit up wg0"
        raise ConfigError("\n".join(told or [none]))
    return list(file.own)

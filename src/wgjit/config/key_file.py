"""Reads the interface's private key from its file."""

from __future__ import annotations

from pathlib import Path

from wgjit.errors import ConfigError
from wgjit.model import PrivateKey
from wgjit.wire.key_text import shown

_SETTING = "interface.private_key_file"


def read_private_key(path: Path) -> PrivateKey:
    """Read a key file. Raises ConfigError, which never repeats the file's content."""
    try:
        text = path.read_text(encoding="ascii", errors="replace")
    except OSError as error:
        raise ConfigError(f"{shown(path)}: {error.strerror}", field=_SETTING) from None
    try:
        return PrivateKey.parse(text)
    except ValueError as error:
        raise ConfigError(f"{shown(path)}: {error}", field=_SETTING) from None

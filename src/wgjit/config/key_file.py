"""Reads the interface's private key from its file, and says why a file cannot be read."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path

from wgjit.errors import ConfigError
from wgjit.model import PrivateKey
from wgjit.wire.key_text import shown

_SETTING = "interface.private_key_file"


def unreadable(path: Path, error: OSError) -> str:
    """What to say of a file or folder that this process cannot read: where it stops, and what lets an account read."""
    if not isinstance(error, PermissionError):
        return f"{shown(path)}: {error.strerror}"
    who, group = account()
    above = reversed(path.absolute().parents)
    closed = next((folder for folder in above if not os.access(folder, os.X_OK)), path)
    mode = 750 if closed.is_dir() else 640
    where = "" if closed == path else f" in {shown(closed)}"
    remedy = f"if {who} is the service's account: chgrp {group} {shown(closed)} && chmod {mode} {shown(closed)}"
    return f"{shown(path)}: {error.strerror} for {who}{where}; {remedy}"


def account() -> tuple[str, str]:
    """The names of this process's account and group; numbers where they have no names."""
    user, group = os.geteuid(), os.getegid()
    try:
        return pwd.getpwuid(user).pw_name, grp.getgrgid(group).gr_name
    except KeyError:
        return str(user), str(group)


def read_private_key(path: Path) -> PrivateKey:
    """Read a key file. Raises ConfigError, which never repeats the file's content."""
    try:
        text = path.read_text(encoding="ascii", errors="replace")
    except OSError as error:
        raise ConfigError(unreadable(path, error), field=_SETTING) from None
    try:
        return PrivateKey.parse(text)
    except ValueError as error:
        raise ConfigError(f"{shown(path)}: {error}", field=_SETTING) from None

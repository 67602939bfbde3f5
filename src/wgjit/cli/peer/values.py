"""A peer's values as options give them, the same in `peer add` and `peer set`."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from wgjit.errors import ConfigError
from wgjit.model import AllowedIP, PresharedKey, parse_allowed_ip
from wgjit.times import parse_expiry, parse_lifetime
from wgjit.wire.key_text import shown

EXPIRES = "How long it may connect from now on: 30d, 12h, or never."
EXPIRY = "2027-01-31, 2027-01-31T12:00:00Z, from now: +30d, +12h, or never."
KEEPALIVE = "Keepalive that the gateway sends; 0 is off."
ALLOWED_IPS = "Its addresses inside the tunnel, comma-separated."
IDLE = "Leave the interface when idle for so long: 30m, 12h (180s at least), never (pinned), or default, the gateway's."
LABEL = "A label, such as team=infra; may be given several times."


def expiry(lifetime: str | None, moment: str | None, now: float) -> int | None:
    """Unix seconds of --expires or --expires-at, None for never. Raises ConfigError if both are given, InvalidValue."""
    if lifetime is not None and moment is not None:
        raise ConfigError("--expires and --expires-at: give one of the two")
    if lifetime is not None:
        return parse_lifetime(lifetime, now)
    return None if moment is None else parse_expiry(moment, now)


def parse_prefixes(options: Iterable[str]) -> tuple[AllowedIP, ...]:
    """The prefixes of all --allowed-ips together. Raises InvalidValue."""
    return tuple(parse_allowed_ip(text) for option in options for text in option.split(","))


def read_preshared_key(file: Path) -> PresharedKey:
    """The key on a file's only line, or, of `-`, on the next one of standard input. Raises ConfigError, InvalidValue
    without the content."""
    try:
        text = sys.stdin.readline() if str(file) == "-" else file.read_text("ascii")
    except UnicodeDecodeError:
        text = ""  # the key's own parser says what is expected, without the content
    except OSError as error:
        raise ConfigError(f"--preshared-key-file {shown(file)}: {error.strerror}") from None
    return PresharedKey.parse(text)

"""The options that describe a peer. They are the same in `peer add` and `peer set`."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from wgjit.cli.shared.options import bundle
from wgjit.errors import ConfigError, InvalidValue
from wgjit.model import NEVER, AllowedIP, Peer, PresharedKey, parse_allowed_ip
from wgjit.stores.label_rules import parse_labels
from wgjit.times import parse_duration, parse_expiry, parse_lifetime, show_duration
from wgjit.wire.key_text import quoted, shown

_IDLE = (
    "Leave the interface when idle for so long: 30m, 12h (180s at least), never (pinned), or default, the gateway's."
)

AllowedIPs = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PREFIXES",
        help="All its addresses inside the tunnel, comma-separated. By default a new peer gets one from each pool.",
    ),
]
PresharedKeyFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="The file with the preshared key; - is standard input.")
]
Keepalive = Annotated[
    int | None,
    typer.Option(metavar="SECONDS", help="The interval of keepalives that the gateway sends; 0 (the default) is off."),
]
Expires = Annotated[
    str | None, typer.Option(metavar="DURATION", help="How long the peer may connect, from now on: 30d, 12h, or never.")
]
ExpiresAt = Annotated[
    str | None,
    typer.Option(
        metavar="TIME", help="When the peer expires: 2027-01-31, 2027-01-31T12:00:00Z, +30d or +12h from now, or never."
    ),
]
IdleTimeout = Annotated[str | None, typer.Option(metavar="DURATION", help=_IDLE)]
Label = Annotated[
    list[str] | None,
    typer.Option(metavar="KEY=VALUE", help="A label, such as team=infra. May be given several times."),
]


@dataclass(frozen=True, slots=True)
class Given:
    """What the options say about a peer."""

    values: dict[str, Any]
    """The given fields of a `Peer` and no others, without the preshared key."""
    preshared_key_file: Path | None
    labels: dict[str, str]

    def all_values(self) -> dict[str, Any]:
        """The values with the preshared key from its file. Raises ConfigError; InvalidValue, whose text has no key."""
        if self.preshared_key_file is None:
            return self.values
        return self.values | {"preshared_key": _read_preshared_key(self.preshared_key_file)}


def _given(
    allowed_ips: AllowedIPs = None,
    preshared_key_file: PresharedKeyFile = None,
    keepalive: Keepalive = None,
    expires: Expires = None,
    expires_at: ExpiresAt = None,
    idle_timeout: IdleTimeout = None,
    label: Label = None,
) -> Given:
    values: dict[str, Any] = {}
    if allowed_ips:
        values["allowed_ips"] = _prefixes(allowed_ips)
    if keepalive is not None:
        values["keepalive"] = keepalive
    if expires is not None or expires_at is not None:
        values["expires_at"] = _expiry(expires, expires_at, time.time())
    if idle_timeout is not None:
        values["idle_timeout"] = _parse_idle_time(idle_timeout)
    return Given(values, preshared_key_file, parse_labels(label or []))


describing = bundle("given", _given)
"""Gives a command the options that describe a peer, and their values as `given`. Mistakes raise ConfigError and
InvalidValue."""


def show_idle_time(peer: Peer) -> str:
    """The idle timeout as --idle-timeout takes it; `never` is followed by a word for people."""
    if peer.idle_timeout is None:
        return "default"
    return "never (pinned)" if peer.is_pinned else show_duration(peer.idle_timeout)


def _parse_idle_time(text: str) -> int | None:
    """A duration, `never`, or `default` (None). Raises InvalidValue."""
    match text:
        case "default":
            return None
        case "never":
            return NEVER
    if not (seconds := parse_duration(text, "idle-timeout")):
        told = f"idle-timeout {quoted(text)}: write never to keep the peer for good, or at least 180s"
        raise InvalidValue(told, field="idle_timeout")
    return seconds


def _expiry(lifetime: str | None, moment: str | None, now: float) -> int | None:
    """The Unix seconds of --expires or --expires-at, None for never. Raises InvalidValue, ConfigError (both given)."""
    if lifetime is not None and moment is not None:
        raise ConfigError("--expires and --expires-at: give one of the two")
    if lifetime is not None:
        return parse_lifetime(lifetime, now)
    return None if moment is None else parse_expiry(moment, now)


def _prefixes(options: Iterable[str]) -> tuple[AllowedIP, ...]:
    """The prefixes of all --allowed-ips together. Raises InvalidValue."""
    return tuple(parse_allowed_ip(text) for option in options for text in option.split(","))


def _read_preshared_key(file: Path) -> PresharedKey:
    """The key that a file holds, or for `-` the next line of standard input. Raises ConfigError; InvalidValue, whose
    text has no key."""
    try:
        text = sys.stdin.readline() if str(file) == "-" else file.read_text("ascii")
    except UnicodeDecodeError:
        text = ""  # the key's parser then says what is expected, and does not repeat the content
    except OSError as error:
        raise ConfigError(f"--preshared-key-file {shown(file)}: {error.strerror}") from None
    return PresharedKey.parse(text)

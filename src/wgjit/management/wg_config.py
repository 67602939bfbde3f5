"""Reads the peers of a WireGuard configuration file, as `wg showconf` and wg-quick write it, line by line.

Rules:
- Keys and sections are read as `wg setconf` does (config.c in wireguard-tools): case and spaces do not matter, `#` ends
  a line, AllowedIPs may come several times, host bits of a prefix are masked. `[Interface]` is skipped. Endpoint is
  dropped, because a registered peer has none.
- A comment directly above `[Peer]`, or in the section before its first key, is the peer's name: `# alice`,
  `### Client alice`, `# Name = alice`. A setting that is commented out is never a name. A comment with a key in it is
  skipped, and its line is reported (`on_key`).
- An error is an InvalidValue that begins with the line's number. It repeats nothing that could be a secret.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from wgjit.errors import InvalidValue
from wgjit.model import AllowedIP, Peer, PresharedKey, PublicKey
from wgjit.stores.checks import NAME_LENGTH, check_allowed_ips, check_name
from wgjit.wire.key_text import holds_key, quoted, without_keys

_SETTING = re.compile(
    r"\[|(PublicKey|PrivateKey|PresharedKey|AllowedIPs|Endpoint|PersistentKeepalive|Address|DNS|ListenPort|MTU|FwMark)\s*=",
    re.IGNORECASE,
)
_PREFIX = re.compile(r"(?:(?:begin|client|name|friendly_name)\b\s*[:=]?\s*)?(.*)", re.IGNORECASE)


def _nobody(_: int) -> None:
    """Ignores the line."""


def read_peers(lines: Iterable[str], *, names: bool = True) -> Iterator[tuple[int, Peer]]:
    """The line number of each `[Peer]`, and its peer. Only one peer is in memory at a time. Raises InvalidValue."""
    for line, peer in read_sections(lines, names=names):
        if isinstance(peer, InvalidValue):
            raise InvalidValue(f"line {line}: {peer}")
        yield line, peer


def read_sections(
    lines: Iterable[str], *, names: bool = True, on_key: Callable[[int], None] = _nobody
) -> Iterator[tuple[int, Peer | InvalidValue]]:
    """As `read_peers`, but an error is given with its line and not raised. The rest of its section is left out.

    `on_key` gets the line of each comment that is not taken for a name because there is a key in it.
    """
    section: _Section | None = None
    inside = False  # in a section that is no [Peer], or has an error
    comment: str | None = None
    for number, line in enumerate(lines, 1):
        setting, _, remark = (part.strip() for part in line.partition("#"))
        is_header = setting.startswith("[")
        if is_header and section is not None:
            yield section.line, section.peer(names)
        try:
            if not setting and names and _is_key(remark):
                on_key(number)
            elif not setting:
                comment = _name(remark)
                if section is not None and section.untouched and section.name is None:
                    section.name, comment = comment, None
            elif is_header:
                name, comment, section, inside = comment, None, None, True
                section = _section(setting, number, name)
            elif section is not None:
                section.set(*_assignment(setting))
                comment = None
            elif not inside:
                raise InvalidValue("a setting outside any section; a file begins with [Interface] or [Peer]")
        except InvalidValue as error:
            yield number, error
            section, inside, comment = None, True, None
    if section is not None:
        yield section.line, section.peer(names)


@dataclass
class _Section:
    """A `[Peer]` section, as far as it was read."""

    line: int
    name: str | None
    untouched: bool = True  # no key yet
    public_key: PublicKey | None = None
    preshared_key: PresharedKey | None = None
    keepalive: int | None = None
    allowed_ips: dict[AllowedIP, None] = field(default_factory=dict)  # ordered; a prefix listed twice counts once

    def set(self, key: str, value: str) -> None:
        self.untouched = False
        match key.lower():
            case "publickey":
                _once(self.public_key, "PublicKey")
                self.public_key = PublicKey.parse(value)
            case "presharedkey":
                _once(self.preshared_key, "PresharedKey")
                self.preshared_key = PresharedKey.parse(value)
            case "persistentkeepalive":
                _once(self.keepalive, "PersistentKeepalive")
                self.keepalive = read_keepalive(value)
            case "allowedips":
                self.allowed_ips |= dict.fromkeys(read_prefixes(value))
                check_allowed_ips(tuple(self.allowed_ips))
            case "endpoint":
                pass
            case _:
                raise InvalidValue(f"unknown key {quoted(key)} in [Peer]; remove it or comment it out")

    def peer(self, names: bool) -> Peer | InvalidValue:
        if self.public_key is None:
            return InvalidValue("this [Peer] has no PublicKey")
        return Peer(
            self.public_key,
            tuple(self.allowed_ips),
            self.preshared_key,
            self.keepalive or 0,
            name=self.name if names else None,
        )


def _section(header: str, line: int, name: str | None) -> _Section | None:
    match header.lower().replace(" ", ""):
        case "[peer]":
            return _Section(line, name)
        case "[interface]":
            return None
    raise InvalidValue("an unknown section; a WireGuard configuration has [Interface] and [Peer]")


def _assignment(setting: str) -> tuple[str, str]:
    key, equals, value = (part.strip() for part in setting.partition("="))
    if not equals:
        raise InvalidValue("not a setting; write Key = value")
    return key, value


def _once(present: object, key: str) -> None:
    if present is not None:
        raise InvalidValue(f"{key} a second time in one [Peer]; is a [Peer] line missing above it?")


def read_keepalive(value: str) -> int:
    """The seconds of a keepalive, 0 for `off`. Raises InvalidValue."""
    if value.lower() == "off":
        return 0
    if not (value.isascii() and value.isdigit() and int(value) <= 65535):
        raise InvalidValue("PersistentKeepalive: write off, or 0 to 65535 seconds")
    return int(value)


def read_prefixes(value: str) -> tuple[AllowedIP, ...]:
    """The prefixes between commas, host bits masked as `wg` does, each once. Raises InvalidValue."""
    return tuple(dict.fromkeys(_prefix(text) for text in value.split(",") if text.strip()))


def _prefix(text: str) -> AllowedIP:
    try:
        return ipaddress.ip_network(text.strip(), strict=False)
    except ValueError as error:
        raise InvalidValue(
            f"AllowedIPs: {without_keys(str(error))}; write prefixes such as 10.8.0.2/32, separated by commas"
        ) from None


def _is_key(remark: str) -> bool:
    """Whether a comment that may be a name has a key in it. A comment that is too long for a name does not count."""
    text = remark.strip("# \t")
    return len(text) <= 2 * NAME_LENGTH and not _SETTING.match(text) and holds_key(text)


def _name(remark: str) -> str | None:
    """The name that a comment gives. None for a blank line, a commented setting, or an invalid name."""
    text = remark.strip("# \t")
    if _SETTING.match(text):
        return None
    match = _PREFIX.fullmatch(text)
    name = match[1] if match else ""
    with contextlib.suppress(InvalidValue):
        check_name(name)
        return name
    return None

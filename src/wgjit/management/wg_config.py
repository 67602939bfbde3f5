"""Reads the peers of a WireGuard configuration file, as `wg showconf` and wg-quick write it, line by line.

Rules:
- Keys and sections are read as `wg setconf` does (config.c in wireguard-tools): case and spaces do not matter, `#` ends
  a line, AllowedIPs may come several times, host bits of a prefix are masked. Endpoint is dropped, because a registered
  peer has none. Of `[Interface]` only its key and addresses are read, which no peer may have, and what tells that the
  file is a client's. AmneziaWG's own keys are passed over.
- Comments give a peer its name: `comment_names` has the rules for one comment. Here is which comments are a peer's: the
  nearest lines of comments above `[Peer]`, also with blank lines between; a comment behind `[Peer]`; those before the
  section's first key; and labelled ones (`# Name: alice`) up to the section's end. A comment with a key in it is
  skipped, and its line is reported, unless the key is the peer's own public key.
- Lines behind `#[disabled]`, as PiVPN writes them, are read as lines of a disabled peer.
- An error is an InvalidValue that begins with the line's number. It repeats nothing that could be a secret.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from wgjit.errors import InvalidValue
from wgjit.management import comment_names
from wgjit.management.comment_names import SETTING, Candidate, Rank
from wgjit.management.own_interface import OwnInterface
from wgjit.model import AllowedIP, Peer, PresharedKey, PublicKey
from wgjit.stores.checks import check_allowed_ips
from wgjit.wire.addresses import parse_prefix
from wgjit.wire.key_text import holds_key, quoted

_DISABLED = re.compile(r"\s*#\s?\[disabled\]\s?", re.IGNORECASE)
_COMMENTED_OUT = re.compile(r"[#\s]*\[(?:peer|interface)\]", re.IGNORECASE)
_AMNEZIA = ("advancedsecurity",)
"""Keys of AmneziaWG in [Peer], in small letters."""


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
    reader = Sections(names=names, on_key=on_key)
    yield from reader.read(lines)
    yield from reader.end()


class _Comment(NamedTuple):
    line: int
    remark: str
    group: int
    """Comments with no blank line between are a group."""
    adjacent: bool
    """Whether no blank line is between the last setting and this comment."""


class Sections:
    """Reads the sections of a file that comes in parts. Give it whole lines, in order.

    `refuses_own`: a peer with the file's own key or address, and the peer of a client's own configuration, is an error.
    """

    def __init__(
        self, *, names: bool = True, refuses_own: bool = False, on_key: Callable[[int], None] = _nobody, first: int = 1
    ) -> None:
        self.next = first
        """The number of the next line."""
        self.interface = OwnInterface()
        self._names = names
        self._refuses_own = refuses_own
        self._on_key = on_key
        self._section: _Section | None = None
        self._inside = False  # in a section that is no [Peer], or has an error
        self._in_interface = False
        self._above: list[_Comment] = []
        self._group = 0
        self._adjacent = False
        self._blank = False
        self._commented_out = False  # the last comments are those of a section that is commented out
        self._begun = ""

    @property
    def is_settled(self) -> bool:
        """Whether no comment waits for the next section."""
        return not self._above

    def read(self, lines: Iterable[str]) -> Iterator[tuple[int, Peer | InvalidValue]]:
        """The sections that end within these lines, each with its line."""
        for line in lines:
            yield from self._line(self.next, line)
            self.next += 1

    def skip(self, lines: int) -> None:
        """Go on behind lines that somebody else has read: whole sections without comments."""
        self.next += lines
        self._inside, self._blank, self._adjacent = True, True, False

    def end(self) -> Iterator[tuple[int, Peer | InvalidValue]]:
        """The section that is still open."""
        if self._section is not None:
            self._give_labelled(self._section, self._above)
            yield from self._close()
        self._above = []

    def _line(self, number: int, line: str) -> Iterator[tuple[int, Peer | InvalidValue]]:
        is_disabled = False
        if found := _DISABLED.match(line):
            line, is_disabled = line[found.end() :], True
        setting, hash_, remark = line.partition("#")
        setting, remark = setting.strip(), remark.strip()
        try:
            if setting.startswith("["):
                self._split_comments()
                yield from self._close()
                self._begin(number, setting, remark if hash_ else None, is_disabled)
            elif setting:
                self._set(setting)
            elif hash_:
                self._comment(number, remark)
            else:
                self._blank, self._commented_out = True, False
        except InvalidValue as error:
            yield number, error
            self._section, self._inside, self._above = None, True, []

    def _begin(self, number: int, header: str, remark: str | None, is_disabled: bool) -> None:
        above, self._above, self._section = self._above, [], None
        self._inside, self._in_interface = True, False
        match header.lower().replace(" ", ""):
            case "[peer]":
                self._section = _Section(number, not is_disabled)
                self._give(self._section, _nearest(above))
                if remark is not None:
                    self._give(self._section, [_Comment(number, remark, 0, False)], Rank.HEADER)
            case "[interface]":
                self._in_interface = True
            case _:
                raise InvalidValue("an unknown section; a WireGuard configuration has [Interface] and [Peer]")
        self._adjacent, self._blank, self._commented_out = True, False, False

    def _set(self, setting: str) -> None:
        comments, self._above = self._above, []
        self._adjacent, self._blank, self._commented_out = True, False, False
        if self._section is not None:
            if self._section.untouched:
                self._give(self._section, comments)
            else:
                self._give_labelled(self._section, comments)
            self._section.set(*_assignment(setting))
        elif self._in_interface:
            self.interface.set(self.next, setting)
        elif not self._inside:
            raise InvalidValue("a setting outside any section; a file begins with [Interface] or [Peer]")

    def _comment(self, number: int, remark: str) -> None:
        if not self._names:
            return
        if comment_names.ends(remark, [self._begun]):
            if self._section is not None:
                self._give_labelled(self._section, self._above)
                self._section.has_ended = True
            self._above, self._blank = [], True
            return
        if _COMMENTED_OUT.match(remark):
            self._above, self._commented_out = [], True
            return
        if SETTING.match(remark.strip("# \t")):
            if self._commented_out:
                self._above = []
            return
        if self._blank:
            self._group += 1
            self._adjacent = self._blank = False
        self._above.append(_Comment(number, remark, self._group, self._adjacent))

    def _split_comments(self) -> None:
        """Give comments directly below a section, with a blank line behind them, to the section if it has no name.

        Such comments without a label may be of either section, so they are nobody's.
        """
        section = self._section
        if section is None or section.has_ended or not self._above or not self._above[0].adjacent:
            return
        group = self._above[0].group
        if (self._blank or self._above[-1].group != group) and comment_names.best(section.candidates) is None:
            self._give_labelled(section, [each for each in self._above if each.group == group])
            self._above = [each for each in self._above if each.group != group]

    def _give(self, section: _Section, comments: Iterable[_Comment], bare: Rank = Rank.BARE) -> None:
        found: list[Candidate] = []
        for comment in comments:
            if comment_names.may_hold_key(comment.remark):
                section.key_comments.append((comment.line, comment.remark))
            more = comment_names.candidates(comment.remark, bare=bare)
            found = [*more, *found] if bare is Rank.BARE else [*found, *more]  # of several, the last one
        section.candidates += found
        self._begun = next((each.text for each in found if each.rank is Rank.USER), self._begun)

    def _give_labelled(self, section: _Section, comments: Iterable[_Comment]) -> None:
        for comment in comments:
            if comment_names.may_hold_key(comment.remark):
                section.key_comments.append((comment.line, comment.remark))
            section.candidates += [each for each in comment_names.candidates(comment.remark) if each.rank.is_labelled]

    def _close(self) -> Iterator[tuple[int, Peer | InvalidValue]]:
        section, self._section = self._section, None
        if section is None:
            return
        for line, remark in section.key_comments:
            if section.public_key is None or holds_key(remark.replace(str(section.public_key), "")):
                self._on_key(line)
        yield section.line, section.peer(self._names, self.interface if self._refuses_own else None)


def _nearest(comments: list[_Comment]) -> list[_Comment]:
    """The last group that says anything."""
    groups = dict.fromkeys(each.group for each in reversed(comments))
    for group in groups:
        some = [each for each in comments if each.group == group]
        if any(comment_names.candidates(each.remark) or comment_names.may_hold_key(each.remark) for each in some):
            return some
    return []


@dataclass
class _Section:
    """A `[Peer]` section, as far as it was read."""

    line: int
    enabled: bool
    untouched: bool = True  # no key yet
    has_ended: bool = False  # by a comment that marks the end
    has_endpoint: bool = False
    candidates: list[Candidate] = field(default_factory=list)
    key_comments: list[tuple[int, str]] = field(default_factory=list)
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
                self.has_endpoint = True
            case other if other in _AMNEZIA:
                pass
            case _:
                raise InvalidValue(f"unknown key {quoted(key)} in [Peer]; remove it or comment it out")

    def peer(self, names: bool, interface: OwnInterface | None) -> Peer | InvalidValue:
        if self.public_key is None:
            return InvalidValue("this [Peer] has no PublicKey")
        peer = Peer(
            self.public_key,
            tuple(self.allowed_ips),
            self.preshared_key,
            self.keepalive or 0,
            self.enabled,
            name=comment_names.best(self.candidates) if names else None,
        )
        try:
            if interface is not None:
                interface.check(peer, has_endpoint=self.has_endpoint)
        except InvalidValue as error:
            return error
        return peer


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
        return parse_prefix(text.strip(), mask_host_bits=True)
    except InvalidValue as error:
        raise InvalidValue(f"AllowedIPs: {error.text}") from None

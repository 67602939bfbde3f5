r"""Finds keys in other people's texts, so that no key becomes a name, a label, or part of an error or a log.

The bytes do not tell whether 32 bytes are a public key or a secret, so every key counts:

| form                                                          | example                                          |
| ------------------------------------------------------------- | ------------------------------------------------ |
| 43 characters of base64, with or without `=` behind            | `psk=hW9v...`, `{"key":"hW9v...="}`, `(hW9v...)` |
| the same as URL-safe base64, unless it is made of words        | `hW9-...`; not `client-550e8400-e29b-...`        |
| a longer run of either alphabet, unless it is made of words    | `psk/hW9v...`, `keyhW9v...`; not a file's path   |
| 64 digits of hex, or more                                      | `0x5F3A...`                                      |
| the same in groups of one size, with one separator between     | `5f:3a:...`, `5f3a 99c0 ...`, `0x5f, 0x3a, ...`  |

Escapes with which JSON, HTML and URLs write `+`, `/` and `=` (`\/`, `\u002B`, `&#x3D;`, `%2F`) are undone first. A
random key that is URL-safe, or joined to other text, is missed once in some 100,000. A key that stands alone is never
missed.

Pure. A text of less than 43 characters, as most names are, costs one comparison. For other texts the cost is linear.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from urllib.parse import unquote

WITHHELD = "(withheld: holds a key)"
"""The text that people see in place of a text with a key."""

_WITHHELD_URL = "(withheld: the URL of a database)"

_LEFT_OUT = "(key left out)"

_LEAST = 43
"""Characters of 32 bytes in base64 without padding. No form is shorter."""

_RUN = re.compile(r"[A-Za-z0-9+/_-]{43,}=?")
_ALONE = re.compile(r"(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{43}(?![A-Za-z0-9+/])=?")
_HEX = re.compile(r"[0-9A-Fa-f]{64,}")
_NEARLY = re.compile(r"[A-Za-z0-9+/_-]{38,}=")
_URL = re.compile(r"postgres(?:ql)?(?::/|:?//)")
_BETWEEN = r"(?P<between>(?:[ \t]{1,2}|[ \t]?[:;.,_|-][ \t]?)(?:0x|\\x)?|0x|\\x)"
_GROUPS = tuple(
    re.compile(
        rf"(?<![0-9A-Fa-f])[0-9A-Fa-f]{{{size}}}{_BETWEEN}"
        rf"(?:[0-9A-Fa-f]{{{size}}}(?P=between)){{{64 // size - 2},}}[0-9A-Fa-f]{{{size}}}(?![0-9A-Fa-f])"
    )
    for size in (2, 4, 8, 16)
)

_WORD = re.compile(r"[A-Z]?[a-z]*(?:[A-Z][a-z]+)*[0-9]*|[A-Z]+[0-9]*|[0-9]+[a-z]*|[0-9a-f]+|[0-9A-F]+")
"""The parts between `+ / - _` in names, paths and ids: words, with a number before or after them, and hex."""
_LONGEST_WORD = 40
_STRANGE = 12
"""With this many characters outside of words, a run counts as a key. Of 400,000 random keys six had fewer."""

_AHEAD = 400
"""Characters after the shown ones that are searched, too. A key that begins among the shown ones ends there, even if it
is escaped."""


def holds_key(text: str) -> bool:
    """Whether a text contains 32 bytes in base64 or hex."""
    if len(text) < _LEAST:
        return False
    return _has_span(text) or ((plain := _unescaped(text)) != text and _has_span(plain))


def without_keys(text: str) -> str:
    """A text for people, without the keys in it. A text without keys is returned unchanged."""
    if not holds_key(text):
        return text
    plain = _unescaped(text)
    if plain != text and _has_span(plain):
        text = plain  # in the escaped text, part of the key would stay
    kept, end = [], 0
    for start, stop in sorted(_spans(text)):
        if start >= end:
            kept += [text[end:start], _LEFT_OUT]
        end = max(end, stop)
    left = "".join([*kept, text[end:]])
    return WITHHELD if holds_key(left) else left


def quoted(text: str, most: int = 200) -> str:
    """Another person's text for an error or a log: its first `most` characters in quotes, or WITHHELD."""
    return WITHHELD if holds_key(text[: most + _AHEAD]) else repr(text[:most])


def shown(given: object) -> str:
    """As `quoted`, without quotes and whole, for names of files and interfaces. People may give a key instead, or the
    URL of a database with a password in it.

    A path has lost each second `/` of two, so a text that nearly looks like a key counts as a key, too.
    """
    text = str(given)
    if _URL.match(text):
        return _WITHHELD_URL
    return WITHHELD if holds_key(text) or _NEARLY.fullmatch(text) else text


def _has_span(text: str) -> bool:
    return next(_spans(text), None) is not None


def _spans(text: str) -> Iterator[tuple[int, int]]:
    """Beginnings and ends of keys, in no order. They may overlap."""
    for pattern in (_ALONE, _HEX, *_GROUPS):
        for match in pattern.finditer(text):
            yield match.span()
    for match in _RUN.finditer(text):
        if _strange(match[0].rstrip("=")) >= _STRANGE:
            yield match.span()


def _strange(run: str) -> int:
    """The number of a run's characters that are in no word and in no part of one repeated character."""
    parts = [part for part in re.split(r"[+/_-]", run) if part.strip(part[:1])]
    return sum(len(part) for part in parts if len(part) > _LONGEST_WORD or not _WORD.fullmatch(part))


def _unescaped(text: str) -> str:
    if "\\" in text:
        text = re.sub(r"\\u00([0-9A-Fa-f]{2})", lambda match: chr(int(match[1], 16)), text).replace("\\/", "/")
    if "%" in text:
        text = unquote(text)
    return html.unescape(text) if "&" in text else text

"""Tells what a file of peers is by its name and its first bytes, or what else it is, for files that cannot be read.

Programs export peers in forms that look like one of ours: a JSON array, CSV with semicolons, UTF-16, the text of
`wg show`. The reader of lines would say something strange about their first line, so they are told before it begins.
"""

from __future__ import annotations

import re
from enum import StrEnum

from wgjit.errors import InvalidValue


class Format(StrEnum):
    """The format of a file of peers."""

    CONF = "conf"
    """`wg showconf`, wg-quick."""
    DUMP = "dump"
    """`wg show all dump`, `wg show IF dump`."""
    JSONL = "jsonl"
    CSV = "csv"


_ENDINGS = {form.value: form for form in Format} | {"ndjson": Format.JSONL}

_BOM = b"\xef\xbb\xbf"

_BINARY = (
    (b"PK\x03\x04", "a ZIP file or a spreadsheet (xlsx, ods); export it as CSV with commas"),
    (b"\x1f\x8b", "compressed by gzip; unpack it: zcat FILE | wgjit peer import -"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd; unpack it: zstdcat FILE | wgjit peer import -"),
    (b"\xfd7zXZ\x00", "compressed by xz; unpack it: xzcat FILE | wgjit peer import -"),
    (
        b"SQLite format 3\x00",
        "a SQLite database; if it is a registry: wgjit registry copy, or peer export --store FILE",
    ),
)

_TEXTS: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (re.compile(rb"\[\s*(?:\{|\]|\"|\[|$)"), "a JSON array; write one object a line, as `jq -c '.[]' FILE` does"),
    (
        re.compile(rb"\{\s*\n"),
        "one JSON object over several lines; write one object of a peer a line, as `jq -c . FILE` does",
    ),
    (
        re.compile(rb'\{\s*"[^"\n]{1,15}"\s*:\s*\{\s*"(?:privateKey|publicKey|listenPort|peers|fwmark)"'),
        "the output of wg-json, with interfaces; take the one of `wg show IF dump`",
    ),
    (
        re.compile(rb"(?:interface|peer): \S+\r?\n\s+(?:public key|private key|listening port|endpoint|preshared key|"
                   rb"allowed ips|latest handshake|transfer|fwmark|persistent keepalive): "),
        "the text that `wg show` writes for people; take that of `wg show IF dump`",
    ),
    (
        re.compile(rb"(?:[#;][^\n]*\n|\s)*\[(?:NetDev|WireGuard|WireGuardPeer|Match)\]", re.IGNORECASE),
        "a unit of systemd-networkd (.netdev), and no WireGuard configuration; bring the interface up, and take the "
        "output of `wg show IF dump` or use `wgjit adopt IF`",
    ),
    (re.compile(rb"<(?:!doctype|html|\?xml)", re.IGNORECASE), "a web page or XML, and no file of peers"),
    (re.compile(rb"sep=.\r?\n", re.IGNORECASE), "CSV of a spreadsheet with a line `sep=`; export it with commas, and "
     "remove that line"),
    (
        re.compile(rb"(?:\S+ +)?(?:\(none\)|[A-Za-z0-9+/]{43}=) +(?:\(none\)|[A-Za-z0-9+/]{43}=) +\S+ +\S"),
        "a dump with blanks in place of tabs, maybe copied from a terminal; write the output of `wg show IF dump` to a "
        "file",
    ),
)  # fmt: skip


def by_ending(name: str) -> Format | None:
    """The format for the ending of a file's name, None if the ending is unknown."""
    return _ENDINGS.get(name.lower().rpartition(".")[2])


def guess(name: str, head: bytes) -> Format:
    """The format of a file by its name's ending, else by its first bytes. Raises InvalidValue if neither is known."""
    if form := by_ending(name):
        return form
    head = head.removeprefix(_BOM).lstrip()
    first = head.split(b"\n", 1)[0].rstrip(b"\r")
    if head.startswith(b"{"):
        return Format.JSONL
    if head.startswith((b"[", b"#")) or not head:
        return Format.CONF
    if first.count(b"\t") >= 3 and b"public_key" not in first.lower():
        return Format.DUMP
    if b"public_key" in first.lower():
        return Format.CSV
    raise InvalidValue("its format is not to be told by its name or its first line; say it with --format")


def refuse_others(head: bytes) -> None:
    """Raise InvalidValue, which says what the file is, if its first bytes show a kind that is not read here."""
    for beginning, what in _BINARY:
        if head.startswith(beginning):
            raise InvalidValue(f"this is {what}")
    if (kind := _wide(head)) is not None:
        raise InvalidValue(f"this is {kind}; save it as UTF-8")
    text = head.removeprefix(_BOM).lstrip()
    for pattern, what in _TEXTS:
        if pattern.match(text):
            raise InvalidValue(f"this is {what}")


def refuse_separator(header: bytes) -> None:
    """Raise InvalidValue if a header of CSV has another separator than the comma."""
    for separator, name in ((b";", "semicolons (;)"), (b"\t", "tabs"), (b"|", "bars (|)")):
        if separator in header and header.count(separator) > header.count(b","):
            raise InvalidValue(f"line 1: its cells are separated by {name}; export it with commas between the cells")


def _wide(head: bytes) -> str | None:
    """UTF-16 or UTF-32, by its mark or by its zeros; None for other bytes."""
    for mark, name in (
        (b"\xff\xfe\x00\x00", "UTF-32"),
        (b"\x00\x00\xfe\xff", "UTF-32"),
        (b"\xff\xfe", "UTF-16"),
        (b"\xfe\xff", "UTF-16"),
    ):
        if head.startswith(mark):
            return f"a text in {name}"
    some = head[:200]
    if len(some) >= 8 and (some[::2].count(0) * 4 > len(some) or some[1::2].count(0) * 4 > len(some)):
        return "a text in UTF-16"
    return None

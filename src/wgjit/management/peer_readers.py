"""Reads peers from text, a chunk at a time: JSON Lines, CSV, `wg show ... dump`, WireGuard configuration.

Most lines of a large file are *plain*: they give a key and one IPv4 address, and nothing else. Each format has one
regular expression for plain lines. A chunk with only plain lines is read by this expression alone, at some 2 µs per
line, or in half of that if the lines differ in key and address alone. All other lines are read by the careful parser,
which makes a `Peer` of a line or says what is wrong with it. So the expression may miss lines that the careful parser
accepts, but must never accept a line that the careful parser refuses. A file is never in memory as a whole.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
from binascii import a2b_base64
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, islice
from socket import AF_INET, inet_pton
from typing import Any, BinaryIO

from wgjit.errors import InvalidValue
from wgjit.management.cells import cells_of, from_cells
from wgjit.management.dumps import Dump, SeveralInterfaces
from wgjit.management.file_kinds import Format, refuse_separator
from wgjit.management.wg_config import Sections
from wgjit.model import Peer, PublicKey
from wgjit.stores import peer_json
from wgjit.stores.entries import Entry
from wgjit.stores.peer_json import Labels, to_fields
from wgjit.stores.plain import pack_plain
from wgjit.wire.key_text import quoted
from wgjit.wire.keys import KEY_LENGTH

_CHUNK = 1 << 20
"""Bytes read at a time. It is also the greatest length of a line."""

_SECTIONS = 5000
"""Peers in a chunk of a configuration that is read line by line."""

_SEAMLESS = 4 * _CHUNK
"""After this many bytes of a configuration without a seam, the reader stops looking for seams."""


@dataclass(slots=True)
class Chunk:
    """Some peers of a file. The lists `plain`, `peers` and `bad` are each in the order of their lines."""

    plain_lines: Sequence[int] = ()
    plain: list[bytes] = field(default_factory=list)
    """See `wgjit.stores.plain.pack_plain`."""
    unlabelled: bool = False
    """True if the lines in `plain` say that their peers have no labels. False if they say nothing about labels."""
    peers: list[tuple[int, Peer]] = field(default_factory=list)
    labels: dict[int, dict[str, str]] = field(default_factory=dict)
    """The labels of the peers in `peers`, by line. A line that says nothing about labels is missing."""
    bad: list[tuple[int, str]] = field(default_factory=list)
    """Bad lines with their errors, which never hold a secret."""
    key_comments: list[int] = field(default_factory=list)
    """Lines of comments that were not taken for a name, because there is a key in them."""
    guessed: bool = False
    """The peers' names are guesses, from comments, or the format holds none. A name refuses no peer then."""
    notes: list[str] = field(default_factory=list)
    """What a person should know of the file, beside what is wrong with its lines."""

    @property
    def count(self) -> int:
        """The number of peers in the chunk."""
        return len(self.plain) + len(self.peers)


_KEY = rb"[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]="
_IPV4 = rb"[0-9.]{7,15}"

_JSON_OBJECT = (
    rb'^\{ *"public_key" *: *"(%s)" *, *(?:"name" *: *null *, *)?"allowed_ips" *: *\[ *"(%s)(?:/32)?" *\]'
    + b"".join(
        rb'(?: *, *"%s" *: *%s)?' % (name.encode(), json.dumps(value).encode())
        for name, value in to_fields(Entry(Peer(PublicKey(bytes(KEY_LENGTH))))).items()
        if name not in ("public_key", "name", "allowed_ips", "labels")
    )
    + rb'%s(?: *, *"preshared_key" *: *null)? *\}\r?$'
)
"""A plain peer as `peer_json.to_fields` writes it. All fields but key and address may be missing."""
_JSON = re.compile(_JSON_OBJECT % (_KEY, _IPV4, b""), re.MULTILINE)
_JSON_UNLABELLED = re.compile(_JSON_OBJECT % (_KEY, _IPV4, rb' *, *"labels" *: *\{ *\}'), re.MULTILINE)

_DUMP = rb"^%s(%s)\t\(none\)\t[^\t\r\n]*\t(%s)/32\t[0-9]+\t[0-9]+\t[0-9]+\toff$"
"""A plain peer of a dump, behind the name of the interface."""

_CONF = re.compile(
    rb"(\[Peer\]\r?\nPublicKey = (%s)\r?\nAllowedIPs = (%s)/32\r?\n(?:Endpoint = [^\r\n#]*\r?\n)?(?:\r?\n)?)"
    % (_KEY, _IPV4)
)

_CELLS = {
    "public_key": rb"(%s)" % _KEY,
    "allowed_ips": rb"(%s)(?:/32)?" % _IPV4,
    "has_preshared_key": rb"(?:false)?",
    "keepalive": rb"0?",
    "enabled": rb"(?:true)?",
}
"""The cells of a plain peer by CSV column. All other columns are empty."""


def read(file: BinaryIO, form: Format, *, names: bool = True, interface: str | None = None) -> Iterator[Chunk]:
    """The peers of a file. Without `names`, a peer of a configuration gets no name. Raises OSError.

    `interface`: whose peers of a dump are wanted; None if the dump has only one interface. Raises InvalidValue, which
    begins with the line, if the rest cannot be read (a bad header, an endless line).
    """
    match form:
        case Format.CONF:
            return _sections(file, names)
        case Format.DUMP:
            return _dump(file, Dump(interface))
        case Format.JSONL:
            return _lines(_blocks(file), _plain_json, _json_line)
        case Format.CSV:
            return _csv(file)


def read_lines(block: tuple[int, bytes]) -> Iterator[Chunk]:
    """The peers of a block of JSON Lines, as `Blocks` gives it."""
    return _lines([block], _plain_json, _json_line)


def _json_line(text: str) -> tuple[Peer, Labels] | None:
    return peer_json.from_json(text) if text else None


class Blocks:
    """Makes blocks of whole lines from parts of any size. A block is its first line's number and its lines."""

    def __init__(self) -> None:
        self._number = 1
        self._rest: list[bytes] = []
        self._size = 0

    def push(self, data: bytes) -> tuple[int, bytes] | None:
        """Take more bytes. Returns a block if there are enough bytes. Raises InvalidValue for an endless line."""
        self._rest.append(data)
        self._size += len(data)
        if self._size < _CHUNK:
            return None
        whole = b"".join(self._rest)
        end = whole.rfind(b"\n") + 1
        self._rest, self._size = [whole[end:]], len(whole) - end
        if self._size > _CHUNK:
            raise InvalidValue(f"line {self._number}: longer than {_CHUNK >> 10} KiB; is this a file of peers?")
        return self._block(whole[:end]) if end else None

    def end(self) -> tuple[int, bytes] | None:
        """The block of all remaining lines, None if there are none."""
        rest, self._rest, self._size = b"".join(self._rest), [], 0
        if not rest:
            return None
        return self._block(rest if rest.endswith(b"\n") else rest + b"\n")

    def _block(self, lines: bytes) -> tuple[int, bytes]:
        number, self._number = self._number, self._number + lines.count(b"\n")
        return number, lines.removeprefix(b"\xef\xbb\xbf") if number == 1 else lines


def _blocks(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """A file's blocks."""
    blocks = Blocks()
    while data := file.read(_CHUNK):
        if block := blocks.push(data):
            yield block
    if block := blocks.end():
        yield block


@dataclass(frozen=True, slots=True)
class _Plain:
    """The form of a block's plain lines."""

    pattern: re.Pattern[bytes]
    unlabelled: bool = False
    """True if the lines say that there are no labels."""
    groups: tuple[int, int] = (1, 2)
    """The pattern's groups of the key and of the address."""


def _plain_json(block: bytes) -> _Plain:
    """The form of the first line, because a program writes all lines alike. Other lines go to the careful parser."""
    unlabelled = block.find(b'"labels"', 0, block.find(b"\n")) >= 0
    return _Plain(_JSON_UNLABELLED if unlabelled else _JSON, unlabelled)


def _lines(
    blocks: Iterable[tuple[int, bytes]],
    plain_of: Callable[[bytes], _Plain],
    careful: Callable[[str], tuple[Peer, Labels] | None],
) -> Iterator[Chunk]:
    """Chunks of a format that has one peer per line."""
    for number, block in blocks:
        plain = plain_of(block)
        if (alike := _alike(block, plain)) is not None:
            yield Chunk(range(number, number + len(alike)), alike, plain.unlabelled)
            continue
        found = plain.pattern.findall(block)
        if len(found) == block.count(b"\n"):
            try:
                records = pack_plain([(key, address) for address, key in found] if plain.groups == (2, 1) else found)
                yield Chunk(range(number, number + len(records)), records, plain.unlabelled)
                continue
            except (ValueError, OSError):
                pass  # an address such as 10.0.0.256; the careful parser finds its line
        yield _carefully(number, block, plain, careful)


def _alike(block: bytes, plain: _Plain) -> list[bytes] | None:
    """The records of a block whose lines differ in key and address alone, as those of an export do. None for any other.

    Takes half the time of the pattern, which only reads the first line.
    """
    first = plain.pattern.match(block)
    if first is None or plain.groups != (1, 2):
        return None
    (key, key_end), (address, address_end) = first.span(1), first.span(2)
    head, between = block[:key], block[key_end:address]
    lines = block.split(block[address_end : block.index(b"\n") + 1])
    if (
        lines.pop()
        or {line[key_end:address] for line in lines} != {between}
        or {line[:key] for line in lines} != {head}
    ):
        return None
    try:
        return [
            a2b_base64(line[key:key_end], strict_mode=True)
            + b"\x04"
            + inet_pton(AF_INET, line[address:].decode("ascii"))
            + b"\x20"
            for line in lines
        ]
    except (ValueError, OSError):
        return None


def _carefully(number: int, block: bytes, plain: _Plain, careful: Callable[[str], tuple[Peer, Labels] | None]) -> Chunk:
    chunk, lines = Chunk(unlabelled=plain.unlabelled), list[int]()
    for line, text in enumerate(block.split(b"\n")[:-1], number):
        match = plain.pattern.match(text)
        try:
            if match is not None:
                chunk.plain += pack_plain([(match[plain.groups[0]], match[plain.groups[1]])])
                lines.append(line)
                continue
        except (ValueError, OSError):
            pass  # the careful parser says what is wrong
        try:
            read = careful(text.decode("utf-8").strip())
        except UnicodeDecodeError:
            chunk.bad.append((line, "not a text in UTF-8, perhaps in Latin-1; save the file as UTF-8"))
        except SeveralInterfaces as error:
            raise InvalidValue(f"line {line}: {error}") from None
        except InvalidValue as error:
            chunk.bad.append((line, str(error)))
        else:
            if read is not None:
                peer, labels = read
                chunk.peers.append((line, peer))
                if labels is not None:
                    chunk.labels[line] = labels
    chunk.plain_lines = lines
    return chunk


def _csv(file: BinaryIO) -> Iterator[Chunk]:
    blocks = _blocks(file)
    number, block = next(blocks, (1, b"\n"))
    header, _, rest = block.partition(b"\n")
    columns = _columns(header)

    def careful(text: str) -> tuple[Peer, Labels] | None:
        cells = cells_of(text)
        return from_cells(columns, cells) if any(map(str.strip, cells)) else None

    pattern = re.compile(b"^" + b",".join(_CELLS.get(name, b"") for name in columns) + b"\r?$", re.MULTILINE)
    groups = (
        (1, 2) if "allowed_ips" not in columns or columns.index("public_key") < columns.index("allowed_ips") else (2, 1)
    )
    if pattern.groups != 2:  # no column of addresses
        pattern = re.compile(rb"(?!)()()")
    plain = _Plain(pattern, "labels" in columns, groups)
    yield from _lines(_chain((number + 1, rest), blocks), lambda _: plain, careful)


def _chain(first: tuple[int, bytes], others: Iterator[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    if first[1]:
        yield first
    yield from others


def _columns(header: bytes) -> list[str]:
    refuse_separator(header)
    try:
        columns = [name.strip().lower() for name in cells_of(header.decode("utf-8").strip())]
    except (UnicodeDecodeError, InvalidValue):
        columns = []
    unknown = [name for name in columns if name not in peer_json.FIELDS]
    if "public_key" not in columns or unknown or len(set(columns)) != len(columns):
        what = f"unknown column {quoted(unknown[0], 40)}" if unknown else "no column public_key, or a column twice"
        raise InvalidValue(f"line 1: {what}; the header names columns among {', '.join(peer_json.FIELDS)}")
    return columns


def _dump(file: BinaryIO, dump: Dump) -> Iterator[Chunk]:
    def plain_of(block: bytes) -> _Plain:
        prefix = dump.plain_prefix(block)
        pattern = re.compile(_DUMP % (re.escape(prefix), _KEY, _IPV4), re.MULTILINE)
        if pattern.search(block):
            dump.saw(prefix)
        return _Plain(pattern)

    for chunk in _lines(_blocks(file), plain_of, dump.line):
        chunk.guessed = True  # a dump can hold no names, so a registered peer may have one
        yield chunk
    if dump.left_out:
        others = ", ".join(f"{count} of {quoted(name, 15)}" for name, count in sorted(dump.left_out.items()))
        yield Chunk(notes=[f"peers of other interfaces in this dump were passed over: {others}"])


def _sections(file: BinaryIO, names: bool) -> Iterator[Chunk]:
    """Chunks of a configuration, cut at seams. A seam is a blank line directly above `[Peer]`."""
    reading, rest, is_first = _Reading(names), b"", True
    while data := file.read(_CHUNK):
        if is_first:
            data, is_first = data.removeprefix(b"\xef\xbb\xbf"), False
        rest += data
        seam = rest.rfind(b"\n\n[Peer]") + 2
        if seam < 2 and len(rest) > _SEAMLESS:
            break  # every [Peer] has a comment above it, or no line is blank; read the rest line by line
        if seam >= 2:
            block, rest = rest[:seam], rest[seam:]
            yield from reading.block(block)
    else:
        yield from reading.block(rest)
        yield from reading.end()
        return
    text = io.TextIOWrapper(io.BufferedReader(_Joined(rest, file), _CHUNK), encoding="utf-8", newline="\n")
    yield from reading.carefully(text)
    yield from reading.end()


class _Reading:
    """A configuration that is read in blocks, which begin at its beginning or at a seam."""

    def __init__(self, names: bool) -> None:
        self._keys: list[int] = []
        self._reader = Sections(names=names, refuses_own=True, on_key=self._keys.append)

    def block(self, block: bytes) -> Iterator[Chunk]:
        """The chunks of a block."""
        if block and self._reader.is_settled and not _CONF.sub(b"", block):  # plain peers and nothing else
            found = _CONF.findall(block)
            sizes = [whole.count(b"\n") for whole, _, _ in found]
            number = self._reader.next
            lines: Sequence[int]
            if len(set(sizes)) == 1:
                lines = range(number, number + sizes[0] * len(sizes), sizes[0])
            else:
                lines = [number + before for before in accumulate(sizes[:-1], initial=0)]
            with contextlib.suppress(ValueError, OSError):  # the careful parser says what is wrong
                records = pack_plain([(key, address) for _, key, address in found])
                own = self._reader.interface.own
                if not own or not own.among(records):
                    yield from self._chunks(self._reader.end())
                    self._reader.skip(block.count(b"\n"))
                    yield Chunk(lines, records, guessed=True)
                    return
        yield from self.carefully(io.TextIOWrapper(io.BytesIO(block), encoding="utf-8", newline="\n"))

    def carefully(self, text: Iterable[str]) -> Iterator[Chunk]:
        """The chunks of a text, read line by line."""
        try:
            yield from self._chunks(self._reader.read(text))
        except UnicodeDecodeError:
            raise InvalidValue("not a text in UTF-8, perhaps in Latin-1; save the file as UTF-8") from None

    def end(self) -> Iterator[Chunk]:
        """The last chunk."""
        yield from self._chunks(self._reader.end())
        if notes := self._reader.interface.notes():
            yield Chunk(notes=notes)

    def _chunks(self, sections: Iterator[tuple[int, Peer | InvalidValue]]) -> Iterator[Chunk]:
        while (some := list(islice(sections, _SECTIONS))) or self._keys:
            found, self._keys[:] = list(self._keys), []
            yield Chunk(
                key_comments=found,
                peers=[(line, peer) for line, peer in some if isinstance(peer, Peer)],
                bad=[(line, str(error)) for line, error in some if isinstance(error, InvalidValue)],
                guessed=True,
            )


class _Joined(io.RawIOBase):
    """The bytes that were read already, and then the rest of the file."""

    def __init__(self, head: bytes, file: BinaryIO) -> None:
        self._head, self._file = memoryview(head), file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        part = self._head[: len(buffer)] or self._file.read(len(buffer))
        self._head = self._head[len(part) :]
        buffer[: len(part)] = part
        return len(part)

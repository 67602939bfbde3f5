"""Netlink as bytes: messages, acknowledgements, and attributes by table. No socket, no clock.

Rules: netlink uses the machine's own byte order. Messages and attributes are padded to 4 bytes. Attributes that a table
does not name are skipped, as the protocol requires. One `Table` serves both directions. For any input, decoding raises
only MalformedAnswer, and its text never holds message bytes, since these may be keys.

Source: include/uapi/linux/netlink.h; Documentation/userspace-api/netlink/intro.rst.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from wgjit.errors import MalformedAnswer

NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR = 0x001, 0x004, 0x300, 0x010
NLM_F_CAPPED, NLM_F_ACK_TLVS = 0x100, 0x200
NLMSG_ERROR, NLMSG_DONE = 2, 3

NLA_F_NESTED, NLA_TYPE_MASK = 0x8000, 0x3FFF
NLMSGERR_ATTR_MSG = 1

_MESSAGE = struct.Struct("=IHHII")  # length, type, flags, sequence, port id
_ATTRIBUTE = struct.Struct("=HH")  # length without padding, type
_ERRNO = struct.Struct("=i")
_PLAIN_ACK = struct.Struct("=IHHI4xi16x")  # header, errno, the request's header again
_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")

ATTRIBUTE_HEADER = _ATTRIBUTE.size
"""Bytes before each attribute's content."""
MESSAGE_HEADER = _MESSAGE.size
"""Bytes before each message's body."""


# --- messages -------------------------------------------------------------------------------------------------


class Message(NamedTuple):
    """One netlink message: the fields of its header, and the bytes after the header."""

    kind: int
    flags: int
    sequence: int
    body: bytes


def encode_message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    """One request, ready to be sent."""
    return _MESSAGE.pack(_MESSAGE.size + len(body), kind, flags | NLM_F_REQUEST, sequence, 0) + body


def split_messages(data: bytes) -> Iterator[Message]:
    """The messages of one datagram. Raises MalformedAnswer if a length does not fit."""
    start, end = 0, len(data)
    while start < end:
        if end - start < _MESSAGE.size:
            raise MalformedAnswer("netlink: a datagram ends inside a message header")
        length, kind, flags, sequence, _ = _MESSAGE.unpack_from(data, start)
        if not _MESSAGE.size <= length <= end - start:
            raise MalformedAnswer("netlink: a message's length does not fit its datagram")
        yield Message(kind, flags, sequence, data[start + _MESSAGE.size : start + length])
        start += length + 3 & ~3


def accepts(data: bytes, sequence: int) -> bool:
    """Whether a datagram is the plain yes to the request with this number: one acknowledgement, no error, no text.

    This is by far the most frequent answer, and is recognised without decoding. `split_messages` decodes all others.
    """
    if len(data) != _PLAIN_ACK.size:
        return False
    length, kind, flags, answered, number = _PLAIN_ACK.unpack(data)
    fits = length == _PLAIN_ACK.size and kind == NLMSG_ERROR and answered == sequence
    return fits and number == 0 and not flags & NLM_F_ACK_TLVS


def decode_verdict(message: Message) -> tuple[int, str]:
    """The result in an NLMSG_ERROR or NLMSG_DONE: a positive errno, or 0 for success, and the kernel's own text if any.

    Raises MalformedAnswer.
    """
    body = message.body
    if len(body) < _ERRNO.size:
        raise MalformedAnswer("netlink: an acknowledgement without its errno")
    number = -_ERRNO.unpack_from(body)[0]
    if not message.flags & NLM_F_ACK_TLVS:
        return number, ""
    start = _ERRNO.size
    if message.kind == NLMSG_ERROR:  # the request's header comes back, and the whole request unless capped
        if len(body) < start + _MESSAGE.size:
            raise MalformedAnswer("netlink: an acknowledgement without its request's header")
        echoed = _MESSAGE.size if message.flags & NLM_F_CAPPED else _MESSAGE.unpack_from(body, start)[0]
        start += echoed + 3 & ~3
    texts = (content for kind, content in split_attributes(body[start:]) if kind == NLMSGERR_ATTR_MSG)
    return number, next(texts, b"").rstrip(b"\0").decode(errors="replace")


# --- attributes -----------------------------------------------------------------------------------------------


def encode_attribute(kind: int, content: bytes) -> bytes:
    """Header, content, padding. The content has at most 65,531 bytes."""
    length = len(content)
    return _ATTRIBUTE.pack(ATTRIBUTE_HEADER + length, kind) + content + _PADDING[length & 3]


def split_attributes(data: bytes) -> list[tuple[int, bytes]]:
    """Type (without its flags) and content of each attribute. Raises MalformedAnswer."""
    found = []
    start, end = 0, len(data)
    unpack = _ATTRIBUTE.unpack_from
    while start + ATTRIBUTE_HEADER <= end:
        length, kind = unpack(data, start)
        stop = start + length
        if length < ATTRIBUTE_HEADER or stop > end:
            raise MalformedAnswer("netlink: an attribute's length does not fit its message")
        found.append((kind & NLA_TYPE_MASK, data[start + ATTRIBUTE_HEADER : stop]))
        start = stop + 3 & ~3
    if start < end:
        raise MalformedAnswer("netlink: a message ends inside an attribute header")
    return found


@dataclass(frozen=True, slots=True)
class Codec:
    """How one kind of value is written and read. The table handles a ValueError or struct.error of `unpack`."""

    pack: Callable[[Any], bytes]
    unpack: Callable[[bytes], Any]
    flag: int = 0
    """Added by OR to the attribute's type: NLA_F_NESTED for nested content."""


def integer(format_: str) -> Codec:
    """An integer in the byte order and width of a `struct` format."""
    shape = struct.Struct(format_)
    return Codec(shape.pack, lambda content: shape.unpack(content)[0])


def exactly(length: int) -> Codec:
    """Raw bytes of exactly this length."""

    def check(content: bytes) -> bytes:
        if len(content) != length:
            raise ValueError
        return content

    return Codec(check, check)


def array(of: Codec) -> Codec:
    """Any number of values of one kind, each a nested attribute of type 0."""
    return Codec(
        lambda values: b"".join([encode_attribute(NLA_F_NESTED, of.pack(value)) for value in values]),
        lambda content: [of.unpack(item) for _, item in split_attributes(content)],
        NLA_F_NESTED,
    )


U8, U16, U32, U64 = integer("=B"), integer("=H"), integer("=I"), integer("=Q")
RAW = Codec(bytes, bytes)
TEXT = Codec(
    lambda text: text.encode() + b"\0",
    lambda content: content.partition(b"\0")[0].decode(),
)


class Table:
    """The attributes of one kind of message or nest: the number, name and codec of each."""

    def __init__(self, what: str, rows: Mapping[int, tuple[str, Codec]]) -> None:
        self._what = what
        self._by_number = {number: (name, codec.unpack) for number, (name, codec) in rows.items()}
        self._by_name = {name: (number | codec.flag, codec.pack) for number, (name, codec) in rows.items()}

    def encode(self, values: Mapping[str, Any]) -> bytes:
        """The named attributes, in the given order. The caller has checked the values."""
        parts: list[bytes] = []
        for name, value in values.items():
            kind, pack = self._by_name[name]
            content = pack(value)
            length = len(content)
            parts += (_ATTRIBUTE.pack(ATTRIBUTE_HEADER + length, kind), content, _PADDING[length & 3])
        return b"".join(parts)

    def decode(self, data: bytes) -> dict[str, Any]:
        """The attributes in these bytes, by name. Raises MalformedAnswer, which names the attribute."""
        found: dict[str, Any] = {}
        name = ""
        try:
            for kind, content in split_attributes(data):
                row = self._by_number.get(kind)
                if row is not None:
                    name, unpack = row
                    found[name] = unpack(content)
        except (struct.error, ValueError):
            raise MalformedAnswer(f"netlink: {self._what}: malformed attribute {name}") from None
        return found

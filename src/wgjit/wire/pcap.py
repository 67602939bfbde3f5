"""Reads IP packets from a pcap or pcapng file (draft-ietf-opsawg-pcap and -pcapng; tcpdump.org's LINKTYPE_ values).

This is written here because no maintained library under a permissive licence reads both: scapy is GPL, dpkt and
python-pcapng are dormant. Rules:

- The file is a stream, read once and forwards, so that a pipe from a running capture works.
- Frames without IPv4 or IPv6 are skipped, and those that may have it and are not read are counted (`links`, `unread`).
  A packet has the length that was captured, including padding.
- A file that is foreign, damaged or cut off raises InvalidValue, after all packets before the fault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from struct import unpack, unpack_from
from typing import BinaryIO, Final, NamedTuple

from wgjit.errors import InvalidValue
from wgjit.wire.links import Link, link
from wgjit.wire.unread import CUT, Tally

Packet = tuple[float | None, bytes]
"""Unix time in seconds (None if the file has none), and the packet from its IP header on."""

_PCAP_MAGIC: Final = {
    b"\xd4\xc3\xb2\xa1": ("<", 1e-6),
    b"\xa1\xb2\xc3\xd4": (">", 1e-6),
    b"\x4d\x3c\xb2\xa1": ("<", 1e-9),
    b"\xa1\xb2\x3c\x4d": (">", 1e-9),
}
_PCAPNG_MAGIC: Final = b"\x0a\x0d\x0d\x0a"
_BYTE_ORDER_MAGIC: Final = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}

_LARGEST: Final = 16 << 20
"""Greatest size of a record or block, bytes; a larger one is damaged. libpcap's own limit for pcapng blocks."""


def read_packets(stream: BinaryIO, tally: Tally | None = None) -> Iterator[Packet]:
    """All IP packets of a capture file, in its order. The stream is buffered: a short read is its end.

    `tally` counts all packets, and those whose link is not read. Raises InvalidValue during the iteration (see above).
    """
    tally = tally or Tally()
    magic = stream.read(4)
    if magic in _PCAP_MAGIC:
        frames = _read_pcap(stream, *_PCAP_MAGIC[magic])
    elif magic == _PCAPNG_MAGIC:
        frames = _read_pcapng(stream)
    else:
        raise InvalidValue("capture file: neither pcap nor pcapng; write one with `tcpdump -w FILE`")
    for time, strip, frame, length in frames:
        tally.packets += 1
        packet = strip(frame)
        if isinstance(packet, bytes):
            yield time, packet
        elif packet is not None and (packet is not CUT or len(frame) < length):
            tally.unread[packet] += 1


# --- pcap -------------------------------------------------------------------------------------------------------


_Frame = tuple[float | None, Link, bytes, int]
"""Time, how the frame's link is read, the frame as captured, and its length on the wire."""


def _read_pcap(stream: BinaryIO, order: str, unit: float) -> Iterator[_Frame]:
    network = unpack(order + "HHiIII", _exactly(stream, 20, "the file header"))[-1]
    strip = link(network & 0xFFFF)  # the bits above: whether frames have a checksum, and its length
    while head := stream.read(16):
        if len(head) < 16:
            raise _cut("a record's header")
        seconds, fraction, length, original = unpack(order + "IIII", head)
        yield seconds + fraction * unit, strip, _exactly(stream, _checked(length), "a packet"), original


# --- pcapng -----------------------------------------------------------------------------------------------------

_INTERFACE: Final = 1
_OLD_PACKET: Final = 2
_SIMPLE_PACKET: Final = 3
_ENHANCED_PACKET: Final = 6

_OPTION_END: Final = 0
_OPTION_TSRESOL: Final = 9
_OPTION_TSOFFSET: Final = 14


class _Interface(NamedTuple):
    strip: Link
    snap_length: int
    """Greatest number of bytes that were kept of a packet; 0 is no limit."""
    unit: float
    """Seconds in a timestamp's tick."""
    offset: int
    """Seconds to add to each timestamp."""


def _read_pcapng(stream: BinaryIO) -> Iterator[_Frame]:
    order = _section(stream)
    interfaces: list[_Interface] = []
    while head := stream.read(8):
        if len(head) < 8:
            raise _cut("a block's header")
        if head[:4] == _PCAPNG_MAGIC:
            order = _section(stream, head[4:])
            interfaces = []
            continue
        kind, total = unpack(order + "II", head)
        body = _body(stream, order, total)
        try:
            if kind == _INTERFACE:
                interfaces.append(_interface(body, order))
            if kind not in _PACKET_BLOCKS:
                continue
            frame = _PACKET_BLOCKS[kind](body, order, interfaces)
        except ValueError as error:
            raise InvalidValue(f"capture file: a damaged block of type {kind}: {error}") from None
        yield frame


def _section(stream: BinaryIO, length: bytes | None = None) -> str:
    """Read a section header block after its type (and length). Returns the section's byte order."""
    length = length or _exactly(stream, 4, "the section header")
    magic = _exactly(stream, 4, "the section header")
    if magic not in _BYTE_ORDER_MAGIC:
        raise InvalidValue("capture file: a section with an unknown byte order; the file is damaged")
    order = _BYTE_ORDER_MAGIC[magic]
    _body(stream, order, unpack(order + "I", length)[0], read=12)
    return order


def _body(stream: BinaryIO, order: str, total: int, read: int = 8) -> bytes:
    """The rest of a block of which `read` bytes have been read, without the length at its end."""
    if total % 4 or total < read + 4:
        raise InvalidValue(f"capture file: a block of {total} bytes; the file is damaged")
    rest = _exactly(stream, _checked(total) - read, "a block")
    if unpack(order + "I", rest[-4:])[0] != total:
        raise InvalidValue("capture file: a block whose two lengths differ; the file is damaged")
    return rest[:-4]


def _interface(body: bytes, order: str) -> _Interface:
    if len(body) < 8:
        raise ValueError("too short")
    link_type, _, snap_length = unpack_from(order + "HHI", body)
    unit, offset = 1e-6, 0
    for code, value in _options(body[8:], order):
        if code == _OPTION_TSRESOL and len(value) == 1:
            unit = 2.0 ** -(value[0] & 0x7F) if value[0] & 0x80 else 10.0 ** -value[0]
        elif code == _OPTION_TSOFFSET and len(value) == 8:
            (offset,) = unpack(order + "q", value)
    return _Interface(link(link_type), snap_length, unit, offset)


def _options(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    while len(data) >= 4:
        code, length = unpack_from(order + "HH", data)
        if code == _OPTION_END:
            return
        yield code, data[4 : 4 + length]
        data = data[4 + (length + 3) // 4 * 4 :]


def _enhanced(body: bytes, order: str, interfaces: list[_Interface]) -> _Frame:
    if len(body) < 20:
        raise ValueError("too short")
    number, *head = unpack_from(order + "IIIII", body)
    return _stamped(body[20:], _numbered(interfaces, number), *head)


def _old(body: bytes, order: str, interfaces: list[_Interface]) -> _Frame:
    """The block that enhanced ones have taken the place of: it also counts drops."""
    if len(body) < 20:
        raise ValueError("too short")
    number, _drops, *head = unpack_from(order + "HHIIII", body)
    return _stamped(body[20:], _numbered(interfaces, number), *head)


def _stamped(rest: bytes, interface: _Interface, high: int, low: int, length: int, original: int) -> _Frame:
    if length > len(rest):
        raise ValueError("its packet is longer than the block")
    return interface.offset + (high << 32 | low) * interface.unit, interface.strip, rest[:length], original


def _simple(body: bytes, order: str, interfaces: list[_Interface]) -> _Frame:
    if len(body) < 4:
        raise ValueError("too short")
    interface = _numbered(interfaces, 0)
    (length,) = unpack_from(order + "I", body)
    return None, interface.strip, body[4 : 4 + min(length, interface.snap_length or length)], length


def _numbered(interfaces: list[_Interface], number: int) -> _Interface:
    if number >= len(interfaces):
        raise ValueError(f"interface {number} is not described")
    return interfaces[number]


_PACKET_BLOCKS: Final[dict[int, Callable[[bytes, str, list[_Interface]], _Frame]]] = {
    _OLD_PACKET: _old,
    _SIMPLE_PACKET: _simple,
    _ENHANCED_PACKET: _enhanced,
}

# --- reading ------------------------------------------------------------------------------------------------------


def _exactly(stream: BinaryIO, size: int, what: str) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise _cut(what)
    return data


def _checked(length: int) -> int:
    if length > _LARGEST:
        raise InvalidValue(f"capture file: a record of {length} bytes; the file is damaged")
    return length


def _cut(what: str) -> InvalidValue:
    return InvalidValue(f"capture file: it ends within {what}; what was whole has been read")

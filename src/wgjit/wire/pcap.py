"""Reads IP packets from a pcap or pcapng file (draft-ietf-opsawg-pcap and -pcapng; tcpdump.org's LINKTYPE_ values).

This is written here because no maintained library under a permissive licence reads both: scapy is GPL, dpkt and
python-pcapng are dormant. Rules:

- The file is a stream, read once and forwards, so that a pipe from a running capture works.
- Frames without IPv4 or IPv6 are skipped. A packet has the length that was captured, including padding.
- A file that is foreign, damaged or cut off raises InvalidValue, after all packets before the fault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from struct import unpack, unpack_from
from typing import BinaryIO, Final, NamedTuple

from wgjit.errors import InvalidValue

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


def read_packets(stream: BinaryIO) -> Iterator[Packet]:
    """All IP packets of a capture file, in its order. The stream is buffered: a short read is its end.

    Raises InvalidValue during the iteration (see above).
    """
    magic = stream.read(4)
    if magic in _PCAP_MAGIC:
        yield from _read_pcap(stream, *_PCAP_MAGIC[magic])
    elif magic == _PCAPNG_MAGIC:
        yield from _read_pcapng(stream)
    else:
        raise InvalidValue("capture file: neither pcap nor pcapng; write one with `tcpdump -w FILE`")


# --- pcap -------------------------------------------------------------------------------------------------------


def _read_pcap(stream: BinaryIO, order: str, unit: float) -> Iterator[Packet]:
    network = unpack(order + "HHiIII", _exactly(stream, 20, "the file header"))[-1]
    link_type = network & 0xFFFF  # the bits above: whether frames have a checksum, and its length
    if link_type not in _LINKS:
        raise InvalidValue(f"capture file: link type {link_type} is not one that carries IP here")
    while head := stream.read(16):
        if len(head) < 16:
            raise _cut("a record's header")
        seconds, fraction, length, _ = unpack(order + "IIII", head)
        packet = _LINKS[link_type](_exactly(stream, _checked(length), "a packet"))
        if packet is not None:
            yield seconds + fraction * unit, packet


# --- pcapng -----------------------------------------------------------------------------------------------------

_INTERFACE: Final = 1
_SIMPLE_PACKET: Final = 3
_ENHANCED_PACKET: Final = 6

_OPTION_END: Final = 0
_OPTION_TSRESOL: Final = 9
_OPTION_TSOFFSET: Final = 14


class _Interface(NamedTuple):
    link_type: int
    snap_length: int
    """Greatest number of bytes that were kept of a packet; 0 is no limit."""
    unit: float
    """Seconds in a timestamp's tick."""
    offset: int
    """Seconds to add to each timestamp."""


_Captured = tuple[float | None, _Interface, bytes]
"""Time, interface, and frame."""


def _read_pcapng(stream: BinaryIO) -> Iterator[Packet]:
    order = _section(stream)
    interfaces: list[_Interface] = []
    foreign: set[int] = set()
    readable = False
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
                interface = _interface(body, order)
                interfaces.append(interface)
                if interface.link_type in _LINKS:
                    readable = True
                else:
                    foreign.add(interface.link_type)
            if kind not in _PACKET_BLOCKS:
                continue
            time, interface, frame = _PACKET_BLOCKS[kind](body, order, interfaces)
        except ValueError as error:
            raise InvalidValue(f"capture file: a damaged block of type {kind}: {error}") from None
        packet = _LINKS.get(interface.link_type, _not_ip)(frame)
        if packet is not None:
            yield time, packet
    if foreign and not readable:
        raise InvalidValue(f"capture file: link types {sorted(foreign)} are none that carry IP here")


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
    return _Interface(link_type, snap_length, unit, offset)


def _options(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    while len(data) >= 4:
        code, length = unpack_from(order + "HH", data)
        if code == _OPTION_END:
            return
        yield code, data[4 : 4 + length]
        data = data[4 + (length + 3) // 4 * 4 :]


def _enhanced(body: bytes, order: str, interfaces: list[_Interface]) -> _Captured:
    if len(body) < 20:
        raise ValueError("too short")
    number, high, low, length, _ = unpack_from(order + "IIIII", body)
    if length > len(body) - 20:
        raise ValueError("its packet is longer than the block")
    interface = _numbered(interfaces, number)
    return interface.offset + (high << 32 | low) * interface.unit, interface, body[20 : 20 + length]


def _simple(body: bytes, order: str, interfaces: list[_Interface]) -> _Captured:
    if len(body) < 4:
        raise ValueError("too short")
    interface = _numbered(interfaces, 0)
    (length,) = unpack_from(order + "I", body)
    return None, interface, body[4 : 4 + min(length, interface.snap_length or length)]


def _numbered(interfaces: list[_Interface], number: int) -> _Interface:
    if number >= len(interfaces):
        raise ValueError(f"interface {number} is not described")
    return interfaces[number]


_PACKET_BLOCKS: Final[dict[int, Callable[[bytes, str, list[_Interface]], _Captured]]] = {
    _SIMPLE_PACKET: _simple,
    _ENHANCED_PACKET: _enhanced,
}

# --- links: a frame's IP packet, or None if it carries none --------------------------------------------------------

_VLAN_TAGS: Final = (b"\x81\x00", b"\x88\xa8", b"\x91\x00")
_IP_TYPES: Final = (b"\x08\x00", b"\x86\xdd")
_IP_FAMILIES: Final = (2, 10, 24, 28, 30)
"""AF_INET everywhere, and AF_INET6 of Linux, NetBSD and OpenBSD, FreeBSD, macOS."""


def _not_ip(_: bytes) -> None:
    return None


def _raw(frame: bytes) -> bytes | None:
    return frame if frame and frame[0] >> 4 in (4, 6) else None


def _typed(type_at: int, header: int) -> Callable[[bytes], bytes | None]:
    """A link whose header has `header` bytes, with an EtherType at `type_at`. VLAN tags may follow."""

    def strip(frame: bytes) -> bytes | None:
        kind, start = frame[type_at : type_at + 2], header
        while kind in _VLAN_TAGS:
            kind, start = frame[start + 2 : start + 4], start + 4
        return frame[start:] if kind in _IP_TYPES and len(frame) > start else None

    return strip


def _with_family(frame: bytes) -> bytes | None:
    """BSD loopback: four bytes of address family, in the byte order of the machine that captured."""
    families = int.from_bytes(frame[:4], "little"), int.from_bytes(frame[:4], "big")
    return frame[4:] if len(frame) > 4 and any(family in _IP_FAMILIES for family in families) else None


_LINKS: Final[dict[int, Callable[[bytes], bytes | None]]] = {
    0: _with_family,  # NULL
    1: _typed(12, 14),  # ETHERNET
    12: _raw,  # RAW as some systems number it in files
    14: _raw,
    101: _raw,  # RAW
    108: _with_family,  # LOOP
    113: _typed(14, 16),  # LINUX_SLL
    228: _raw,  # IPV4
    229: _raw,  # IPV6
    276: _typed(0, 20),  # LINUX_SLL2
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

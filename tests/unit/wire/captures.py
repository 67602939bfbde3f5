"""Capture files written from the specifications, for tests of what reads them."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence

Frame = tuple[float, bytes]
"""Unix time in seconds and the frame as its link carries it."""

PCAP_HEADER = "HHiIII"


def pcap(frames: Iterable[Frame], link_type: int = 101, *, order: str = "<", nanoseconds: bool = False) -> bytes:
    """A file of draft-ietf-opsawg-pcap."""
    magic, ticks = (0xA1B23C4D, 10**9) if nanoseconds else (0xA1B2C3D4, 10**6)
    records = [struct.pack(order + "I" + PCAP_HEADER, magic, 2, 4, 0, 0, 262144, link_type)]
    for time, frame in frames:
        seconds, fraction = divmod(round(time * ticks), ticks)
        records.append(struct.pack(order + "IIII", seconds, fraction, len(frame), len(frame)) + frame)
    return b"".join(records)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    length = struct.pack(order + "I", 12 + len(_padded(body)))
    return struct.pack(order + "I", kind) + length + _padded(body) + length


def section(order: str = "<") -> bytes:
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1), order)


def interface(
    link_type: int, order: str = "<", *, snap_length: int = 0, options: Sequence[tuple[int, bytes]] = ()
) -> bytes:
    listed = [*options, (0, b"")] if options else []
    coded = b"".join(struct.pack(order + "HH", code, len(value)) + _padded(value) for code, value in listed)
    return block(1, struct.pack(order + "HHI", link_type, 0, snap_length) + coded, order)


def enhanced(frame: bytes, ticks: int, number: int = 0, order: str = "<") -> bytes:
    head = struct.pack(order + "IIIII", number, ticks >> 32, ticks & 0xFFFFFFFF, len(frame), len(frame))
    return block(6, head + frame, order)


def simple(frame: bytes, order: str = "<", *, original: int | None = None) -> bytes:
    return block(3, struct.pack(order + "I", original or len(frame)) + frame, order)


def ether_type(packet: bytes) -> bytes:
    return b"\x08\x00" if packet[0] >> 4 == 4 else b"\x86\xdd"


MACS = b"\x02\0\0\0\0\x01\x02\0\0\0\0\x02"


def _family(packet: bytes, order: str, inet6: int) -> bytes:
    return struct.pack(order + "I", 2 if packet[0] >> 4 == 4 else inet6) + packet


def _ppp(packet: bytes) -> bytes:
    return (b"\x00\x21" if packet[0] >> 4 == 4 else b"\x00\x57") + packet


def _pppoe(packet: bytes) -> bytes:
    return struct.pack("!BBHH", 0x11, 0, 7, len(packet) + 2) + _ppp(packet)


LINKS: dict[str, tuple[int, Callable[[bytes], bytes]]] = {
    "Ethernet": (1, lambda packet: MACS + ether_type(packet) + packet),
    "Ethernet, VLAN": (1, lambda packet: MACS + b"\x81\x00\x00\x05" + ether_type(packet) + packet),
    "Ethernet, two VLANs": (
        1,
        lambda packet: MACS + b"\x88\xa8\x00\x05\x81\x00\x00\x06" + ether_type(packet) + packet,
    ),
    "Ethernet, SNAP": (1, lambda packet: MACS + b"\0\xc0\xaa\xaa\x03\0\0\0" + ether_type(packet) + packet),
    "Ethernet, PPPoE": (1, lambda packet: MACS + b"\x88\x64" + _pppoe(packet)),
    "Ethernet, VLAN, PPPoE": (1, lambda packet: MACS + b"\x81\x00\x00\x07\x88\x64" + _pppoe(packet)),
    "SLL, PPPoE": (113, lambda packet: bytes(14) + b"\x88\x64" + _pppoe(packet)),
    "PPP": (9, lambda packet: b"\xff\x03" + _ppp(packet)),
    "PPP, without address and control": (9, lambda packet: _ppp(packet)),
    "PPP, protocol of one byte": (9, lambda packet: _ppp(packet)[1:]),
    "PPP, HDLC": (50, lambda packet: b"\xff\x03" + _ppp(packet)),
    "Cisco HDLC among PPP": (50, lambda packet: b"\x0f\x00" + ether_type(packet) + packet),
    "Cisco HDLC": (104, lambda packet: b"\x0f\x00" + ether_type(packet) + packet),
    "PPPoE": (51, lambda packet: _pppoe(packet)),
    "PPP, pppd": (166, lambda packet: b"\x01\x03" + _ppp(packet)),
    "PPP, with direction": (204, lambda packet: b"\x00\xff\x03" + _ppp(packet)),
    "raw": (101, bytes),
    "raw, BSD's number": (12, bytes),
    "raw, OpenBSD's number": (14, bytes),
    "NULL, little-endian Linux": (0, lambda packet: _family(packet, "<", 10)),
    "NULL, big-endian FreeBSD": (0, lambda packet: _family(packet, ">", 28)),
    "NULL, macOS": (0, lambda packet: _family(packet, "<", 30)),
    "LOOP, OpenBSD": (108, lambda packet: _family(packet, ">", 24)),
    "SLL": (113, lambda packet: struct.pack("!HHH8s", 0, 1, 6, MACS[:8]) + ether_type(packet) + packet),
    "SLL, VLAN": (113, lambda packet: bytes(14) + b"\x81\x00\x00\x05" + ether_type(packet) + packet),
    "SLL2": (276, lambda packet: ether_type(packet) + struct.pack("!HIHBB8s", 0, 3, 1, 0, 6, MACS[:8]) + packet),
}
"""Name: link type, and what puts an IP packet into its frame."""

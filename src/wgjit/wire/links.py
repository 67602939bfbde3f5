"""Frames of links: the IP packet in a frame, or why it is not read (tcpdump.org's LINKTYPE_ values, RFC 1661, 2516).

Ethernet with VLAN tags, SNAP and PPPoE, PPP, Cisco HDLC, BSD loopback, Linux "cooked" captures, and bare IP are read.
Nothing is reassembled, decrypted or taken out of a tunnel.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import iter_unpack
from typing import Final

from wgjit.wire.unread import CUT, MPLS, Unread

Link = Callable[[bytes], "bytes | Unread | None"]
"""From a frame to its IP packet, to the reason why there may be one that is not read, or to None: it carries no IP."""

_VLAN_TAGS: Final = (0x8100, 0x88A8, 0x9100)
_IP_TYPES: Final = (0x0800, 0x86DD)
_PPPOE: Final = 0x8864
_SMALLEST_TYPE: Final = 0x0600
"""A smaller number is not an EtherType, but the length of an 802.3 frame, or a Linux number for one."""

_SNAP: Final = b"\xaa\xaa\x03\0\0\0"
"""The LLC and SNAP headers before an EtherType."""

_NO_IP: Final = frozenset(
    number
    for (number,) in iter_unpack(
        "!H",
        bytes.fromhex(
            "0806 0842 22f0 8035 809b 80f3 8137 8204 8808 8809 8863 888e 8892 8899 88a2 88a4 88b5 88b6 "
            "88ca 88cc 88cd 88e1 88e3 88f7 88fb 8902 8906 8914 8915 9000"
        ),
    )
)
"""EtherTypes that carry no IP: ARP, wake on LAN, LLDP, 802.1X, PPPoE discovery, PTP, loops and the like (IANA)."""

_TUNNELS: Final = {
    0x8847: MPLS,
    0x8848: MPLS,
    0x6558: Unread("bridged Ethernet"),
    0x88E5: Unread("MACsec"),
    0x88E7: Unread("MAC-in-MAC"),
    0x894F: Unread("NSH"),
}

_PPP_IP: Final = (0x0021, 0x0057)
_PPP_TUNNELS: Final = {
    0x003D: Unread("PPP multilink"),
    0x0053: Unread("encrypted PPP"),
    0x0055: Unread("encrypted PPP"),
    0x00FB: Unread("compressed PPP"),
    0x00FD: Unread("compressed PPP"),
    0x0281: MPLS,
    0x0283: MPLS,
}
_PPP_TCP: Final = (0x002D, 0x002F)
"""TCP with compressed headers."""
_PPP_CONTROL: Final = 0x4000
"""From here on a protocol configures or watches the link."""

_FAMILIES: Final = (2, 10, 24, 28, 30)
"""AF_INET everywhere, and AF_INET6 of Linux, NetBSD and OpenBSD, FreeBSD, macOS."""


def _raw(frame: bytes) -> bytes | Unread | None:
    if not frame:
        return CUT
    return frame if frame[0] >> 4 in (4, 6) else None


def _typed(type_at: int, header: int) -> Link:
    """A link whose header has `header` bytes, with an EtherType at `type_at`."""

    def strip(frame: bytes) -> bytes | Unread | None:
        return _of_type(frame, type_at, header)

    return strip


def _of_type(frame: bytes, type_at: int, start: int) -> bytes | Unread | None:
    """What an EtherType announces, which stands at `type_at`, and what it is of begins at `start`."""
    while True:
        if len(frame) < type_at + 2 or len(frame) < start:
            return CUT
        kind = frame[type_at] << 8 | frame[type_at + 1]
        if kind in _IP_TYPES:
            return frame[start:] or CUT
        if kind in _VLAN_TAGS:
            type_at, start = start + 2, start + 4
        elif kind == _PPPOE:
            return _pppoe(frame[start:])
        elif kind >= _SMALLEST_TYPE:
            return None if kind in _NO_IP else _TUNNELS.get(kind) or Unread(f"EtherType 0x{kind:04x}")
        elif frame[start : start + 6] == _SNAP:
            type_at, start = start + 6, start + 8
        else:
            return CUT if _SNAP.startswith(frame[start:]) else None


def _pppoe(frame: bytes) -> bytes | Unread | None:
    """A PPPoE session's packet."""
    if len(frame) < 6:
        return CUT
    return _ppp(frame[6:]) if frame[1] == 0 else None


def _ppp(frame: bytes) -> bytes | Unread | None:
    """PPP, with or without the bytes of address and control, and with a protocol field of one or two bytes."""
    frame = frame.removeprefix(b"\xff\x03")
    if frame in (b"", b"\xff"):
        return CUT
    if frame[0] & 1:
        protocol, start = frame[0], 1
    elif len(frame) < 2:
        return CUT
    else:
        protocol, start = frame[0] << 8 | frame[1], 2
    if protocol in _PPP_IP:
        return frame[start:] or CUT
    if protocol >= _PPP_CONTROL or protocol in _PPP_TCP:
        return None
    return _PPP_TUNNELS.get(protocol) or Unread(f"PPP protocol 0x{protocol:04x}")


def _serial(frame: bytes) -> bytes | Unread | None:
    """PPP in HDLC-like framing, or Cisco's HDLC."""
    return _of_type(frame, 2, 4) if frame[:1] in (b"\x0f", b"\x8f") else _ppp(frame)


def _after(header: int) -> Link:
    """PPP after a header of so many bytes, which tells the direction."""
    return lambda frame: _ppp(frame[header:])


def _with_family(frame: bytes) -> bytes | Unread | None:
    """BSD loopback: four bytes of address family, in the byte order of the machine that captured."""
    if len(frame) <= 4:
        return CUT
    families = int.from_bytes(frame[:4], "little"), int.from_bytes(frame[:4], "big")
    return frame[4:] if any(family in _FAMILIES for family in families) else None


def _unknown(link_type: int) -> Link:
    reason = Unread(f"link type {link_type}")
    return lambda _: reason


_LINKS: Final[dict[int, Link]] = {
    0: _with_family,  # NULL
    1: _typed(12, 14),  # ETHERNET
    9: _ppp,  # PPP
    12: _raw,  # RAW as some systems number it in files
    14: _raw,
    50: _serial,  # PPP_HDLC
    51: _pppoe,  # PPP_ETHER
    101: _raw,  # RAW
    104: _typed(2, 4),  # C_HDLC
    108: _with_family,  # LOOP
    113: _typed(14, 16),  # LINUX_SLL
    166: _after(2),  # PPP_PPPD: a byte for the direction in the place of the address, and the control byte
    204: _after(1),  # PPP_WITH_DIR
    228: _raw,  # IPV4
    229: _raw,  # IPV6
    276: _typed(0, 20),  # LINUX_SLL2
}


def link(link_type: int) -> Link:
    """How the frames of a link type are read. Those of an unknown one are `Unread`."""
    return _LINKS.get(link_type) or _unknown(link_type)

"""How a capture knows a packet that our own injector put back, so that it is not captured again.

A live XDP frame carries a source MAC of ours, which the kernel's taps report. A raw replay arrives on the loopback
device, which has no addresses: there the IPv4 identification or the IPv6 flow label is ours. Neither means anything
to an unfragmented packet that is delivered locally. A client on this very host whose packet bears the same 16 bits
by chance (1 in 65,536) has to knock twice.
"""

from __future__ import annotations

SOURCE_MAC = b"\x02wgjit"
"""Locally administered and unicast, so it is no real card's."""

_IPV4_ID = b"\x6a\x74"
_FLOW_LABEL = b"\x6a\x69\x74"
_LABEL_HIGH = _FLOW_LABEL[0] & 0x0F  # 20 bits: the version and traffic class share its first byte


def mark(packet: bytes) -> bytes:
    """The IP packet with our mark in its header. The IPv4 header checksum is then stale; no UDP checksum covers it."""
    marked = bytearray(packet)
    if packet[0] >> 4 == 4:
        marked[4:6] = _IPV4_ID
    else:
        marked[1] = marked[1] & 0xF0 | _LABEL_HIGH
        marked[2:4] = _FLOW_LABEL[1:]
    return bytes(marked)


def is_marked(packet: bytes) -> bool:
    """Whether this IP packet, seen on loopback, bears the mark."""
    if packet[:1] and packet[0] >> 4 == 4:
        return packet[4:6] == _IPV4_ID
    return len(packet) >= 4 and packet[1] & 0x0F == _LABEL_HIGH and packet[2:4] == _FLOW_LABEL[1:]

"""The mark by which a capture recognises a packet that wgjit's own injector put back, and does not capture it again.

A live XDP frame carries a source MAC of wgjit, which the kernel's taps report. A raw replay arrives on the loopback
device, which has no MAC addresses. There the mark is the IPv4 identification or the IPv6 flow label. Neither matters
for an unfragmented packet that is delivered locally. If a client on this very host sends a packet with the same 16 bits
by chance (1 in 65,536), it has to knock twice.
"""

from __future__ import annotations

SOURCE_MAC = b"\x02wgjit"
"""A locally administered unicast address, so no real card has it."""

_IPV4_ID = b"\x6a\x74"
_FLOW_LABEL = b"\x6a\x69\x74"
_LABEL_HIGH = _FLOW_LABEL[0] & 0x0F  # the label has 20 bits; the traffic class shares its first byte


def mark(packet: bytes) -> bytes:
    """The IP packet with the mark in its header. The IPv4 header checksum is then wrong; a UDP checksum stays right."""
    marked = bytearray(packet)
    if packet[0] >> 4 == 4:
        marked[4:6] = _IPV4_ID
    else:
        marked[1] = marked[1] & 0xF0 | _LABEL_HIGH
        marked[2:4] = _FLOW_LABEL[1:]
    return bytes(marked)


def is_marked(packet: bytes) -> bool:
    """Whether this IP packet, captured on loopback, has the mark."""
    if packet[:1] and packet[0] >> 4 == 4:
        return packet[4:6] == _IPV4_ID
    return len(packet) >= 4 and packet[1] & 0x0F == _LABEL_HIGH and packet[2:4] == _FLOW_LABEL[1:]

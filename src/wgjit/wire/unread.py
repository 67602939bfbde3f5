"""Why an initiation may be in a packet that is not read: a capture that shows none must not pass for one without.

A packet counts as unread only if an initiation may be in it. A TCP segment that the capture has cut short is none, and
neither is a datagram of another length than an initiation's.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from wgjit.wire.messages import INITIATION, LENGTH


class Unread(str):
    """Why a packet was not read, for people."""

    __slots__ = ()


CUT: Final = Unread("cut short by the capture's snap length")
FRAGMENT: Final = Unread("IP fragments")
MPLS: Final = Unread("MPLS")

_UDP, _ROUTING, _FRAGMENT_HEADER = 17, 43, 44
_EXTENSIONS: Final = (0, _ROUTING, 60)
_TUNNELS: Final = {
    4: Unread("IP in IP"),
    41: Unread("IPv6 in IP"),
    47: Unread("GRE"),
    50: Unread("ESP"),
    51: Unread("AH"),
    97: Unread("EtherIP"),
    115: Unread("L2TP"),
    137: MPLS,
}
"""By the number of the protocol in an IP header (IANA)."""

_PORTS: Final = {
    1701: Unread("L2TP"),
    2152: Unread("GTP"),
    3544: Unread("Teredo"),
    4500: Unread("ESP"),
    4754: Unread("GRE"),
    4789: Unread("VXLAN"),
    4790: Unread("VXLAN"),
    6081: Unread("GENEVE"),
    6635: MPLS,
    8472: Unread("VXLAN"),
}
"""By the UDP port of either side (IANA; 8472 is Linux's own)."""

_SIZE: Final = 8 + LENGTH[INITIATION]
"""Bytes of a UDP datagram with an initiation."""


class Tally:
    """What became of the packets of a capture."""

    def __init__(self) -> None:
        self.packets = 0
        """All of them, also those that carry no IP."""
        self.unread: Counter[Unread] = Counter()
        """Packets that were not read, by the reason."""

    def told(self) -> str:
        """For people: how many packets were not read, and why; the most frequent reason first."""
        reasons = ", ".join(f"{number} {why}" for why, number in self.unread.most_common())
        remedy = " (capture whole packets: tcpdump -s 0)" if CUT in self.unread else ""
        return f"{self.unread.total()} of them were not read, and may hold some: {reasons}{remedy}"


def why_unread(packet: bytes) -> Unread | None:
    """Why an initiation may be in this IP packet, in which none was found; None if there is none for certain."""
    if len(packet) < 20:
        return CUT
    if packet[0] >> 4 == 4:
        at = (packet[0] & 15) * 4
        end = packet[2] << 8 | packet[3]
        protocol = packet[9]
        is_fragment = bool((packet[6] << 8 | packet[7]) & 0x3FFF)
    elif packet[0] >> 4 == 6:
        if len(packet) < 40:
            return CUT
        end = 40 + (packet[4] << 8 | packet[5])
        found = _after_extensions(packet)
        if isinstance(found, Unread):
            return found
        protocol, at, is_fragment = found
    else:
        return None
    if is_fragment:
        return FRAGMENT if protocol == _UDP or protocol in _TUNNELS else None
    if protocol != _UDP:
        return _TUNNELS.get(protocol)
    if at < 20 or at + 8 > end:
        return None  # damaged, and no gateway takes it
    if len(packet) < at + 8:
        return CUT
    return _in_udp(packet, at, end)


def _in_udp(packet: bytes, at: int, end: int) -> Unread | None:
    size = packet[at + 4] << 8 | packet[at + 5]
    payload = packet[at + 8 : at + size]
    if end > len(packet) and size == _SIZE and payload[:1] in (b"", bytes((INITIATION,))):
        return CUT
    ports = packet[at] << 8 | packet[at + 1], packet[at + 2] << 8 | packet[at + 3]
    tunnel = _PORTS.get(ports[1]) or _PORTS.get(ports[0])
    if tunnel is None or _is_wireguard(payload) or len(payload) == 1:
        return None  # a single byte keeps a NAT's state alive
    if 4500 in ports and payload[:4] == bytes(4):
        return None  # IKE
    return tunnel


def _is_wireguard(payload: bytes) -> bool:
    """Whether this looks like a message of WireGuard: a gateway may use a tunnel's port for itself."""
    return payload[:1] in (b"\x01", b"\x02", b"\x03", b"\x04") and payload[1:4] == bytes(3)


def _after_extensions(packet: bytes) -> tuple[int, int, bool] | Unread:
    """The protocol after an IPv6 packet's extension headers, where it begins, and whether it is a fragment's."""
    kind, at, is_fragment = packet[6], 40, False
    while kind in _EXTENSIONS or kind == _FRAGMENT_HEADER:
        if len(packet) < at + 8:
            return CUT
        if kind == _FRAGMENT_HEADER:
            is_fragment, is_first = True, not (packet[at + 2] << 8 | packet[at + 3]) & 0xFFF8
            kind, at = packet[at], at + 8
            if not is_first:
                break  # what follows is not the beginning
        elif kind == _ROUTING and packet[at + 3]:
            return Unread("IPv6 source routing")
        else:
            kind, at = packet[at], at + 8 + packet[at + 1] * 8
    return kind, at, is_fragment

"""An ICMP echo request as an IP packet, for clients that have no interface, and how its reply is known."""

from __future__ import annotations

import ipaddress
import struct

from lab.netns import checksum

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Echo:
    """One ICMP echo request, IPv4 (RFC 792) or IPv6 (RFC 4443), and how its reply is known."""

    __slots__ = ("_reply", "request")

    def __init__(self, source: Address, target: Address, data: bytes) -> None:
        """`data` is of 8 bytes and comes back in the reply. Raises ValueError for addresses of different families."""
        if source.version != target.version:
            raise ValueError(f"echo from {source} to {target}: both must be IPv4, or both IPv6")
        rest = b"\0\1\0\1" + data  # identifier, sequence number
        if source.version == 4:
            request, reply = 8, 0
            message = _icmp(request, rest, b"")
            head = struct.pack(
                ">BBHHHBBH4s4s", 0x45, 0, 20 + len(message), 0, 0, 64, 1, 0, source.packed, target.packed
            )
            self.request = head[:10] + checksum(head).to_bytes(2, "big") + head[12:] + message
            self._reply = (20, reply, rest, target.packed + source.packed)
        else:
            request, reply = 128, 129
            pseudo = source.packed + target.packed + struct.pack(">II", 4 + len(rest), 58)
            message = _icmp(request, rest, pseudo)
            head = struct.pack(">IHBB16s16s", 6 << 28, len(message), 58, 64, source.packed, target.packed)
            self.request = head + message
            self._reply = (40, reply, rest, target.packed + source.packed)

    def is_reply(self, packet: bytes) -> bool:
        """Whether an inner packet is the reply to this one, from its target to its source."""
        length, kind, rest, addresses = self._reply
        return (
            packet[length - len(addresses) : length] == addresses
            and packet[length : length + 1] == bytes([kind])
            and packet[length + 4 : length + 4 + len(rest)] == rest
        )


def _icmp(kind: int, rest: bytes, pseudo: bytes) -> bytes:
    bare = bytes([kind, 0, 0, 0]) + rest
    return bare[:2] + checksum(pseudo + bare).to_bytes(2, "big") + rest

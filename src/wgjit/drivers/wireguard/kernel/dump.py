"""Decodes the kernel's entries of a dump at fixed places, which is faster than `messages` and its tables.

The kernel writes a peer's attributes in one order (`get_peer`, `get_allowedips` in drivers/net/wireguard/netlink.c).
One `struct` decodes an entry that begins in this order. For any other entry these functions return None, and the tables
decode it. Tests check that both give the same values.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from typing import Any, Final

from wgjit.drivers.netlink.codec import ATTRIBUTE_HEADER, encode_attribute
from wgjit.model import AllowedIP

_PEER: Final = struct.Struct("=4s32s4s32s4sqq4sH2x4sQ4sQ4s4x")
_HEADS: Final = tuple(
    encode_attribute(kind, bytes(size))[:ATTRIBUTE_HEADER]
    for kind, size in ((1, 32), (2, 32), (6, 16), (5, 2), (8, 8), (7, 8), (10, 4))
)
"""Public key, preshared key, last handshake, keepalive, bytes sent, bytes received, protocol version."""

LENGTH: Final = _PEER.size
"""Bytes of a peer's entry that are at fixed places. Endpoint and allowed IPs follow."""

_PREFIX4: Final = struct.Struct("=4sB3x4sH2x4s4s")
_PREFIX6: Final = struct.Struct("=4sB3x4sH2x4s16s")
_PREFIX_HEADS: Final = tuple(encode_attribute(kind, bytes(size))[:ATTRIBUTE_HEADER] for kind, size in ((3, 1), (1, 2)))
_ADDRESS4, _ADDRESS6 = (encode_attribute(2, bytes(size))[:ATTRIBUTE_HEADER] for size in (4, 16))
_INET, _INET6 = int(socket.AF_INET), int(socket.AF_INET6)


def peer_fields(entry: bytes) -> dict[str, Any] | None:
    """The first `LENGTH` bytes of a peer's entry as fields, named as in the table PEER; None if the order differs."""
    if len(entry) < LENGTH:
        return None
    h1, key, h2, preshared, h3, seconds, nanoseconds, h4, keepalive, h5, sent, h6, received, h7 = _PEER.unpack_from(
        entry
    )
    if (h1, h2, h3, h4, h5, h6, h7) != _HEADS:
        return None
    return {
        "public_key": key,
        "preshared_key": preshared,
        "last_handshake": (seconds, nanoseconds),
        "keepalive": keepalive,
        "tx_bytes": sent,
        "rx_bytes": received,
    }


def allowed_ip(content: bytes) -> AllowedIP | None:
    """An allowed IP; None if the order differs. Raises ValueError if the bytes are no network."""
    if len(content) == _PREFIX4.size:
        h1, length, h2, family, h3, address = _PREFIX4.unpack(content)
        if (h1, h2) == _PREFIX_HEADS and h3 == _ADDRESS4 and family == _INET:
            return ipaddress.IPv4Network((address, length))
    elif len(content) == _PREFIX6.size:
        h1, length, h2, family, h3, address = _PREFIX6.unpack(content)
        if (h1, h2) == _PREFIX_HEADS and h3 == _ADDRESS6 and family == _INET6:
            return ipaddress.IPv6Network((address, length))
    return None

"""The codec of nfnetlink_log: bytes <-> values, pure (linux/netfilter/nfnetlink_log.h).

For any input, decoding raises no error but MalformedAnswer.
"""

from __future__ import annotations

import struct

from wgjit.drivers.netlink.codec import NLM_F_ACK, RAW, Codec, Message, Table
from wgjit.drivers.netlink.netfilter import BE32, Request, content, request
from wgjit.errors import MalformedAnswer
from wgjit.wire.endpoint import Endpoint

_SUBSYSTEM = 4 << 8
PACKET, _CONFIG = _SUBSYSTEM | 0, _SUBSYSTEM | 1
_BIND = 1
_COPY_PACKET = 2

COPIED = 64
"""Bytes of a packet that are copied: an IPv6 header and the UDP header take 48, IPv4 with options up to 68."""

_MODE = struct.Struct(">IBx")  # struct nfulnl_msg_config_mode: bytes to copy, copy mode
_CONFIGURATION = Table(
    "log configuration",
    {
        1: ("command", Codec(lambda number: bytes([number]), lambda content: content[0])),
        2: ("mode", Codec(lambda values: _MODE.pack(*values), _MODE.unpack)),
        5: ("threshold", BE32),
    },
)
_PACKET = Table("logged packet", {9: ("payload", RAW)})
_PORTS = struct.Struct(">HH")
_UDP = 17


def bind(group: int) -> tuple[Request, ...]:
    """Be the one who gets the packets of a log group, each at once. EBUSY if another socket is."""
    return (
        request(_CONFIG, _CONFIGURATION.encode({"command": _BIND}), resource=group, flags=NLM_F_ACK),
        request(
            _CONFIG,
            _CONFIGURATION.encode({"mode": (COPIED, _COPY_PACKET), "threshold": 1}),
            resource=group,
            flags=NLM_F_ACK,
        ),
    )


def ends(message: Message) -> tuple[Endpoint, Endpoint] | None:
    """Whence a logged UDP packet came and where to; None if it does not show. Raises MalformedAnswer."""
    if message.kind != PACKET:
        raise MalformedAnswer(f"nfnetlink_log: message {message.kind:#x} is no packet")
    packet = _PACKET.decode(content(message)).get("payload", b"")
    version = packet[0] >> 4 if packet else 0
    if version == 4 and len(packet) >= 20:
        start, protocol, source, destination = 4 * (packet[0] & 15), packet[9], packet[12:16], packet[16:20]
    elif version == 6 and len(packet) >= 40:
        start, protocol, source, destination = 40, packet[6], packet[8:24], packet[24:40]
    else:
        return None
    if protocol != _UDP or start < 20 or len(packet) < start + _PORTS.size:
        return None  # an IPv6 packet with extension headers, or an IPv4 packet with many options
    ports = _PORTS.unpack_from(packet, start)
    return Endpoint(source, ports[0]), Endpoint(destination, ports[1])

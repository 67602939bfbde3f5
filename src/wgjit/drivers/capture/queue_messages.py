"""The codec of nfnetlink_queue: bytes <-> values, pure (linux/netfilter/nfnetlink_queue.h).

One table per message serves both directions. For any input, decoding raises no error but MalformedAnswer.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from enum import IntEnum
from functools import cache
from typing import Any, NamedTuple

from wgjit.drivers.netlink.codec import NLM_F_ACK, RAW, Codec, Message, Table, encode_message
from wgjit.drivers.netlink.netfilter import BE32, Request, content, request
from wgjit.errors import MalformedAnswer

_SUBSYSTEM = 3 << 8
NF_ACCEPT = 1
_ID = struct.Struct(">I")  # the packet's id, at the end of its verdict
COPY_PACKET = 2
FAIL_OPEN = 1


class MessageKind(IntEnum):
    """The subsystem's messages, as netlink message types."""

    PACKET = _SUBSYSTEM | 0
    VERDICT = _SUBSYSTEM | 1
    CONFIG = _SUBSYSTEM | 2
    VERDICT_BATCH = _SUBSYSTEM | 3


class Command(IntEnum):
    """What a configuration message does with a queue."""

    BIND = 1
    UNBIND = 2


def _numbers(layout: str) -> Codec:
    shape = struct.Struct(layout)
    return Codec(lambda values: shape.pack(*values), shape.unpack)


PACKET = Table(
    "queued packet",
    {
        1: ("header", _numbers(">IHB")),  # packet id, ethertype, hook
        5: ("indev", BE32),
        9: ("hardware_address", _numbers(">HH8s")),  # length, padding, address
        10: ("payload", RAW),
        13: ("length", BE32),  # length of the whole packet, if only a part was copied
    },
)
VERDICT = Table("verdict", {2: ("verdict", _numbers(">II"))})  # verdict, packet id; in a batch the last packet's id
CONFIG = Table(
    "queue configuration",
    {
        1: ("command", _numbers(">BxH")),  # command, protocol family (ignored since Linux 3.8)
        2: ("params", _numbers(">IB")),  # bytes to copy, copy mode
        3: ("max_length", BE32),
        4: ("mask", BE32),
        5: ("flags", BE32),
    },
)


class Held(NamedTuple):
    """A packet that waits in the kernel for its verdict."""

    id: int
    packet: bytes
    """The packet from the IP header on, cut off after the number of bytes to copy."""
    ifindex: int
    ethernet: bool


def configure(queue: int, **fields: Any) -> Request:
    """Set up a queue. The fields are those of the table CONFIG."""
    return request(MessageKind.CONFIG, CONFIG.encode(fields), resource=queue, flags=NLM_F_ACK)


def accept(queue: int, packet: int) -> Request:
    """Let one packet go on."""
    return request(MessageKind.VERDICT, _accepted(packet), resource=queue)


@cache
def _verdict(queue: int) -> bytes:
    """The message that lets a packet of this queue go on, without the packet's id at its end."""
    verdict = accept(queue, 0)
    return encode_message(verdict.kind, verdict.flags, 0, verdict.body)[: -_ID.size]


def accept_each(queue: int, packets: Iterable[int]) -> bytes:
    """The datagram that lets these packets go on: for each a message like `accept`'s, with sequence number 0."""
    verdict, pack = _verdict(queue), _ID.pack
    return b"".join([verdict + pack(packet) for packet in packets])


def accept_up_to(queue: int, packet: int) -> Request:
    """Let one packet and all older packets go on. The kernel acknowledges this."""
    return request(MessageKind.VERDICT_BATCH, _accepted(packet), resource=queue, flags=NLM_F_ACK)


def _accepted(packet: int) -> bytes:
    return VERDICT.encode({"verdict": (NF_ACCEPT, packet)})


def held(message: Message) -> Held:
    """Read a queued packet. Raises MalformedAnswer."""
    if message.kind != MessageKind.PACKET:
        raise MalformedAnswer(f"nfnetlink_queue: message {message.kind:#x} is no packet")
    fields = PACKET.decode(content(message))
    if "header" not in fields:
        raise MalformedAnswer("nfnetlink_queue: a packet without its header")
    address = fields.get("hardware_address")
    return Held(
        fields["header"][0],
        fields.get("payload", b""),
        fields.get("indev", 0),
        address is not None and address[0] == 6,
    )


# --- /proc/net/netfilter/nfnetlink_queue --------------------------------------------------------------------


class QueueStatus(NamedTuple):
    """One line of the kernel's table of queues."""

    number: int
    owner: int
    """The netlink port of the socket that holds the queue, usually its process id."""
    waiting: int
    """Packets without a verdict, whether the owner has read them or not."""
    queue_dropped: int
    """Lost because the queue was full and does not fail open."""
    user_dropped: int
    """Lost because the owner's socket was full and the queue does not fail open."""
    last_id: int
    """The id of the newest packet, hence the number of packets that got an id."""


def statuses(table: str) -> Iterator[QueueStatus]:
    """Read the kernel's table."""
    for line in table.splitlines():
        number, owner, waiting, _, _, queue_dropped, user_dropped, last_id, *_ = map(int, line.split())
        yield QueueStatus(number, owner, waiting, queue_dropped, user_dropped, last_id)

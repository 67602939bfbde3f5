"""The codec of nfnetlink_queue: bytes <-> values, pure (linux/netfilter/nfnetlink_queue.h).

One table per message kind drives both directions. A number's layout is its `struct` format; None is raw bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from enum import IntEnum
from typing import NamedTuple, TypeAlias

from wgjit.drivers import nfnetlink
from wgjit.errors import CaptureError

SUBSYSTEM = 3
NF_ACCEPT = 1
COPY_PACKET = 2
FAIL_OPEN = 1
GSO = 4

Value: TypeAlias = "int | bytes | tuple[int | bytes, ...]"


class Kind(IntEnum):
    """The messages of the subsystem."""

    PACKET = 0
    VERDICT = 1
    CONFIG = 2
    VERDICT_BATCH = 3


class Command(IntEnum):
    """What a configuration message does to the queue."""

    BIND = 1
    UNBIND = 2


class _Field(NamedTuple):
    attribute: int
    layout: struct.Struct | None


def _field(attribute: int, layout: str = "") -> _Field:
    return _Field(attribute, struct.Struct(layout) if layout else None)


_VERDICT = {"verdict": _field(2, ">II")}  # verdict, packet id
_FIELDS: dict[Kind, dict[str, _Field]] = {
    Kind.PACKET: {
        "header": _field(1, ">IHB"),  # packet id, ethertype, hook
        "indev": _field(5, ">I"),
        "hardware_address": _field(9, ">HH8s"),  # length, padding, address
        "payload": _field(10),
        "captured_length": _field(13, ">I"),  # the whole length, where only a part was copied
    },
    Kind.VERDICT: _VERDICT,
    Kind.VERDICT_BATCH: _VERDICT,
    Kind.CONFIG: {
        "command": _field(1, ">BxH"),  # command, protocol family (ignored since Linux 3.8)
        "params": _field(2, ">IB"),  # bytes to copy, copy mode
        "max_length": _field(3, ">I"),
        "mask": _field(4, ">I"),
        "flags": _field(5, ">I"),
    },
}


class QueueMessage(NamedTuple):
    """A message of the queue subsystem. A field of one number is that number, of several a tuple."""

    kind: Kind
    queue: int
    fields: Mapping[str, Value]


class Held(NamedTuple):
    """A packet that waits in the kernel for its verdict."""

    id: int
    packet: bytes
    ifindex: int
    ethernet: bool


def encode(kind: Kind, queue: int, *, ack: bool = False, **fields: Value) -> bytes:
    """A message for one queue; its fields are those of the kind's table."""
    table = _FIELDS[kind]
    payload = b"".join(nfnetlink.attribute(table[name].attribute, _pack(table[name], v)) for name, v in fields.items())
    flags = nfnetlink.NLM_F_ACK if ack else 0
    return nfnetlink.encode(SUBSYSTEM << 8 | kind, payload, resource=queue, flags=flags)


def decode(message: nfnetlink.Message) -> QueueMessage:
    """Read a message of this subsystem; attributes not in the table are skipped. Raises CaptureError."""
    subsystem, kind = divmod(message.kind, 256)
    if subsystem != SUBSYSTEM or kind not in _FIELDS:
        raise CaptureError(f"nfnetlink_queue: message {message.kind:#x} is not of this subsystem")
    fields = {
        name: _unpack(name, field, message.attributes[field.attribute])
        for name, field in _FIELDS[Kind(kind)].items()
        if field.attribute in message.attributes
    }
    return QueueMessage(Kind(kind), message.resource, fields)


def held(message: nfnetlink.Message) -> Held:
    """Read a queued packet: `decode` for the one kind that comes by the thousand. Raises CaptureError."""
    _, _, fields = decode(message)
    header, packet = fields.get("header"), fields.get("payload", b"")
    if not isinstance(header, tuple) or not isinstance(packet, bytes):
        raise CaptureError("nfnetlink_queue: a packet without its header")
    identity, index, hardware = header[0], fields.get("indev", 0), fields.get("hardware_address")
    assert isinstance(identity, int)
    assert isinstance(index, int)
    return Held(identity, packet, index, isinstance(hardware, tuple) and hardware[0] == 6)


def _pack(field: _Field, value: Value) -> bytes:
    if field.layout is None:
        assert isinstance(value, bytes)
        return value
    return field.layout.pack(*value) if isinstance(value, tuple) else field.layout.pack(value)


def _unpack(name: str, field: _Field, raw: bytes) -> Value:
    if field.layout is None:
        return raw
    if len(raw) < field.layout.size:
        raise CaptureError(f"nfnetlink_queue {name}: {len(raw)} bytes, must be {field.layout.size}")
    values = field.layout.unpack_from(raw)
    return values if len(values) > 1 else values[0]


# --- /proc/net/netfilter/nfnetlink_queue --------------------------------------------------------------------


class QueueStatus(NamedTuple):
    """One line of the kernel's table of queues."""

    number: int
    owner: int
    """The netlink port of the socket that holds the queue; usually its process id."""
    waiting: int
    """Packets without a verdict, read by the owner or not."""
    queue_dropped: int
    """Lost because the queue was full and does not fail open."""
    user_dropped: int
    """Lost because the owner's socket was full and the queue does not fail open."""
    last_id: int
    """The id that the newest packet got: how many were given one."""


def statuses(table: str) -> Iterator[QueueStatus]:
    """Read the kernel's table."""
    for line in table.splitlines():
        number, owner, waiting, _, _, queue_dropped, user_dropped, last_id, *_ = map(int, line.split())
        yield QueueStatus(number, owner, waiting, queue_dropped, user_dropped, last_id)

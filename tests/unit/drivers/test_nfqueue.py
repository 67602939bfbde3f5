"""The queue's codec: one table of messages drives both directions, and every truncation of every message."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgjit.drivers.capture import queue_messages as nfqueue
from wgjit.drivers.capture.queue_messages import CONFIG, PACKET, VERDICT, Command, Held, MessageKind
from wgjit.drivers.netlink.codec import Message, Table, encode_message
from wgjit.drivers.netlink.netfilter import NFPROTO_INET, Request, content, request
from wgjit.errors import MalformedAnswer

PACKET_BYTES = bytes.fromhex("4500001c") + bytes(25)  # 29 bytes: padded to 32 in the message
WHOLE = {
    "header": (7, 0x0800, 1),
    "indev": 3,
    "hardware_address": (6, 0, b"\x02\0\0\0\0\x01\0\0"),
    "payload": PACKET_BYTES,
    "length": 29,
}

# Written out by hand from linux/netfilter/nfnetlink_queue.h: length and type in host order, content big-endian
MESSAGES: list[tuple[Table, dict[str, Any], bytes]] = [
    (CONFIG, {"command": (Command.BIND, 0)}, struct.pack("=HHBxH", 8, 1, 1, 0)),
    (CONFIG, {"command": (Command.UNBIND, 0)}, struct.pack("=HHBxH", 8, 1, 2, 0)),
    (CONFIG, {"params": (0xFFFF, 2)}, struct.pack("=HH", 9, 2) + bytes.fromhex("0000ffff 02 000000")),
    (CONFIG, {"max_length": 1024}, struct.pack("=HH", 8, 3) + bytes.fromhex("00000400")),
    (
        CONFIG,
        {"mask": 1, "flags": 1},
        struct.pack("=HH", 8, 4) + bytes.fromhex("00000001") + struct.pack("=HH", 8, 5) + bytes.fromhex("00000001"),
    ),
    (VERDICT, {"verdict": (1, 0x01020304)}, struct.pack("=HH", 12, 2) + bytes.fromhex("00000001 01020304")),
    (
        PACKET,
        WHOLE,
        struct.pack("=HH", 11, 1) + bytes.fromhex("00000007 0800 01 00")
        + struct.pack("=HH", 8, 5) + bytes.fromhex("00000003")
        + struct.pack("=HH", 16, 9) + bytes.fromhex("0006 0000 020000000001 0000")
        + struct.pack("=HH", 33, 10) + PACKET_BYTES + bytes(3)
        + struct.pack("=HH", 8, 13) + bytes.fromhex("0000001d"),
    ),
]  # fmt: skip


def received(kind: int, body: bytes) -> Message:
    return Message(kind, flags=0, sequence=0, body=body)


@pytest.mark.parametrize(("table", "fields", "raw"), MESSAGES)
def test_a_message_is_written_and_read(table: Table, fields: dict[str, Any], raw: bytes) -> None:
    assert table.encode(fields) == raw
    assert table.decode(raw) == fields


@pytest.mark.parametrize(("table", "fields", "raw"), MESSAGES)
def test_every_truncation_is_malformed_or_lacks_whole_attributes(
    table: Table, fields: dict[str, Any], raw: bytes
) -> None:
    lacking = 0
    for end in range(len(raw)):
        try:
            found = table.decode(raw[:end])
        except MalformedAnswer:
            continue
        assert found.items() <= fields.items()
        lacking += 1
    assert lacking >= 1  # the empty one at least


def test_requests_carry_queue_and_flags() -> None:
    assert nfqueue.configure(513, max_length=5) == Request(
        0x302, bytes.fromhex("00 00 0201") + CONFIG.encode({"max_length": 5}), flags=4
    )
    assert nfqueue.accept(5, 9) == Request(0x301, bytes.fromhex("00 00 0005") + VERDICT.encode({"verdict": (1, 9)}))
    assert nfqueue.accept_up_to(5, 9) == Request(0x303, nfqueue.accept(5, 9).body, flags=4)
    assert request(0xA0C, b"", family=NFPROTO_INET, resource=10).body == bytes.fromhex("01 00 000a")


def test_many_verdicts_are_written_as_one_by_one() -> None:
    ids = [0, 1, 0xFFFFFFFF, 7]
    wanted = [nfqueue.accept(5, packet) for packet in ids]
    assert nfqueue.accept_each(5, ids) == b"".join(encode_message(r.kind, r.flags, 0, r.body) for r in wanted)
    assert nfqueue.accept_each(6, ids) != nfqueue.accept_each(5, ids)
    assert nfqueue.accept_each(5, []) == b""


def test_a_packet_is_read() -> None:
    body = bytes(4) + PACKET.encode(WHOLE)
    assert nfqueue.held(received(MessageKind.PACKET, body)) == Held(7, PACKET_BYTES, 3, True)
    bare = bytes(4) + PACKET.encode({"header": (8, 0x86DD, 1)})
    assert nfqueue.held(received(MessageKind.PACKET, bare)) == Held(8, b"", 0, False)


def test_attributes_that_we_do_not_know_are_skipped() -> None:
    unknown = struct.pack("=HH", 8, 77) + bytes(4)
    body = bytes(4) + unknown + PACKET.encode(WHOLE) + unknown
    assert nfqueue.held(received(MessageKind.PACKET, body)).id == 7


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (MessageKind.CONFIG, bytes(4)),
        (2, bytes(4)),
        (MessageKind.PACKET, b""),
        (MessageKind.PACKET, bytes(3)),
        (MessageKind.PACKET, bytes(4)),
        (MessageKind.PACKET, bytes(4) + PACKET.encode({"indev": 3})),
    ],
)
def test_what_is_no_packet_is_malformed(kind: int, body: bytes) -> None:
    with pytest.raises(MalformedAnswer):
        nfqueue.held(received(kind, body))


@given(st.binary(max_size=200))
def test_no_content_raises_anything_else(body: bytes) -> None:
    for read in (
        lambda: nfqueue.held(received(MessageKind.PACKET, body)),
        lambda: content(received(MessageKind.PACKET, body)),
    ):
        try:
            read()
        except MalformedAnswer:
            continue


def test_the_kernels_table_of_queues() -> None:
    table = "    5   1234     2 2  2048     3     4       17  1\n20000 4242 0 0 0 0 0 0 1\n"
    first, second = nfqueue.statuses(table)
    assert first == (5, 1234, 2, 3, 4, 17)
    assert second.number == 20000
    assert list(nfqueue.statuses("")) == []

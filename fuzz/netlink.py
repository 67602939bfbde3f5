"""Invariant: any datagram gives values or MalformedAnswer, whose text holds no byte of it; nothing else is raised.

Each message of a datagram goes to the decoders of its type, as if the kernel had sent it:

- NLMSG_ERROR and NLMSG_DONE: an errno and a text.
- Netfilter's queue: a held packet.
- Netfilter's log: the ends of a reported packet.
- Any other type: WireGuard's generic netlink. The interface, and the peers of all messages joined as one dump.

Decoded values are also encoded again. Every table encodes its values to attributes that decode to the same values. A
dump's peers, encoded as changes in messages of any size, stay within that size and decode to the same peers.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

from wgjit.drivers.capture.queue_messages import CONFIG, PACKET, VERDICT, MessageKind, held
from wgjit.drivers.netlink.codec import (
    NLMSG_DONE,
    NLMSG_ERROR,
    Message,
    Table,
    decode_verdict,
    encode_message,
    split_messages,
)
from wgjit.drivers.netlink.generic import CONTROLLER, MESSAGE_HEADERS, attributes_of
from wgjit.drivers.netlink.netfilter import content
from wgjit.drivers.netlink.route import ADDRESS, LINK, ROUTE
from wgjit.drivers.strays import reports
from wgjit.drivers.wireguard.kernel.messages import (
    DEVICE,
    PEER,
    WG_CMD_GET_DEVICE,
    cut_a_peer,
    decode_interface,
    decode_peers,
    encode_changes,
    ends_early,
    is_disturbed,
)
from wgjit.errors import MalformedAnswer
from wgjit.model import DevicePeer, PeerChange

_TABLES: Final = (DEVICE, PEER, CONTROLLER, PACKET, VERDICT, CONFIG, LINK, ADDRESS, ROUTE)
_GENERIC: Final = 30
_QUEUE_SUBSYSTEM: Final = MessageKind.PACKET >> 8
_LOG_SUBSYSTEM: Final = reports.PACKET >> 8
_LIMITS: Final = (512, 4096)
"""Bytes in a message: one that few peers fill, and one of a realistic size."""

# Names of ours, a number of ours, and no place for anything of theirs.
_SILENT: Final = re.compile(
    r"(netlink|netfilter|nfnetlink_queue|nfnetlink_log): [A-Za-z_ ,:'-]+(0x[0-9a-f]{1,4} is no packet)?"
)


def check(data: bytes) -> None:
    """Hold one input to the invariant."""
    messages: list[Message] = []
    _try(lambda: messages.extend(split_messages(data)))
    for message in messages:
        assert message.body in data
        assert list(split_messages(_encoded(message))) == [message]
        if message.kind in (NLMSG_ERROR, NLMSG_DONE):
            _check_verdict(message)
        elif message.kind >> 8 == _QUEUE_SUBSYSTEM:
            _check_queue(message)
        elif message.kind >> 8 == _LOG_SUBSYSTEM:
            _check_log(message)
        else:
            _check_device(message)
    others = (_QUEUE_SUBSYSTEM, _LOG_SUBSYSTEM)
    dump = [message for message in messages if message.kind >> 8 not in others and message.kind > NLMSG_DONE]
    peers: list[DevicePeer] = []
    _try(lambda: peers.extend(decode_peers(dump)))
    _check_changes(peers)
    for table in _TABLES:
        _check_table(table, data)


def _try(decode: Callable[[], Any]) -> Any:
    """What it gives, or None if it is malformed."""
    try:
        return decode()
    except MalformedAnswer as error:
        assert _SILENT.fullmatch(str(error)), f"a text that may tell what was in the message: {error}"
        return None


def _encoded(message: Message) -> bytes:
    """`encode_message` marks all that it writes as a request: so the flags are put back."""
    raw = bytearray(encode_message(message.kind, 0, message.sequence, message.body))
    raw[6:8] = message.flags.to_bytes(2, sys.byteorder)
    return bytes(raw)


def _check_verdict(message: Message) -> None:
    if (verdict := _try(lambda: decode_verdict(message))) is not None:
        number, text = verdict
        assert -(1 << 31) < number <= 1 << 31
        assert not text.endswith("\0")


def _check_queue(message: Message) -> None:
    if (packet := _try(lambda: held(message))) is None:
        return
    assert message.kind == MessageKind.PACKET
    assert packet.packet in message.body
    assert 0 <= packet.id < 1 << 32 > packet.ifindex >= 0
    assert PACKET.decode(content(message))["header"][0] == packet.id


def _check_log(message: Message) -> None:
    ends = _try(lambda: reports.ends(message))
    for end in ends or ():
        assert end.address in message.body
        assert len(end.address) in (4, 16)
        assert end.port.to_bytes(2, "big") in message.body


def _check_device(message: Message) -> None:
    _try(lambda: decode_interface(message))
    ended, cut = _try(lambda: ends_early(message)), _try(lambda: cut_a_peer(message))
    assert ended in (True, False, None)
    assert not (ended and cut)
    assert is_disturbed(message) in (True, False)
    fields = _try(lambda: DEVICE.decode(attributes_of(message))) or {}
    for entry in fields.get("peers", ()):
        _check_table(PEER, entry)


def _check_changes(peers: Sequence[DevicePeer]) -> None:
    changes = [
        PeerChange(
            peer.public_key,
            preshared_key=peer.preshared_key,
            endpoint=peer.endpoint,
            keepalive=peer.keepalive,
            allowed_ips=peer.allowed_ips,
        )
        for peer in peers
    ]
    for limit in _LIMITS:
        dump = []
        for attributes in encode_changes("wg0", changes, limit):
            assert len(attributes) + MESSAGE_HEADERS <= limit
            dump.append(Message(_GENERIC, 0, 1, bytes([WG_CMD_GET_DEVICE, 1, 0, 0]) + attributes))
        seen: dict[bytes, DevicePeer] = {}
        for piece in decode_peers(dump):  # a peer told again goes on: changes carry no mark of a beginning
            known = seen.get(piece.public_key)
            seen[piece.public_key] = piece if known is None else known
        for peer in {peer.public_key: peer for peer in reversed(peers)}.values():
            found = seen[peer.public_key]
            assert found.endpoint == peer.endpoint
            assert found.preshared_key == peer.preshared_key
            assert found.keepalive == peer.keepalive
            assert found.allowed_ips[: len(peer.allowed_ips)] == peer.allowed_ips


def _check_table(table: Table, attributes: bytes) -> None:
    if fields := _try(lambda: table.decode(attributes)):
        assert table.decode(table.encode(fields)) == fields

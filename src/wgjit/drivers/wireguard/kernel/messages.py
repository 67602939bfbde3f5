"""The generic netlink family "wireguard" as values: three tables, and the messages to set and to read a device.

Source: include/uapi/linux/wireguard.h (attributes, and the rules for long lists), drivers/net/wireguard/netlink.c (the
form of an interrupted dump). Pure: no socket, no clock.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from wgjit.drivers.netlink.codec import (
    ATTRIBUTE_HEADER,
    NLM_F_DUMP_INTR,
    RAW,
    TEXT,
    U8,
    U16,
    U32,
    U64,
    Codec,
    Message,
    Table,
    array,
    exactly,
)
from wgjit.drivers.netlink.generic import MESSAGE_HEADERS, attributes_of
from wgjit.drivers.wireguard.kernel import dump as wg_fixed
from wgjit.drivers.wireguard.recall import Recall
from wgjit.errors import MalformedAnswer
from wgjit.model import AllowedIP, DeviceInfo, DevicePeer, Endpoint, PeerChange, PresharedKey, PrivateKey, PublicKey

FAMILY, VERSION = "wireguard", 1
WG_CMD_GET_DEVICE, WG_CMD_SET_DEVICE = 0, 1
WGDEVICE_F_REPLACE_PEERS = 1
WGPEER_F_REMOVE_ME, WGPEER_F_REPLACE_ALLOWEDIPS, WGPEER_F_UPDATE_ONLY = 1, 2, 4

MESSAGE_LIMIT = 8 * 1024
"""Greatest size of a sent message, bytes: some 50 peers. The kernel holds the RTNL lock for the whole message, 0.1 ms
or more for each new peer. A longer message saves nothing that can be measured, and all other network configuration
waits longer."""

AF_INET, AF_INET6 = int(socket.AF_INET), int(socket.AF_INET6)
_SOCKADDR_IN = struct.Struct("=H2s4s8x")  # family, port in network order, address
_SOCKADDR_IN6 = struct.Struct("=H2sI16sI")  # family, port in network order, flow info, address, scope
_TIMESPEC = struct.Struct("=qq")


def _pack_endpoint(endpoint: Endpoint) -> bytes:
    """struct sockaddr_in or sockaddr_in6."""
    address, port, scope = endpoint
    if len(address) == 4:
        return _SOCKADDR_IN.pack(AF_INET, port.to_bytes(2, "big"), address)
    return _SOCKADDR_IN6.pack(AF_INET6, port.to_bytes(2, "big"), 0, address, scope)


def _unpack_endpoint(content: bytes) -> Endpoint:
    family = int.from_bytes(content[:2], sys.byteorder)
    if family == AF_INET:
        _, port, address = _SOCKADDR_IN.unpack(content)
        return Endpoint(address, int.from_bytes(port, "big"))
    if family == AF_INET6:
        _, port, _, address, scope = _SOCKADDR_IN6.unpack(content)
        return Endpoint(address, int.from_bytes(port, "big"), scope)
    raise ValueError


ALLOWED_IP = Table("allowed IP", {1: ("family", U16), 2: ("address", RAW), 3: ("prefix_length", U8)})


def _head_of_prefix(family: int, address: int) -> bytes:
    """An allowed IP of this family up to its address, which has `address` bytes."""
    values = {"family": family, "address": bytes(address), "prefix_length": 0}
    return ALLOWED_IP.encode(values)[: -address - 2 * ATTRIBUTE_HEADER]


_HEAD4, _HEAD6 = _head_of_prefix(AF_INET, 4), _head_of_prefix(AF_INET6, 16)
_ENDS = [ALLOWED_IP.encode({"prefix_length": length}) for length in range(256)]
"""The bytes after the address, by prefix length. The kernel checks whether the length is valid."""


def _pack_allowed_ip(prefix: AllowedIP) -> bytes:
    """An allowed IP as the table writes it, but made of prepared parts, since each install has at least one."""
    address = prefix.network_address.packed
    if prefix.version == 4:
        return _HEAD4 + address + _ENDS[prefix.prefixlen]
    return _HEAD6 + address + _ENDS[prefix.prefixlen]


def _unpack_allowed_ip(content: bytes) -> AllowedIP:
    return wg_fixed.allowed_ip(content) or _unpack_any_allowed_ip(content)


def _unpack_any_allowed_ip(content: bytes) -> AllowedIP:
    fields = ALLOWED_IP.decode(content)
    if len(fields) != 3:
        raise ValueError
    address, length = fields["address"], fields["prefix_length"]
    if fields["family"] == AF_INET and len(address) == 4:
        return ipaddress.IPv4Network((address, length))
    if fields["family"] == AF_INET6 and len(address) == 16:
        return ipaddress.IPv6Network((address, length))
    raise ValueError


KEY = exactly(32)

PEER = Table(
    "peer",
    {
        1: ("public_key", KEY),
        2: ("preshared_key", KEY),
        3: ("flags", U32),
        4: ("endpoint", Codec(_pack_endpoint, _unpack_endpoint)),
        5: ("keepalive", U16),
        6: ("last_handshake", Codec(lambda pair: _TIMESPEC.pack(*pair), _TIMESPEC.unpack)),
        7: ("rx_bytes", U64),
        8: ("tx_bytes", U64),
        9: ("allowed_ips", array(Codec(_pack_allowed_ip, _unpack_allowed_ip))),
    },
)

DEVICE = Table(
    "device",
    {
        1: ("index", U32),
        2: ("name", TEXT),
        3: ("private_key", KEY),
        5: ("flags", U32),
        6: ("listen_port", U16),
        7: ("fwmark", U32),
        8: ("peers", array(RAW)),  # each for the table PEER; left packed, so that the interface is read without them
    },
)


# --- WG_CMD_SET_DEVICE ----------------------------------------------------------------------------------------

_LARGEST_ALLOWED_IP = ATTRIBUTE_HEADER + len(_pack_allowed_ip(ipaddress.IPv6Network("::/0")))
_LARGEST_PEER = ATTRIBUTE_HEADER + len(  # without allowed IPs
    PEER.encode(
        {
            "public_key": bytes(32),
            "flags": 0,
            "preshared_key": bytes(32),
            "endpoint": Endpoint(bytes(16), 0),
            "keepalive": 0,
            "allowed_ips": (),
        }
    )
)


def encode_interface(
    name: str, private_key: PrivateKey | None = None, listen_port: int | None = None, replace_peers: bool = False
) -> bytes:
    """The attributes that set the interface's own key and port, and with `replace_peers` remove all peers."""
    values: dict[str, Any] = {"name": name}
    if replace_peers:
        values["flags"] = WGDEVICE_F_REPLACE_PEERS
    if private_key is not None:
        values["private_key"] = private_key.reveal()
    if listen_port is not None:
        values["listen_port"] = listen_port
    return DEVICE.encode(values)


def encode_changes(name: str, changes: Sequence[PeerChange], limit: int = MESSAGE_LIMIT) -> Iterator[bytes]:
    """The attributes of the messages that make the changes in order. Each message has at most `limit` bytes."""
    head = DEVICE.encode({"name": name})
    room = limit - MESSAGE_HEADERS - len(head) - ATTRIBUTE_HEADER
    batch: list[bytes] = []
    size = 0
    for change in changes:
        for piece in _encode_change(change, room):
            if size + len(piece) + ATTRIBUTE_HEADER > room:
                yield head + DEVICE.encode({"peers": batch})
                batch, size = [], 0
            batch.append(piece)
            size += len(piece) + ATTRIBUTE_HEADER
    if batch:
        yield head + DEVICE.encode({"peers": batch})


def _encode_change(change: PeerChange, room: int) -> Iterator[bytes]:
    """A peer's entry, or several entries if its allowed IPs do not fit into one message."""
    key = change.public_key
    if change.remove:
        yield PEER.encode({"public_key": key, "flags": WGPEER_F_REMOVE_ME})
        return
    allowed_ips = change.allowed_ips
    flags = WGPEER_F_UPDATE_ONLY if change.update_only else 0
    if allowed_ips is not None:
        flags |= WGPEER_F_REPLACE_ALLOWEDIPS
    values: dict[str, Any] = {"public_key": key}
    if flags:
        values["flags"] = flags
    if change.preshared_key is not None:
        values["preshared_key"] = change.preshared_key.reveal()
    if change.endpoint is not None:
        values["endpoint"] = change.endpoint
    if change.keepalive is not None:
        values["keepalive"] = change.keepalive
    allowed_ips = (*(allowed_ips or ()), *change.more_allowed_ips)
    if not allowed_ips:
        yield PEER.encode(values)
        return
    at_once = (room - _LARGEST_PEER) // _LARGEST_ALLOWED_IP
    values["allowed_ips"] = allowed_ips[:at_once]
    yield PEER.encode(values)
    for start in range(at_once, len(allowed_ips), at_once):
        # Update-only: if the first piece found no peer, or the peer was removed since, this piece must not make it.
        more = allowed_ips[start : start + at_once]
        yield PEER.encode({"public_key": key, "flags": WGPEER_F_UPDATE_ONLY, "allowed_ips": more})


# --- WG_CMD_GET_DEVICE ----------------------------------------------------------------------------------------


def encode_query(name: str) -> bytes:
    """The attributes that ask for a device."""
    return DEVICE.encode({"name": name})


def decode_interface(message: Message) -> DeviceInfo:
    """The interface itself, from the first message of a dump; later messages do not have it. Raises MalformedAnswer."""
    fields = DEVICE.decode(attributes_of(message))
    try:
        private_key = fields.get("private_key")
        return DeviceInfo(
            name=fields["name"],
            index=fields["index"],
            private_key=PrivateKey(private_key) if private_key and any(private_key) else None,
            listen_port=fields["listen_port"],
            fwmark=fields.get("fwmark", 0),
        )
    except KeyError as error:
        raise MalformedAnswer(f"netlink: device: attribute {error} is missing") from None


def is_disturbed(message: Message) -> bool:
    """Whether the device was changed between the message before and this one (the kernel's NLM_F_DUMP_INTR)."""
    return bool(message.flags & NLM_F_DUMP_INTR)


def ends_early(message: Message) -> bool:
    """Whether a disturbed message, not a dump's first, shows that the dump ended too early.

    Most changes lose no peer: the kernel walks a list, and adds new peers at its end. But if the peer at which the walk
    stands is removed, the dump ends there, with a message that has no peers at all. Raises MalformedAnswer.
    """
    return not DEVICE.decode(attributes_of(message)).get("peers")


def cut_a_peer(message: Message) -> bool:
    """Whether a disturbed message, not a dump's first, left out a part of a peer.

    If any allowed IP changes while a peer is split over two messages, the kernel leaves out the rest of that peer. The
    message begins with the split peer or, if that peer was removed, with the next peer, and has little of it. Raises
    MalformedAnswer.
    """
    entries = DEVICE.decode(attributes_of(message)).get("peers", ())
    return any(not _begins(PEER.decode(entry)) for entry in entries[:1])


Places = Recall[dict[str, Any]]
"""Endpoint and allowed IPs of a peer's entry, by the bytes that they were decoded from."""


def decode_peers(messages: Iterable[Message], recall: Places | None = None) -> Iterator[DevicePeer]:
    """The peers of one dump; `recall` has values of the last dump. Raises MalformedAnswer.

    If a peer's allowed IPs do not fit into a message, the kernel splits the peer: the next message goes on with its key
    and more allowed IPs. A disturbed dump may have a peer twice, if the peer was removed and added again at the end of
    the list. A peer of which the dump lacks a part is not whole.
    """
    recall = Recall() if recall is None else recall
    recall.begin()
    last: dict[str, Any] | None = None  # the next entry may continue this peer
    for message in messages:
        for entry in DEVICE.decode(attributes_of(message)).get("peers", ()):
            fields = _decode_peer(entry, recall)
            goes_on = not _begins(fields)
            if goes_on and is_disturbed(message):
                fields["is_whole"] = False
                if last is not None:
                    last["is_whole"] = False
            if last is not None and goes_on and fields.get("public_key") == last["public_key"]:
                last["allowed_ips"] = (*last.get("allowed_ips", ()), *fields.get("allowed_ips", ()))
                continue
            if last is not None:
                yield _resident(last)
            if "public_key" not in fields:
                raise MalformedAnswer("netlink: peer: attribute public_key is missing")
            last = fields
    if last is not None:
        yield _resident(last)


def _decode_peer(entry: bytes, recall: Places) -> dict[str, Any]:
    """As the table PEER, but much faster for entries in the kernel's order. Raises MalformedAnswer."""
    fields = wg_fixed.peer_fields(entry)
    return PEER.decode(entry) if fields is None else fields | recall.get(entry[wg_fixed.LENGTH :], _decode_places)


def _decode_places(rest: bytes) -> dict[str, Any]:
    fields = PEER.decode(rest)
    if "allowed_ips" in fields:
        fields["allowed_ips"] = tuple(fields["allowed_ips"])  # shared by all dumps that have it
    return fields


def _begins(fields: dict[str, Any]) -> bool:
    """Whether an entry is the first of its peer: only there the kernel writes the last handshake, even a zero."""
    return "last_handshake" in fields


def _resident(fields: dict[str, Any]) -> DevicePeer:
    preshared_key = fields.get("preshared_key")
    seconds, nanoseconds = fields.get("last_handshake", (0, 0))
    return DevicePeer(
        PublicKey(fields["public_key"]),
        tuple(fields.get("allowed_ips", ())),
        PresharedKey(preshared_key) if preshared_key and any(preshared_key) else None,
        fields.get("endpoint"),
        fields.get("keepalive", 0),
        seconds + nanoseconds / 1_000_000_000,
        fields.get("rx_bytes", 0),
        fields.get("tx_bytes", 0),
        fields.get("is_whole", True),
    )

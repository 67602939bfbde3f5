"""The text protocol of userspace WireGuard: operations are written, answers are read line by line. No socket.

Source: https://www.wireguard.com/xplatform/#cross-platform-userspace-implementation. Keys are hex here. For any answer,
reading raises only MalformedAnswer, or OSError with the errno at the answer's end. No error text holds a value, since a
value may be a key.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

from wgjit.errors import MalformedAnswer
from wgjit.model import DeviceInfo, DevicePeer, Endpoint, PeerChange, PresharedKey, PrivateKey, PublicKey
from wgjit.wire.addresses import parse_prefix

GET = b"get=1\n\n"

_LONGEST_LINE = 1024
"""Bytes. The longest line today, with a key, has 80."""

Pair = tuple[str, str]
"""One line `key=value`."""


# --- operations -----------------------------------------------------------------------------------------------


def encode_interface(private_key: PrivateKey | None = None, listen_port: int | None = None) -> bytes:
    """The operation that sets the interface's own key and port."""
    lines = ["set=1"]
    if private_key is not None:
        lines.append(f"private_key={private_key.reveal().hex()}")
    if listen_port is not None:
        lines.append(f"listen_port={listen_port}")
    return _finish(lines)


def encode_changes(changes: Iterable[PeerChange]) -> bytes:
    """The operation that makes the changes, in order."""
    lines = ["set=1"]
    for change in changes:
        lines.append(f"public_key={change.public_key.hex()}")
        if change.remove:
            lines.append("remove=true")
            continue
        if change.update_only:
            lines.append("update_only=true")
        if change.preshared_key is not None:
            lines.append(f"preshared_key={change.preshared_key.reveal().hex()}")
        if change.endpoint is not None:
            lines.append(f"endpoint={change.endpoint}")
        if change.keepalive is not None:
            lines.append(f"persistent_keepalive_interval={change.keepalive}")
        if change.allowed_ips is not None:
            lines.append("replace_allowed_ips=true")
            lines.extend([f"allowed_ip={prefix}" for prefix in change.allowed_ips])
        lines.extend([f"allowed_ip={prefix}" for prefix in change.more_allowed_ips])
    return _finish(lines)


def _finish(lines: list[str]) -> bytes:
    return ("\n".join(lines) + "\n\n").encode()


# --- answers --------------------------------------------------------------------------------------------------


def read_answer(stream: BinaryIO) -> Iterator[Pair]:
    """The lines of one answer up to its `errno`, with which every answer ends. Raises OSError if the errno is not 0.

    Raises ConnectionResetError if the stream ends before the answer does, MalformedAnswer.
    """
    while True:
        line = stream.readline(_LONGEST_LINE)
        if not line:
            raise ConnectionResetError
        key, equals, value = line.rstrip(b"\n").decode(errors="replace").partition("=")
        if not (equals and key and line.endswith(b"\n")):
            raise MalformedAnswer("UAPI: a line that is not key=value")
        if key != "errno":
            yield key, value
            continue
        number = _number(key, value.removeprefix("-"), 4096)  # wireguard-go writes it negative, other programs positive
        stream.readline(_LONGEST_LINE)  # the empty line after it
        if number:
            raise OSError(number, "")
        return


def read_interface(name: str, index: int, answer: Iterable[Pair]) -> DeviceInfo:
    """The interface itself, whose lines come before its peers. Raises MalformedAnswer."""
    private_key, numbers = bytes(32), {"listen_port": 0, "fwmark": 0}
    for key, value in answer:
        if key == "public_key":
            break
        if key == "private_key":
            private_key = _key(key, value)
        elif key in numbers:
            numbers[key] = _number(key, value, 0xFFFF if key == "listen_port" else 0xFFFFFFFF)
    sealed = PrivateKey(private_key) if any(private_key) else None
    return DeviceInfo(name, index, sealed, numbers["listen_port"], numbers["fwmark"])


def read_peers(answer: Iterable[Pair]) -> Iterator[DevicePeer]:
    """The peers, each as soon as it is whole. Raises MalformedAnswer."""
    fields: dict[str, Any] | None = None
    for key, value in answer:
        if key == "public_key":
            if fields is not None:
                yield _resident(fields)
            fields = {"public_key": _key(key, value), "allowed_ips": []}
        elif fields is None:
            continue
        elif key == "allowed_ip":
            try:
                fields["allowed_ips"].append(parse_prefix(value))
            except ValueError:
                raise MalformedAnswer("UAPI: allowed_ip: not a prefix") from None
        elif key == "preshared_key":
            fields[key] = _key(key, value)
        elif key == "endpoint":
            fields[key] = read_endpoint(value)
        elif key in _LIMITS:
            fields[key] = _number(key, value, _LIMITS[key])
    if fields is not None:
        yield _resident(fields)


_LIMITS = {
    "persistent_keepalive_interval": 0xFFFF,
    "last_handshake_time_sec": 0x7FFFFFFFFFFFFFFF,
    "last_handshake_time_nsec": 999_999_999,
    "rx_bytes": 0xFFFFFFFFFFFFFFFF,
    "tx_bytes": 0xFFFFFFFFFFFFFFFF,
}


def _resident(fields: dict[str, Any]) -> DevicePeer:
    preshared_key = fields.get("preshared_key", bytes(32))
    return DevicePeer(
        PublicKey(fields["public_key"]),
        tuple(fields["allowed_ips"]),
        PresharedKey(preshared_key) if any(preshared_key) else None,
        fields.get("endpoint"),
        fields.get("persistent_keepalive_interval", 0),
        fields.get("last_handshake_time_sec", 0) + fields.get("last_handshake_time_nsec", 0) / 1_000_000_000,
        fields.get("rx_bytes", 0),
        fields.get("tx_bytes", 0),
    )


def _key(name: str, text: str) -> bytes:
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raw = b""
    if len(raw) != 32:
        raise MalformedAnswer(f"UAPI: {name}: not 64 hex digits")
    return raw


def _number(name: str, text: str, limit: int) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= limit):
        raise MalformedAnswer(f"UAPI: {name}: not a number from 0 to {limit}")
    return int(text)


def read_endpoint(text: str) -> Endpoint:
    """The endpoint of a peer. Raises MalformedAnswer.

    This is not Endpoint.parse, which is for people: a peer may have sent from port 0.
    """
    host, _, port_text = text.rpartition(":")
    port = _number("endpoint port", port_text, 0xFFFF)
    host, _, zone = host.removeprefix("[").removesuffix("]").partition("%")
    try:
        address = ipaddress.ip_address(host)
        if zone and address.version == 4:
            raise ValueError
        return Endpoint(address.packed, port, _scope(zone))
    except ValueError:
        raise MalformedAnswer("UAPI: endpoint: not an address and port") from None


def _scope(zone: str) -> int:
    if zone.isascii() and zone.isdigit():
        return int(zone[:10])
    try:
        return socket.if_nametoindex(zone) if zone else 0
    except OSError:
        return 0  # the interface is gone, or in another namespace, which is no reason to lose the peer

"""Decodes all peers of an answer in memory, faster than `messages.read_peers`, which reads line by line.

wireguard-go writes a peer's lines in one order (`IpcGetOperation` in device/uapi.go). One regular expression decodes an
entry in this order. Any other entry is decoded line by line. Tests check that both give the same values.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from binascii import unhexlify
from collections.abc import Iterator
from io import BytesIO
from typing import Final

from wgjit.drivers.wireguard.recall import Recall
from wgjit.drivers.wireguard.userspace.messages import read_answer, read_endpoint, read_peers
from wgjit.errors import MalformedAnswer
from wgjit.model import AllowedIP, DevicePeer, Endpoint, PresharedKey, PublicKey

Prefixes = Recall[tuple[AllowedIP, ...]]

END: Final = b"\n\n"
"""The last bytes of an answer, which has no other empty line."""

_BEGIN: Final = b"\npublic_key="
_PEER: Final = re.compile(
    rb"([0-9a-f]{64})\n"
    rb"preshared_key=([0-9a-f]{64})\n"
    rb"protocol_version=1\n"
    rb"(?:endpoint=(?:([0-9.]{7,15}):([0-9]{1,5})|([^\n]{1,100}))\n)?"
    rb"last_handshake_time_sec=([0-9]{1,18})\n"
    rb"last_handshake_time_nsec=([0-9]{1,9})\n"
    rb"tx_bytes=([0-9]{1,18})\n"
    rb"rx_bytes=([0-9]{1,18})\n"
    rb"persistent_keepalive_interval=([0-9]{1,5})\n"
    rb"((?:allowed_ip=[^\n]+\n)*)"
)
_NONE: Final = b"0" * 64
_ALLOWED_IP: Final = b"allowed_ip="


def read_dump(answer: bytes, recall: Prefixes | None = None) -> Iterator[DevicePeer]:
    """The peers of a whole answer to `get`, each decoded when it is asked for.

    `recall` has allowed IPs of the last answer. Raises MalformedAnswer. Before the first peer this raises what
    `read_answer` raises, if the answer ends with an errno other than 0 or without one.
    """
    body, found, errno = (b"\n" + answer).partition(b"\nerrno=")
    for _ in read_answer(BytesIO(b"errno=" + errno if found else answer)):
        pass  # raises an error, unless this is the errno and is 0
    recall = Recall() if recall is None else recall
    recall.begin()
    _, *entries = body.split(_BEGIN)
    for entry in entries:
        lines = entry + b"\n"
        peer = read_entry(lines, recall)
        if peer is not None:
            yield peer
        else:
            yield from read_peers(read_answer(BytesIO(_BEGIN[1:] + lines + b"errno=0\n\n")))


def read_entry(lines: bytes, recall: Prefixes) -> DevicePeer | None:
    """The peer of these lines, which begin after `public_key=`; None if they are in another order, or wrong."""
    match = _PEER.fullmatch(lines)
    if match is None:
        return None
    key, preshared, host, port, other, seconds, nanoseconds, sent, received, keepalive, prefixes = match.groups()
    try:
        return DevicePeer(
            PublicKey(unhexlify(key)),
            recall.get(prefixes, _prefixes),
            None if preshared == _NONE else PresharedKey(unhexlify(preshared)),
            _endpoint(host, port) if host else read_endpoint(other.decode("ascii")) if other else None,
            _within(int(keepalive), 0xFFFF),
            int(seconds) + int(nanoseconds) / 1_000_000_000,
            int(received),
            int(sent),
        )
    except (ValueError, OSError, MalformedAnswer):
        return None  # the other reader raises the error


def _endpoint(host: bytes, port: bytes) -> Endpoint:
    return Endpoint(socket.inet_pton(socket.AF_INET, host.decode()), _within(int(port), 0xFFFF))


def _prefixes(lines: bytes) -> tuple[AllowedIP, ...]:
    return tuple([_prefix(line) for line in lines.split(b"\n")[:-1]])


def _prefix(line: bytes) -> AllowedIP:
    address, slash, length = line.removeprefix(_ALLOWED_IP).decode("ascii").partition("/")
    if not (slash and length.isdigit()):
        raise ValueError
    if ":" in address:
        return ipaddress.IPv6Network((socket.inet_pton(socket.AF_INET6, address), int(length)))
    return ipaddress.IPv4Network((socket.inet_pton(socket.AF_INET, address), int(length)))


def _within(number: int, limit: int) -> int:
    if number > limit:
        raise ValueError
    return number

"""Netfilter's netlink messages: bytes <-> values, and the socket they travel by. The codec half is pure.

A message is `struct nlmsghdr`, `struct nfgenmsg`, then attributes (linux/netlink.h, linux/netfilter/nfnetlink.h).
Headers are in host byte order; numbers inside netfilter's attributes and the resource id are big-endian.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

from wgjit.errors import CaptureError, NotPermitted

NETLINK_NETFILTER = 12
NFPROTO_INET = 1

NLM_F_REQUEST = 0x1
NLM_F_ACK = 0x4
NLM_F_CREATE = 0x400
NLMSG_ERROR = 2
NLMSG_DONE = 3

_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_GENERIC = struct.Struct(">BBH")  # family, version, resource id
_ATTRIBUTE = struct.Struct("=HH")  # length, type
_ERRNO = struct.Struct("=i")
_TYPE_MASK = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER
_NESTED = 0x8000


class Message(NamedTuple):
    """One message as received. `kind` is subsystem << 8 | message, or an NLMSG_ number with empty attributes."""

    kind: int
    sequence: int
    resource: int = 0
    attributes: dict[int, bytes] = {}  # noqa: RUF012 # a NamedTuple's default; nobody writes to it
    errno: int = 0
    """Of an NLMSG_ERROR: positive; 0 is the acknowledgement."""


def attribute(kind: int, payload: bytes) -> bytes:
    """One attribute, padded to four bytes."""
    length = _ATTRIBUTE.size + len(payload)
    return _ATTRIBUTE.pack(length, kind) + payload + bytes(-length % 4)


def nested(kind: int, *attributes: bytes) -> bytes:
    """An attribute that holds attributes."""
    return attribute(kind | _NESTED, b"".join(attributes))


def text(kind: int, value: str) -> bytes:
    """A NUL-terminated string attribute."""
    return attribute(kind, value.encode() + b"\0")


def encode(kind: int, payload: bytes = b"", *, family: int = 0, resource: int = 0, flags: int = 0) -> bytes:
    """A request without a sequence number; `sequenced` gives it one."""
    length = _HEADER.size + _GENERIC.size + len(payload)
    header = _HEADER.pack(length, kind, NLM_F_REQUEST | flags, 0, 0)
    return header + _GENERIC.pack(family, 0, resource) + payload


def sequenced(message: bytes, sequence: int) -> bytes:
    """The same message with its sequence number set."""
    return message[:8] + struct.pack("=I", sequence) + message[12:]


def attributes(payload: bytes) -> dict[int, bytes]:
    """Attributes by type; of a repeated one the last. Raises CaptureError if one is cut short."""
    found: dict[int, bytes] = {}
    offset, end = 0, len(payload)
    while end - offset >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(payload, offset)
        if length < _ATTRIBUTE.size or offset + length > end:
            raise CaptureError(f"netlink attribute {kind & _TYPE_MASK}: {length} bytes, {end - offset} are left")
        found[kind & _TYPE_MASK] = payload[offset + _ATTRIBUTE.size : offset + length]
        offset += length + (-length % 4)
    if offset < end:
        raise CaptureError(f"netlink attribute: {end - offset} stray bytes")
    return found


def decode(datagram: bytes) -> Iterator[Message]:
    """The messages of one datagram. Raises CaptureError where one is cut short."""
    offset, end = 0, len(datagram)
    while offset < end:
        if end - offset < _HEADER.size:
            raise CaptureError(f"netlink message: {end - offset} stray bytes")
        length, kind, _, sequence, _ = _HEADER.unpack_from(datagram, offset)
        body = datagram[offset + _HEADER.size : offset + length]
        if length < _HEADER.size or offset + length > end:
            raise CaptureError(f"netlink message: {length} bytes, {end - offset} are there")
        if kind == NLMSG_ERROR:
            if len(body) < _ERRNO.size:
                raise CaptureError("netlink error message: cut short")
            yield Message(kind, sequence, errno=-_ERRNO.unpack_from(body)[0])
        elif kind <= 0xFF:
            yield Message(kind, sequence)
        else:
            if len(body) < _GENERIC.size:
                raise CaptureError("netfilter message: cut short")
            resource = _GENERIC.unpack_from(body)[2]
            yield Message(kind, sequence, resource, attributes(body[_GENERIC.size :]))
        offset += length + (-length % 4)


class NetfilterSocket:
    """A socket to netfilter. Raises NotPermitted, CaptureError."""

    def __init__(self) -> None:
        try:
            self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
        except OSError as error:
            raise CaptureError(
                f"netfilter socket: {error.strerror}; the kernel needs CONFIG_NETFILTER_NETLINK"
            ) from error
        self.socket.bind((0, 0))
        self._sequence = 0

    def request(self, *messages: bytes) -> list[Message]:
        """Send messages as one datagram; give the answers that came before the last acknowledgement asked for.

        The kernel answers while it takes the datagram, so nothing is waited for. Raises OSError with the kernel's
        errno if it refuses any of them.
        """
        asked: set[int] = set()
        datagram = b""
        for message in messages:
            self._sequence += 1
            if struct.unpack_from("=H", message, 6)[0] & NLM_F_ACK:
                asked.add(self._sequence)
            datagram += sequenced(message, self._sequence)
        first = self._sequence - len(messages) + 1
        self.socket.send(datagram)
        answers: list[Message] = []
        while asked:
            for answer in decode(self.socket.recv(65536, socket.MSG_DONTWAIT)):
                if answer.sequence < first:
                    continue  # a late answer to an earlier request that failed half-way
                if answer.errno:
                    raise OSError(answer.errno, os.strerror(answer.errno))
                if answer.kind == NLMSG_ERROR:
                    asked.discard(answer.sequence)
                else:
                    answers.append(answer)
        return answers

    def close(self) -> None:
        """Let go of it."""
        self.socket.close()


def refused(what: str, error: OSError, hint: str = "") -> CaptureError | NotPermitted:
    """The exception for a request that the kernel refused with this errno."""
    if isinstance(error, PermissionError):
        return NotPermitted(f"{what}: CAP_NET_ADMIN is missing; run as root")
    return CaptureError(f"{what}: {error.strerror}{hint and '; ' + hint}")

"""Netlink of netfilter: the header that its messages share, and the socket.

After `struct nlmsghdr` comes `struct nfgenmsg` (linux/netfilter/nfnetlink.h). Numbers inside netfilter's attributes are
big-endian, unlike netlink's own.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

from wgjit.drivers.capture.datagrams import Datagrams
from wgjit.drivers.netlink.codec import (
    NLM_F_ACK,
    NLMSG_DONE,
    NLMSG_ERROR,
    Message,
    decode_verdict,
    encode_message,
    integer,
    split_messages,
)
from wgjit.errors import CaptureError, MalformedAnswer, NotPermitted

NFPROTO_INET = 1
NLM_F_CREATE = 0x400
BE16, BE32, BE64 = integer(">H"), integer(">I"), integer(">Q")

_NETLINK_NETFILTER = 12
_HEADER = struct.Struct(">BBH")  # struct nfgenmsg: family, version, resource id
_RECEIVE = 16 * 1024


class Request(NamedTuple):
    """A message to be sent. It has no sequence number yet."""

    kind: int
    """Subsystem << 8 | message of the subsystem."""
    body: bytes
    flags: int = 0


def request(kind: int, attributes: bytes = b"", *, family: int = 0, resource: int = 0, flags: int = 0) -> Request:
    """A request with netfilter's header; the resource id is a queue's number, or a batch's subsystem."""
    return Request(kind, _HEADER.pack(family, 0, resource) + attributes, flags)


def content(message: Message) -> bytes:
    """The attributes of a netfilter message. Raises MalformedAnswer."""
    if len(message.body) < _HEADER.size:
        raise MalformedAnswer("netfilter: a message ends inside its header")
    return message.body[_HEADER.size :]


class NetfilterSocket:
    """A socket to netfilter, in the network namespace of the thread that opens it. Opening raises CaptureError."""

    def __init__(self) -> None:
        try:
            self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
        except OSError as error:
            raise CaptureError(f"netfilter socket: {error.strerror}; the kernel needs nfnetlink") from error
        self.socket.bind((0, 0))
        self._sequence = 0

    def send(self, *requests: Request) -> int:
        """Send requests as one datagram. Returns the sequence number of the first. Raises OSError."""
        first = self._sequence + 1
        self._sequence += len(requests)
        numbered = (encode_message(r.kind, r.flags, first + step, r.body) for step, r in enumerate(requests))
        self.socket.send(b"".join(numbered))
        return first

    def send_prepared(self, datagram: bytes) -> None:
        """Send whole messages that need no answer. Raises OSError."""
        self.socket.send(datagram)

    def request(self, *requests: Request) -> list[Message]:
        """Send requests as one datagram. Returns the answers that came before the last requested acknowledgement.

        The kernel answers while it takes the datagram, so this does not wait. Raises OSError with the kernel's errno if
        it refuses any request, MalformedAnswer.
        """
        first = self.send(*requests)
        missing = {first + step for step, r in enumerate(requests) if r.flags & NLM_F_ACK}
        answers: list[Message] = []
        while missing:
            for answer in self.receive(_RECEIVE):
                if answer.sequence < first:
                    continue  # a late answer to an earlier request that failed half-way
                if answer.kind == NLMSG_ERROR:
                    if number := decode_verdict(answer)[0]:
                        raise OSError(number, os.strerror(number))
                    missing.discard(answer.sequence)
                else:
                    answers.append(answer)
        return answers

    def dump(self, request: Request) -> list[Message]:
        """Send a request that asks for a list, and return all of it.

        The kernel hands out the next part as soon as one is read, so this does not wait. Raises OSError,
        MalformedAnswer.
        """
        first = self.send(request)
        answers: list[Message] = []
        while True:
            for answer in self.receive(_RECEIVE):
                if answer.sequence < first:
                    continue  # a late answer to an earlier request that failed half-way
                if answer.kind == NLMSG_DONE:
                    return answers
                if answer.kind == NLMSG_ERROR:
                    number = decode_verdict(answer)[0]
                    raise OSError(number, os.strerror(number))
                answers.append(answer)

    def receive(self, size: int) -> Iterator[Message]:
        """The messages of the next waiting datagram. Raises BlockingIOError if none waits, OSError, MalformedAnswer.

        Any process may write to this socket's port, so a datagram that is not from the kernel is dropped.
        """
        data, (sender, _) = self.socket.recvfrom(size, socket.MSG_DONTWAIT)
        return split_messages(data) if sender == 0 else iter(())

    def receive_all(self, into: Datagrams, limit: int) -> list[bytes]:
        """Up to `limit` datagrams that wait, for `split_messages`. Raises BlockingIOError if none waits, OSError."""
        return into.receive(self.socket, limit)

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()


def refused(what: str, error: OSError, hint: str = "") -> CaptureError | NotPermitted:
    """The exception for a request that the kernel refused with this error."""
    if isinstance(error, PermissionError):
        return NotPermitted(f"{what}: CAP_NET_ADMIN is missing; run as root")
    return CaptureError(f"{what}: {error.strerror}{hint and '; ' + hint}")

"""A netlink socket: one request at a time, whose answer is told apart from late answers to earlier requests.

Errors of the kernel are OSErrors with the kernel's errno, and its extended acknowledgement as text (empty if it has
none). `drivers.wireguard.translate` turns them into wgjit's own errors. A socket belongs to the network namespace of
the thread that opened it, and one caller at a time uses it.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from wgjit.drivers.netlink.codec import (
    NLM_F_ACK,
    NLM_F_DUMP,
    NLMSG_DONE,
    NLMSG_ERROR,
    Message,
    accepts,
    decode_verdict,
    encode_message,
    split_messages,
)

_SOL_NETLINK, _NETLINK_CAP_ACK, _NETLINK_EXT_ACK = 270, 10, 11

_RECEIVE = 64 * 1024
"""Twice the kernel's greatest dump message, which grows with the receiver's buffer up to 32 KiB."""
_PATIENCE = struct.pack("@ll", 5, 0)
"""struct timeval. The kernel answers before `send` returns, so this time passes only if an answer was lost."""
_ATTEMPTS = 3


class NetlinkSocket:
    """Requests and dumps of one netlink protocol."""

    def __init__(self, protocol: int) -> None:
        """Open the socket. `protocol` is NETLINK_ROUTE, NETLINK_GENERIC and so on. Raises OSError."""
        self._sequence = 0
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        try:
            self._socket.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
            self._socket.setsockopt(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)
            # The socket's own timeout, because Python's settimeout would call poll before each call.
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _PATIENCE)
            self._socket.bind((0, 0))
        except OSError:
            self._socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the descriptor, which ends a running dump. A second call does nothing."""
        self._socket.close()

    def request(self, kind: int, body: bytes, flags: int = 0) -> list[Message]:
        """Send a request and wait for its acknowledgement. Returns the messages before it. Raises OSError.

        If the kernel could not queue the acknowledgement (ENOBUFS), the request may or may not be carried out, so it is
        sent again. A setting that is made twice is made once, and a thing to be created then exists (EEXIST).
        """
        for _ in range(_ATTEMPTS - 1):
            try:
                return self._request(kind, body, flags)
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
        return self._request(kind, body, flags)

    def dump(self, kind: int, body: bytes) -> Iterator[Message]:
        """Ask for a dump, and yield its messages as they come. Raises OSError, also for an error that ends the dump."""
        self._send(kind, NLM_F_DUMP, body)
        while True:
            for message in self._ours(self._receive_data()):
                if message.kind in (NLMSG_DONE, NLMSG_ERROR):
                    _check(message)
                    return
                yield message

    def _request(self, kind: int, body: bytes, flags: int) -> list[Message]:
        self._send(kind, flags | NLM_F_ACK, body)
        data = self._receive_data()
        if accepts(data, self._sequence):
            return []
        return self._answers(data)

    def _answers(self, data: bytes) -> list[Message]:
        """The messages before the acknowledgement of the last request; `data` is the first datagram."""
        answers: list[Message] = []
        while True:
            for message in self._ours(data):
                if message.kind == NLMSG_ERROR:
                    _check(message)
                    return answers
                answers.append(message)
            data = self._receive_data()

    def _send(self, kind: int, flags: int, body: bytes) -> None:
        self._sequence = self._sequence + 1 & 0xFFFFFFFF
        self._socket.send(encode_message(kind, flags, self._sequence, body))

    def _receive_data(self) -> bytes:
        """The next datagram. Empty if it is not from the kernel, since any process may write to this socket's port."""
        data, (sender, _) = self._socket.recvfrom(_RECEIVE)
        return data if sender == 0 else b""

    def _ours(self, data: bytes) -> Iterator[Message]:
        """The messages of a datagram that answer the last request."""
        for message in split_messages(data):
            if message.sequence == self._sequence:
                yield message


def _check(message: Message) -> None:
    number, text = decode_verdict(message)
    if number:
        raise OSError(number, text)

"""A connection to the socket of a userspace WireGuard. Operations are sent one after the other.

Every read and write has a time limit.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from pathlib import Path

from wgjit.drivers.wireguard.userspace.dump import END
from wgjit.drivers.wireguard.userspace.messages import Pair, read_answer
from wgjit.errors import MalformedAnswer

_TIMEOUT = 2.0
"""Seconds for connecting and for each read and write."""
_PART = 1 << 18
"""Bytes of a long answer that are read at once."""
_LONGEST_ANSWER = 1 << 32
"""Bytes, enough for ten million peers. A longer answer is damaged, and would fill the memory."""


class Connection:
    """One connection, for one operation at a time."""

    def __init__(self, path: Path) -> None:
        """Raises OSError."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.settimeout(_TIMEOUT)
            self._socket.connect(str(path))
            self._stream = self._socket.makefile("rb")
        except BaseException:
            self._socket.close()
            raise
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        self._is_quiet = True

    def ask(self, operation: bytes) -> Iterator[Pair]:
        """The answer's lines. Raises OSError, MalformedAnswer. Close the connection if you stop before the end."""
        self._is_quiet = False
        self._socket.sendall(operation)
        yield from read_answer(self._stream)
        self._is_quiet = True

    def ask_whole(self, operation: bytes) -> bytes:
        """The bytes of the whole answer. Raises OSError, DeviceError."""
        self._is_quiet = False
        self._socket.sendall(operation)
        answer = bytearray()
        while not answer.endswith(END):
            part = self._socket.recv(_PART)
            if not part:
                raise ConnectionResetError
            answer += part
            if len(answer) > _LONGEST_ANSWER:
                raise MalformedAnswer("UAPI: an answer without an end")
        self._is_quiet = True
        return bytes(answer)

    def is_quiet(self) -> bool:
        """Whether all operations are answered, no more bytes came, and the other end is still there."""
        return self._is_quiet and not self._poll.poll(0)

    def close(self) -> None:
        """Close the connection."""
        self._stream.close()
        self._socket.close()

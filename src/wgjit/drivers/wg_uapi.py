"""WireGuard in userspace (wireguard-go and its kin), through the Unix socket of its interface.

Contract: a call that got its whole answer leaves its connection to the next one, which an install by itself is the
quicker for (docs/PERFORMANCE.md); a connection that has ended is not used, so an interface that was ended and started
again is simply found again. Every read and write is waited for a bounded time.
"""

from __future__ import annotations

import errno
import select
import socket
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path

from wgjit.drivers.changes import check_changes, check_interface
from wgjit.drivers.translate import device_error
from wgjit.drivers.uapi import GET, Pair, encode_changes, encode_interface, read_answer, read_interface
from wgjit.drivers.uapi_dump import END, Prefixes, read_dump
from wgjit.errors import MalformedAnswer, NoSuchDevice
from wgjit.model import DeviceInfo, DevicePeer, PeerChange

SOCKETS = Path("/var/run/wireguard")
"""Where implementations put their sockets, NAME.sock for each interface: one folder for all network namespaces."""

_TIMEOUT = 2.0
"""Seconds for connecting and for each read and write."""
_PEERS_AT_ONCE = 64
"""Changes in one `set` operation: it is answered when all are made, and that must not take as long as the timeout."""
_PART = 1 << 18
"""Bytes read at once of a long answer."""
_LONGEST_ANSWER = 1 << 32
"""Bytes: ten million peers. What is longer is no answer, and would fill the memory."""
_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ECONNREFUSED, errno.ECONNRESET, errno.EPIPE}


class _Connection:
    """One connection, for one operation after the other."""

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
        """The answer's lines. Raises OSError, MalformedAnswer; whoever stops before the end must close."""
        self._is_quiet = False
        self._socket.sendall(operation)
        yield from read_answer(self._stream)
        self._is_quiet = True

    def ask_whole(self, operation: bytes) -> bytes:
        """The answer as it came. Raises OSError, DeviceError."""
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
        """All that was asked is answered, nothing more was said, and the other end is still there."""
        return self._is_quiet and not self._poll.poll(0)

    def close(self) -> None:
        self._stream.close()
        self._socket.close()


class UserspaceDevice:
    """Implements `wgjit.drivers.base.Device`. Its calls may come from any thread."""

    reads_ahead = True

    def __init__(self, name: str, folder: Path = SOCKETS) -> None:
        """Name the interface; whether something answers for it, `info` tells."""
        self.name = name
        self.path = folder / f"{name}.sock"
        self._recall = Prefixes()
        self._idle: deque[_Connection] = deque()
        """The connection of the last call. Who takes it has it alone: a call on another thread makes its own."""

    def info(self) -> DeviceInfo:
        """Keys and port. The protocol cannot leave the peers out, so it costs as much as they do to write."""
        with self._session() as connection:
            info = read_interface(self.name, 0, connection.ask(GET))
        try:
            return replace(info, index=socket.if_nametoindex(self.name))
        except OSError:
            raise NoSuchDevice(
                f"{self.name}: {self.path} answers, but this network namespace has no interface of that name"
            ) from None

    def peers(self, *, partial: bool = False) -> Iterator[DevicePeer]:
        """All residents. The implementation takes them in one go: its dumps are never interrupted.

        So does this, some 400 bytes a peer: what is left is decoding, for which nobody is waited for.
        """
        with self._session() as connection:
            answer = connection.ask_whole(GET)
            peers = read_dump(answer, self._recall)
            first = next(peers, None)  # an errno that is not 0 is a failure of this session
        if first is not None:
            yield first
            yield from peers

    def apply(self, changes: Sequence[PeerChange]) -> None:
        """Make changes in order; each operation is answered before the next, so a refusal stops what follows it."""
        check_changes(changes)
        rest = iter(changes)
        batches = iter(lambda: list(islice(rest, _PEERS_AT_ONCE)), [])
        self._set(encode_changes(batch) for batch in batches)

    def set_interface(self, private_key: bytes | None = None, listen_port: int | None = None) -> None:
        """Set key or port; an all-zero key takes the key away, port 0 lets the system choose."""
        key = check_interface(private_key, listen_port)
        self._set(iter([encode_interface(key, listen_port)]))

    def close(self) -> None:
        """Let the connection go; a call after it makes another."""
        while self._idle:
            self._idle.pop().close()

    def _set(self, operations: Iterator[bytes]) -> None:
        with self._session() as connection:
            for operation in operations:
                for _ in connection.ask(operation):
                    pass

    @contextmanager
    def _session(self) -> Iterator[_Connection]:
        """A connection for this call alone; what fails leaves as a DeviceError."""
        try:
            connection = self._take()
            try:
                yield connection
            except BaseException:
                connection.close()
                raise
            self._give_back(connection)
        except TimeoutError:
            raise device_error(errno.ETIMEDOUT, self.name) from None
        except ConnectionResetError:
            raise self._gone() from None
        except OSError as error:
            if error.errno in _GONE:
                raise self._gone() from None
            raise device_error(error.errno or errno.EIO, self.name, error.strerror or "") from None

    def _take(self) -> _Connection:
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return _Connection(self.path)
            if connection.is_quiet():
                return connection
            connection.close()

    def _give_back(self, connection: _Connection) -> None:
        if connection.is_quiet() and not self._idle:
            self._idle.append(connection)
        else:
            connection.close()

    def _gone(self) -> NoSuchDevice:
        return NoSuchDevice(f"{self.name}: no WireGuard interface: nothing answers at {self.path}")

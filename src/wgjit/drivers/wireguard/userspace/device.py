"""WireGuard in userspace (wireguard-go and its kin), through the Unix socket of its interface.

Contract: a call that got its whole answer leaves its connection to the next one, which an install by itself is the
quicker for (docs/PERFORMANCE.md); a connection that has ended is not used, so an interface that was ended and started
again is simply found again.
"""

from __future__ import annotations

import errno
import socket
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path

from wgjit.drivers.wireguard.checks import check_changes, check_interface
from wgjit.drivers.wireguard.translate import device_error
from wgjit.drivers.wireguard.userspace.connection import Connection
from wgjit.drivers.wireguard.userspace.dump import Prefixes, read_dump
from wgjit.drivers.wireguard.userspace.messages import GET, encode_changes, encode_interface, read_interface
from wgjit.errors import NoSuchDevice
from wgjit.model import DeviceInfo, DevicePeer, PeerChange

SOCKETS = Path("/var/run/wireguard")
"""Where implementations put their sockets, NAME.sock for each interface: one folder for all network namespaces."""

_PEERS_AT_ONCE = 64
"""Changes in one `set` operation: it is answered when all are made, and that must not take as long as the timeout."""
_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ECONNREFUSED, errno.ECONNRESET, errno.EPIPE}


class UserspaceDevice:
    """Implements `wgjit.drivers.base.Device`. Its calls may come from any thread."""

    def __init__(self, name: str, folder: Path = SOCKETS) -> None:
        """Name the interface; whether something answers for it, `info` tells."""
        self.name = name
        self.path = folder / f"{name}.sock"
        self._recall = Prefixes()
        self._idle: deque[Connection] = deque()
        """The connection of the last call. Who takes it has it alone: a call on another thread makes its own."""

    def info(self) -> DeviceInfo:
        """Keys and port. The protocol cannot leave the peers out, so it costs as much as they do to write."""
        with self._session() as connection:
            info = read_interface(self.name, 0, connection.ask(GET))
        try:
            return replace(info, index=socket.if_nametoindex(self.name))
        except OSError:
            raise NoSuchDevice(
                f"{self.path} answers, but this network namespace has no interface of that name", field=self.name
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
    def _session(self) -> Iterator[Connection]:
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

    def _take(self) -> Connection:
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return Connection(self.path)
            if connection.is_quiet():
                return connection
            connection.close()

    def _give_back(self, connection: Connection) -> None:
        if connection.is_quiet() and not self._idle:
            self._idle.append(connection)
        else:
            connection.close()

    def _gone(self) -> NoSuchDevice:
        return NoSuchDevice(f"no WireGuard interface: nothing answers at {self.path}", field=self.name)

"""WireGuard in userspace (wireguard-go and similar programs), by the Unix socket of its interface.

A call that got its whole answer leaves its connection to the next call, which makes a single install faster
(docs/EXPERIMENTS.md). A connection that has ended is not used again, so an interface that was stopped and started again
is found.
"""

from __future__ import annotations

import errno
import os
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
from wgjit.errors import NoSuchDevice, NotPermitted
from wgjit.model import DeviceInfo, DevicePeer, PeerChange

SOCKETS = Path("/var/run/wireguard")
"""The folder of the sockets, NAME.sock for each interface. It is one folder for all network namespaces."""

_PEERS_AT_ONCE = 64
"""Changes in one `set` operation. The answer comes after all of them, and must come within the timeout."""
_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ECONNREFUSED, errno.ECONNRESET, errno.EPIPE}


class UserspaceDevice:
    """Implements `wgjit.drivers.base.Device`. Its calls may come from any thread."""

    def __init__(self, name: str, folder: Path = SOCKETS) -> None:
        """Name the interface. Only `info` tells whether a program answers for it."""
        self.name = name
        self.path = folder / f"{name}.sock"
        self._recall = Prefixes()
        self._idle: deque[Connection] = deque()
        """The connection of the last call. One call takes it at a time; a call on another thread makes its own."""

    def info(self) -> DeviceInfo:
        """Keys and port. The protocol cannot leave out the peers, so the cost grows with their number."""
        with self._session() as connection:
            info = read_interface(self.name, 0, connection.ask(GET))
        try:
            return replace(info, index=socket.if_nametoindex(self.name))
        except OSError:
            raise NoSuchDevice(
                f"{self.path} answers, but this network namespace has no interface of that name", field=self.name
            ) from None

    def peers(self, *, partial: bool = False) -> Iterator[DevicePeer]:
        """All residents. The implementation reads them at once, so its dumps are never interrupted.

        The whole answer, some 400 bytes a peer, is first read into memory. Then only decoding is left, and no call
        waits.
        """
        with self._session() as connection:
            answer = connection.ask_whole(GET)
            peers = read_dump(answer, self._recall)
            first = next(peers, None)  # an errno other than 0 must be raised inside this session
        if first is not None:
            yield first
            yield from peers

    def apply(self, changes: Sequence[PeerChange]) -> None:
        """Make changes in order. Each operation is answered before the next, so a refusal stops later operations."""
        check_changes(changes)
        rest = iter(changes)
        batches = iter(lambda: list(islice(rest, _PEERS_AT_ONCE)), [])
        self._set(encode_changes(batch) for batch in batches)

    def set_interface(self, private_key: bytes | None = None, listen_port: int | None = None) -> None:
        """Set key or port. An all-zero key removes the key. With port 0 the system chooses."""
        key = check_interface(private_key, listen_port)
        self._set(iter([encode_interface(key, listen_port)]))

    def close(self) -> None:
        """Close the connection. A later call makes another."""
        while self._idle:
            self._idle.pop().close()

    def _set(self, operations: Iterator[bytes]) -> None:
        with self._session() as connection:
            for operation in operations:
                for _ in connection.ask(operation):
                    pass

    @contextmanager
    def _session(self) -> Iterator[Connection]:
        """A connection for this call alone. Errors become DeviceErrors."""
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
        except PermissionError:
            raise self._of_another() from None
        except OSError as error:
            if error.errno in _GONE:
                raise self._gone() from None
            raise device_error(error.errno or errno.EIO, self.name, error.strerror or "") from None

    def _of_another(self) -> NotPermitted:
        """The error where socket or folder is closed to this process's account."""
        if not os.access(self.path.parent, os.X_OK):
            told = f"{self.path.parent} is closed to this account; run as root, or open it as wgjit.tmpfiles.conf does"
        else:
            told = (
                f"{self.path} answers only to the account that started its process (root?); run wgjit as that account, "
                "or end that process and let wgjit make the interface. Leave the socket's owner and mode as they are: "
                "a change ends wireguard-go with its tunnels"
            )
        return NotPermitted(told, field=self.name)

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

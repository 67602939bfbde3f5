"""WireGuard in userspace (wireguard-go and its kin), through the Unix socket of its interface.

Contract: each call connects anew, so an interface that was ended and started again is simply found again. Every read
and write is waited for a bounded time.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from wgjit.drivers.changes import check_changes, check_interface
from wgjit.drivers.translate import device_error
from wgjit.drivers.uapi import GET, encode_changes, encode_interface, read_answer, read_interface, read_peers
from wgjit.errors import NoSuchDevice
from wgjit.model import DeviceInfo, DevicePeer, PeerChange

SOCKETS = Path("/var/run/wireguard")
"""Where implementations put their sockets, NAME.sock for each interface: one folder for all network namespaces."""

_TIMEOUT = 2.0
"""Seconds for connecting and for each read and write."""
_PEERS_AT_ONCE = 64
"""Changes in one `set` operation: it is answered when all are made, and that must not take as long as the timeout."""
_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ECONNREFUSED, errno.ECONNRESET, errno.EPIPE}


class UserspaceDevice:
    """Implements `wgjit.drivers.base.Device`. Its calls may come from any thread."""

    reads_ahead = False

    def __init__(self, name: str, folder: Path = SOCKETS) -> None:
        """Name the interface; whether something answers for it, `info` tells."""
        self.name = name
        self.path = folder / f"{name}.sock"

    def info(self) -> DeviceInfo:
        """Keys and port. The protocol cannot leave the peers out, so it costs as much as they do to write."""
        with self._session() as (connection, stream):
            connection.sendall(GET)
            info = read_interface(self.name, 0, read_answer(stream))
        try:
            return replace(info, index=socket.if_nametoindex(self.name))
        except OSError:
            raise NoSuchDevice(
                f"{self.name}: {self.path} answers, but this network namespace has no interface of that name"
            ) from None

    def peers(self) -> Iterator[DevicePeer]:
        """All residents, streamed. The implementation takes them in one go: its dumps are never interrupted."""
        with self._session() as (connection, stream):
            connection.sendall(GET)
            yield from read_peers(read_answer(stream))

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
        """Nothing is held between calls."""

    def _set(self, operations: Iterator[bytes]) -> None:
        with self._session() as (connection, stream):
            for operation in operations:
                connection.sendall(operation)
                for _ in read_answer(stream):
                    pass

    @contextmanager
    def _session(self) -> Iterator[tuple[socket.socket, BinaryIO]]:
        """A connection, and the same as a stream to read from; what fails leaves as a DeviceError."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(_TIMEOUT)
                connection.connect(str(self.path))
                with connection.makefile("rb") as stream:
                    yield connection, stream
        except TimeoutError:
            raise device_error(errno.ETIMEDOUT, self.name) from None
        except ConnectionResetError:
            raise self._gone() from None
        except OSError as error:
            if error.errno in _GONE:
                raise self._gone() from None
            raise device_error(error.errno or errno.EIO, self.name, error.strerror or "") from None

    def _gone(self) -> NoSuchDevice:
        return NoSuchDevice(f"{self.name}: no WireGuard interface: nothing answers at {self.path}")

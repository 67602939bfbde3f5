"""WireGuard interfaces of the kernel, by generic netlink."""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from wgjit.drivers.netlink.generic import GenetlinkSocket
from wgjit.drivers.wireguard.checks import check_changes, check_interface
from wgjit.drivers.wireguard.kernel.messages import (
    FAMILY,
    VERSION,
    WG_CMD_GET_DEVICE,
    WG_CMD_SET_DEVICE,
    Places,
    cut_a_peer,
    decode_interface,
    decode_peers,
    encode_changes,
    encode_interface,
    encode_query,
    ends_early,
    is_disturbed,
)
from wgjit.drivers.wireguard.translate import device_error
from wgjit.errors import DeviceError, MalformedAnswer
from wgjit.model import DeviceInfo, DevicePeer, PeerChange, PublicKey

_CALM = 3
"""Dumps that are taken in the hope for one without any change during the dump."""
_ATTEMPTS = 16
"""Greatest number of dumps, if none can be used."""


class KernelDevice:
    """Implements `wgjit.drivers.base.Device`. Its calls may come from any thread.

    The interface is found by name in a network namespace. Changes use the namespace of the thread that made this
    object, `peers` and `info` that of the calling thread.
    """

    def __init__(self, name: str) -> None:
        """Connect to the kernel. Raises NoSuchDevice if it has no WireGuard. Only `info` looks for the interface."""
        self.name = name
        self._lock = threading.Lock()
        self._recall = Places()
        with self._translated():
            self._socket = GenetlinkSocket(VERSION)
            try:
                self._family_id = self._socket.resolve(FAMILY)
            except BaseException:
                self._socket.close()
                raise

    def info(self) -> DeviceInfo:
        """Keys and port. The dump is ended after its first message, so the number of peers does not matter."""
        with self._translated(), self._dump_socket() as dump:
            for message in dump.dump_command(WG_CMD_GET_DEVICE, encode_query(self.name)):
                return decode_interface(message)
        raise MalformedAnswer("the kernel's dump of the interface is empty", field=self.name)

    def peers(self, *, partial: bool = False) -> Iterator[DevicePeer]:
        """All residents. The whole dump is first read from the kernel, packed, and then decoded peer by peer.

        A dump needs about 300 bytes a peer. It is read at once because the kernel keeps the interface while a dump is
        open, and because a longer dump is disturbed more often. A dump that the kernel marks as interrupted is taken
        again. On a busy interface every dump is disturbed. From the third dump on, a dump is used if it lost no peer
        and cut no peer. With `partial` the first dump that lost no peer is used. Raises DeviceError if none of 16 can
        be used.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            with self._translated(), self._dump_socket() as dump:
                messages = list(dump.dump_command(WG_CMD_GET_DEVICE, encode_query(self.name)))
            disturbed = [message for message in messages[1:] if is_disturbed(message)]
            if not disturbed:
                yield from decode_peers(messages, self._recall)
                return
            will_do = partial or (attempt >= _CALM and not any(map(cut_a_peer, disturbed)))
            if will_do and not any(map(ends_early, disturbed)):
                yield from _once(decode_peers(messages, self._recall))
                return
        raise DeviceError(
            "its peers change faster than they can be read; try again in a quieter moment", field=self.name
        )

    def apply(self, changes: Sequence[PeerChange]) -> None:
        """Make changes in order. Each message is acknowledged before the next, so a refusal stops later messages."""
        check_changes(changes)
        for attributes in encode_changes(self.name, changes):
            self._command(attributes)

    def set_interface(self, private_key: bytes | None = None, listen_port: int | None = None) -> None:
        """Set key or port. An all-zero key removes the key. With port 0 the kernel chooses."""
        key = check_interface(private_key, listen_port)
        self._command(encode_interface(self.name, key, listen_port))

    def remove_all_peers(self) -> None:
        """Remove all peers in one command. On several CPUs this is far cheaper than deleting a full interface."""
        self._command(encode_interface(self.name, replace_peers=True))

    def close(self) -> None:
        """Close the socket. The interface and its sessions stay."""
        self._socket.close()

    def _command(self, attributes: bytes) -> None:
        with self._lock:
            try:
                self._socket.command(WG_CMD_SET_DEVICE, attributes)
            except OSError as error:  # `_translated` would take as long as encoding a short message
                raise self._translation(error) from None

    def _dump_socket(self) -> GenetlinkSocket:
        return GenetlinkSocket(VERSION, self._family_id)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._translation(error) from None

    def _translation(self, error: OSError) -> Exception:
        return device_error(error.errno or errno.EIO, self.name, error.strerror or "")


def _once(peers: Iterator[DevicePeer]) -> Iterator[DevicePeer]:
    """Each peer, only at its first place in the dump."""
    told: set[PublicKey] = set()
    for peer in peers:
        if peer.public_key not in told:
            told.add(peer.public_key)
            yield peer

"""The kernel's WireGuard interfaces, by generic netlink."""

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
"""So many dumps we try to get without any change meanwhile."""
_ATTEMPTS = 16
"""So many dumps we take at most, if none will do."""


class KernelDevice:
    """Implements `wgjit.drivers.base.Device`. Its calls may come from any thread.

    The interface is looked for by name in the network namespace of the thread that calls: for commands the one that
    made this object, for `peers` and `info` the one that asks.
    """

    def __init__(self, name: str) -> None:
        """Reach the kernel. Raises NoSuchDevice if it has no WireGuard; that the interface is there, `info` tells."""
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
        """Keys and port. The dump is abandoned after its first message, so this costs the same at any crowd."""
        with self._translated(), self._dump_socket() as dump:
            for message in dump.dump_command(WG_CMD_GET_DEVICE, encode_query(self.name)):
                return decode_interface(message)
        raise MalformedAnswer("the kernel's dump of the interface is empty", field=self.name)

    def peers(self, *, partial: bool = False) -> Iterator[DevicePeer]:
        """All residents. The dump is read from the kernel in one go, packed, and decoded peer by peer.

        In one go, about 300 bytes a peer, because the kernel keeps the interface while a dump is open, and because the
        longer one takes the more often it is disturbed: one that the kernel marks as interrupted is taken again. On a
        busy interface none is undisturbed, and after the third one that lost nobody will do, and cut nobody. With
        `partial` the first will do that lost nobody. Raises DeviceError if none of 16 will.
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
        """Make changes in order; each message is acknowledged before the next, so a refusal stops what follows it."""
        check_changes(changes)
        for attributes in encode_changes(self.name, changes):
            self._command(attributes)

    def set_interface(self, private_key: bytes | None = None, listen_port: int | None = None) -> None:
        """Set key or port; an all-zero key takes the key away, port 0 lets the kernel choose."""
        key = check_interface(private_key, listen_port)
        self._command(encode_interface(self.name, key, listen_port))

    def remove_all_peers(self) -> None:
        """Empty the interface in one command: on several CPUs far cheaper than deleting it with its peers."""
        self._command(encode_interface(self.name, replace_peers=True))

    def close(self) -> None:
        """Let go of the socket; the interface and its sessions stay."""
        self._socket.close()

    def _command(self, attributes: bytes) -> None:
        with self._lock:
            try:
                self._socket.command(WG_CMD_SET_DEVICE, attributes)
            except OSError as error:  # not by `_translated`, which takes as long as a short message's encoding
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
    """Each peer where it is told of first."""
    told: set[PublicKey] = set()
    for peer in peers:
        if peer.public_key not in told:
            told.add(peer.public_key)
            yield peer

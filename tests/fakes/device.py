"""A WireGuard interface in memory, held to the real ones by tests/contracts/device.py.

Same meaning as the kernel's: an allowed IP belongs to one peer, and whoever takes it last has it; the interface's
own key is never a peer; an update-only change to an absent peer and the removal of one do nothing.

On top of it a test can tell what a real one does by itself (`shake_hands`, `vanish`), make it fail
(`fail`), bound it (`limit`), and read what was asked of it (`applied`).
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from dataclasses import replace

from wgjit.drivers.wireguard.checks import check_changes, check_interface
from wgjit.drivers.wireguard.translate import device_error
from wgjit.errors import DeviceError, DeviceFull, NoSuchDevice
from wgjit.model import AllowedIP, DeviceInfo, DevicePeer, Endpoint, PeerChange, PrivateKey, PublicKey


class FakeDevice:
    """Implements `wgjit.drivers.base.Device`."""

    def __init__(
        self,
        name: str = "wg0",
        private_key: PrivateKey | None = None,
        listen_port: int = 51820,
        index: int = 7,
        limit: int = 1 << 20,
    ) -> None:
        self.name = name
        self.limit = limit
        """The greatest number of peers it takes: one more is DeviceFull."""
        self.applied: list[PeerChange] = []
        """Every change that came into force, in order."""
        self.closed = False
        self._index = index
        self._private_key = private_key
        self._listen_port = listen_port
        self._peers: dict[PublicKey, DevicePeer] = {}
        self._owners: dict[AllowedIP, PublicKey] = {}
        self._failure: tuple[DeviceError, int] | None = None
        self._gone = False

    # --- what a test can tell it --------------------------------------------------------------------------------

    def fail(self, error: DeviceError, after: int = 0) -> None:
        """Raise `error` once: in the next call if `after` is 0, else in an `apply`, after that many more changes."""
        self._failure = (error, after)

    def vanish(self) -> None:
        """Be deleted: from now on every call raises NoSuchDevice."""
        self._gone = True

    def shake_hands(
        self, key: PublicKey, at: float, endpoint: Endpoint | None = None, rx_bytes: int = 180, tx_bytes: int = 92
    ) -> None:
        """A resident's client completed a handshake at Unix time `at`; both counters grow."""
        peer = self._peers[key]
        self._peers[key] = replace(
            peer,
            last_handshake=at,
            endpoint=endpoint or peer.endpoint,
            rx_bytes=peer.rx_bytes + rx_bytes,
            tx_bytes=peer.tx_bytes + tx_bytes,
        )

    @property
    def keys(self) -> set[PublicKey]:
        """Who is resident."""
        return set(self._peers)

    # --- Device -------------------------------------------------------------------------------------------------

    def info(self) -> DeviceInfo:
        self._checkpoint()
        return DeviceInfo(self.name, self._index, self._private_key, self._listen_port)

    def peers(self, *, partial: bool = False) -> Iterator[DevicePeer]:
        self._checkpoint()
        yield from list(self._peers.values())

    def apply(self, changes: Sequence[PeerChange]) -> None:
        check_changes(changes)
        self._alive()
        for change in changes:
            self._checkpoint(change)
            self._apply(change)
            self.applied.append(change)

    def set_interface(self, private_key: bytes | None = None, listen_port: int | None = None) -> None:
        key = check_interface(private_key, listen_port)
        self._checkpoint()
        if key is not None:
            self._private_key = PrivateKey(_clamp(key.reveal())) if any(key.reveal()) else None
            if self._private_key is not None:
                self._remove(self._private_key.public())
        if listen_port is not None:
            self._listen_port = listen_port or 40_000 + self._index

    def close(self) -> None:
        self.closed = True

    # --- inside -------------------------------------------------------------------------------------------------

    def _alive(self) -> None:
        if self._gone:
            raise NoSuchDevice("there is no such WireGuard interface", field=self.name)

    def _checkpoint(self, change: PeerChange | None = None) -> None:
        self._alive()
        if self._failure is None:
            return
        error, after = self._failure
        if after == 0:
            self._failure = None
            raise error
        if change is not None:
            self._failure = (error, after - 1)

    def _apply(self, change: PeerChange) -> None:
        key = change.public_key
        if change.remove:
            return self._remove(key)
        peer = self._peers.get(key)
        if peer is None:
            if change.update_only or (self._private_key is not None and key == self._private_key.public()):
                return None
            if len(self._peers) >= self.limit:
                raise DeviceFull("it cannot take another peer", field=self.name)
            self._peers[key] = peer = DevicePeer(key)
        if change.preshared_key is not None:
            peer = replace(peer, preshared_key=change.preshared_key if any(change.preshared_key.reveal()) else None)
        if change.endpoint is not None:
            peer = replace(peer, endpoint=change.endpoint)
        if change.keepalive is not None:
            peer = replace(peer, keepalive=change.keepalive)
        self._peers[key] = peer
        if change.allowed_ips is not None:
            self._own(key, change.allowed_ips)
        if change.more_allowed_ips:
            self._own(key, (*self._peers[key].allowed_ips, *change.more_allowed_ips))
        return None

    def _own(self, key: PublicKey, prefixes: Sequence[AllowedIP]) -> None:
        for prefix in self._peers[key].allowed_ips:
            del self._owners[prefix]
        taken: list[AllowedIP] = []
        try:
            for prefix in dict.fromkeys(prefixes):
                if prefix.prefixlen > prefix.max_prefixlen:
                    raise device_error(errno.EINVAL, self.name)
                owner = self._owners.get(prefix)
                if owner is not None:
                    loser = self._peers[owner]
                    self._peers[owner] = replace(loser, allowed_ips=tuple(p for p in loser.allowed_ips if p != prefix))
                self._owners[prefix] = key
                taken.append(prefix)
        finally:
            self._peers[key] = replace(self._peers[key], allowed_ips=tuple(taken))

    def _remove(self, key: PublicKey) -> None:
        peer = self._peers.pop(key, None)
        for prefix in peer.allowed_ips if peer else ():
            del self._owners[prefix]


def _clamp(raw: bytes) -> bytes:
    """As the kernel does when it takes a private key (RFC 7748, section 5)."""
    return bytes([raw[0] & 248]) + raw[1:31] + bytes([raw[31] & 127 | 64])

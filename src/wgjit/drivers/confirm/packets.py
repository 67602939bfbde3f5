"""Confirmations by AF_PACKET: a socket on the WireGuard interface for each IP version, with a filter over the prefixes.

What comes in on a WireGuard interface has been decrypted with a session's key, and WireGuard has checked that its inner
source address is among the allowed IPs of the session's peer. Nobody outside can make such a packet. The socket sees no
packet of another interface, and no packet that this host sends.

- The sockets see packets before the host's firewall, so a packet counts even if the firewall drops it.
- The filter passes the first 40 bytes of packets from watched prefixes, and some more: those of peers that have just
  been confirmed or forgotten, since a new filter costs more than a few packets.
- Nothing is left in the kernel when the process dies.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
from collections.abc import Iterable, Iterator

from wgjit.drivers.base import ConfirmationCounters
from wgjit.drivers.confirm.source_filter import PASSED, program
from wgjit.drivers.confirm.watched import Watched
from wgjit.drivers.packet_socket import IPV4, IPV6, attach_filter, open_packet_socket, taken_and_dropped
from wgjit.errors import CaptureError
from wgjit.model import AllowedIP, PublicKey

_ETHERTYPES = {4: IPV4, 6: IPV6}
_SOURCES = {4: slice(12, 16), 6: slice(8, 24)}
_BUFFER = 4 << 20  # bytes; a packet takes some 800 bytes of kernel memory or more
_AT_ONCE = 64  # packets read from a socket before the other one has its turn

MOST_INSTRUCTIONS = 600
"""Of a filter. Before Linux 6.7 a socket has 20,480 bytes for options (net.core.optmem_max), 8 for each instruction,
and while a filter is replaced there are two. One prefix takes about 1.5."""
_LEAST_INSTRUCTIONS = 100
_SHARE = 0.125  # of the watched peers, which are given up when they are too many


class PacketConfirmations:
    """Watches peers of one WireGuard interface. See `drivers.base.Confirmations`.

    Raises CaptureError (no such interface, the kernel lacks a part), NotPermitted (CAP_NET_RAW).
    """

    def __init__(self, interface: str) -> None:
        self._interface = interface
        self._watched = Watched()
        self._pending: dict[PublicKey, tuple[AllowedIP, ...]] = {}
        self._early: list[PublicKey] = []  # confirmed while `flush` emptied the sockets, not reported yet
        self._most_instructions = MOST_INSTRUCTIONS
        self._reported = self._given_up = self._dropped = 0
        self._sockets: dict[int, socket.socket] = {}
        self._poll = select.epoll()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poll.register(self._wake, select.EPOLLIN)
        try:
            try:
                index = socket.if_nametoindex(interface)
            except OSError:
                raise CaptureError(f"confirmations: there is no interface {interface}") from None
            for version, ethertype in _ETHERTYPES.items():
                sock = open_packet_socket(ethertype, program(version, {}), _BUFFER, index)
                self._sockets[version] = sock
                self._poll.register(sock, select.EPOLLIN)
        except BaseException:
            self.close()
            raise

    # --- the watched peers --------------------------------------------------------------------------------------

    def watch(self, key: PublicKey, allowed_ips: Iterable[AllowedIP]) -> None:
        """Report the peer's next packet, from the next `flush` on."""
        self.forget(key)
        self._pending[key] = tuple(allowed_ips)

    def forget(self, key: PublicKey) -> None:
        """Report the peer no longer. Harmless if it is not watched."""
        self._pending.pop(key, None)
        self._watched.remove(key)
        if key in self._early:
            self._early.remove(key)

    def flush(self) -> None:
        """Put the filters in force. Raises CaptureError."""
        if not self._pending:
            return
        # A packet that waits already came before the peers were watched: it says nothing of their new sessions.
        self._empty_sockets()
        for key, allowed_ips in self._pending.items():
            self._watched.add(key, allowed_ips)
        self._pending.clear()
        self._attach()
        if self._early:
            os.eventfd_write(self._wake, 1)

    def _attach(self) -> None:
        """Replace the filters of the IP versions whose prefixes have changed."""
        for version in self._sockets:
            while self._watched.changed[version]:
                while self._watched.size(version) > self._most_instructions:
                    self._given_up += self._watched.remove_oldest(_SHARE)
                try:
                    attach_filter(self._sockets[version], program(version, self._watched.hashes(version)))
                    self._watched.changed[version] = False
                except OSError as error:
                    if error.errno != errno.ENOMEM or self._most_instructions <= _LEAST_INSTRUCTIONS:
                        raise CaptureError(f"confirmations on {self._interface}: filter: {error.strerror}") from error
                    self._most_instructions //= 2  # the kernel grants less: watch fewer peers at once

    # --- packets ------------------------------------------------------------------------------------------------

    def fileno(self) -> int:
        """A descriptor that is readable when `read` should be called: an epoll descriptor over both sockets."""
        return self._poll.fileno()

    def read(self) -> list[PublicKey]:
        """The watched peers of which packets have come. Never blocks. Raises CaptureError."""
        found, self._early = self._early, []
        if found:
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self._wake)
        stale = False
        for version, sock in self._sockets.items():
            for key in self._owners(version, sock, _AT_ONCE):
                if key is None:
                    stale = True
                else:
                    found.append(key)
        if stale or not self._watched:
            self._attach()  # the filter passes more than it should
        self._reported += len(found)
        return found

    def _owners(self, version: int, sock: socket.socket, limit: int) -> Iterator[PublicKey | None]:
        """Of up to `limit` waiting packets the watched peers, which are then watched no longer; None if it has none."""
        source = _SOURCES[version]
        for _ in range(limit):
            try:
                packet = sock.recv(PASSED)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno == errno.ENETDOWN:  # told once; the kernel goes on by itself when the interface is up
                    continue
                raise CaptureError(f"confirmations on {self._interface}: {error.strerror}") from error
            key = self._watched.owner(version, int.from_bytes(packet[source], "big"))
            if key is not None:
                self._watched.remove(key)
            yield key

    def _empty_sockets(self) -> None:
        """Read all packets that wait now. If they do not end, stop them by a filter that passes none."""
        if not self._poll.poll(0):
            return
        for version, sock in self._sockets.items():
            while len(owners := list(self._owners(version, sock, _AT_ONCE))) == _AT_ONCE:
                self._early += filter(None, owners)
                self._watched.changed[version] = True
                try:
                    attach_filter(sock, program(version, {}))
                except OSError as error:
                    raise CaptureError(f"confirmations on {self._interface}: filter: {error.strerror}") from error
            self._early += filter(None, owners)

    def counters(self) -> ConfirmationCounters:
        """The numbers since the start."""
        for sock in self._sockets.values():
            self._dropped += taken_and_dropped(sock)[1]
        return ConfirmationCounters(
            len(self._watched) + len(self._pending), self._reported, self._given_up, self._dropped
        )

    def close(self) -> None:
        """Watch nothing any more. A second call does nothing."""
        self._poll.close()
        for sock in self._sockets.values():
            sock.close()
        if self._wake >= 0:
            os.close(self._wake)
            self._wake = -1

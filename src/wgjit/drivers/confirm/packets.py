"""Confirmations by AF_PACKET: a socket on the WireGuard interface, with a filter over the watched prefixes.

What comes in on a WireGuard interface has been decrypted with a session's key, and WireGuard has checked that its inner
source address is among the allowed IPs of the session's peer. Nobody outside can make such a packet. The socket sees no
packet of another interface, and no packet that this host sends.

- The socket sees packets before the host's firewall, so a packet counts even if the firewall drops it.
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
from wgjit.drivers.confirm.source_filter import NOTHING, PASSED, program
from wgjit.drivers.confirm.watched import Watched
from wgjit.drivers.packet_socket import ALL, attach_filter, open_packet_socket, taken_and_dropped
from wgjit.errors import CaptureError
from wgjit.model import AllowedIP, PublicKey

_BUFFER = 4 << 20  # bytes; a packet takes some 800 bytes of kernel memory or more
_AT_ONCE = 64  # packets that are read before the loop does something else

MOST_INSTRUCTIONS = 1000
"""Of a filter. Before Linux 6.7 a socket has 20,480 bytes for options (net.core.optmem_max), 8 for each instruction,
and while a filter is replaced there are two. One prefix takes about 1.4."""
_LEAST_INSTRUCTIONS = 150
_SHARE = 0.125  # of the watched peers, which are given up when they are too many


class PacketConfirmations:
    """Watches peers of one WireGuard interface. See `drivers.base.Confirmations`.

    Raises CaptureError (no such interface, the kernel lacks a part), NotPermitted (CAP_NET_RAW).
    """

    def __init__(self, interface: str) -> None:
        self._interface = interface
        self._watched = Watched()
        self._pending: dict[PublicKey, tuple[AllowedIP, ...]] = {}
        self._early: list[PublicKey] = []  # confirmed while `flush` emptied the socket, not reported yet
        self._overdue = False  # the filter could not be renewed
        self._most_instructions = MOST_INSTRUCTIONS
        self._reported = self._given_up = self._dropped = 0
        try:
            index = socket.if_nametoindex(interface)
        except OSError:
            raise CaptureError(f"confirmations: there is no interface {interface}") from None
        self._socket = open_packet_socket(ALL, NOTHING, _BUFFER, index)
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poll = select.epoll()
        for descriptor in (self._socket.fileno(), self._wake):
            self._poll.register(descriptor, select.EPOLLIN)

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
        """Put the filter in force. Raises CaptureError; the next call tries again."""
        is_late = not self._watched and self._watched.changed  # nobody is watched, and the filter still passes packets
        if not self._pending and not self._overdue and not is_late:
            return
        self._overdue = True
        # A packet that waits already came before the peers were watched: it says nothing of their new sessions.
        self._empty_socket()
        for key, allowed_ips in self._pending.items():
            self._watched.add(key, allowed_ips)
        self._pending.clear()
        if self._early:
            os.eventfd_write(self._wake, 1)
        self._renew()
        self._overdue = False

    def _renew(self) -> None:
        """Replace the filter if the prefixes have changed."""
        while self._watched.changed:
            while self._watched.size() > self._most_instructions:
                self._given_up += self._watched.remove_oldest(_SHARE)
            try:
                attach_filter(self._socket, program(self._watched.hashes()))
                self._watched.changed = False
            except OSError as error:
                if error.errno != errno.ENOMEM or self._most_instructions <= _LEAST_INSTRUCTIONS:
                    raise self._failed("filter", error) from error
                self._most_instructions //= 2  # the kernel grants less: watch fewer peers at once

    def _failed(self, what: str, error: OSError) -> CaptureError:
        return CaptureError(f"confirmations on {self._interface}: {what}: {error.strerror}")

    # --- packets ------------------------------------------------------------------------------------------------

    def fileno(self) -> int:
        """A descriptor that is readable when `read` should be called."""
        return self._poll.fileno()

    def read(self) -> list[PublicKey]:
        """The watched peers of which packets have come. Never blocks. Raises CaptureError."""
        found, self._early = self._early, []
        if found:
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self._wake)
        stale = False
        for key in self._owners(_AT_ONCE):
            if key is None:
                stale = True
            else:
                found.append(key)
        if stale and not found:  # the filter passes more than it should, which does no harm. A report comes first
            try:
                self._renew()
            except CaptureError:
                self._overdue = True  # the next flush tells
        self._reported += len(found)
        return found

    def _owners(self, limit: int) -> Iterator[PublicKey | None]:
        """Of up to `limit` waiting packets the watched peers, which are then watched no longer; None if it has none."""
        for _ in range(limit):
            try:
                packet = self._socket.recv(PASSED)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno == errno.ENETDOWN:  # told once; the kernel goes on by itself when the interface is up
                    continue
                raise self._failed("packet socket", error) from error
            key = self._watched.sender(packet)
            if key is not None:
                self._watched.remove(key)
            yield key

    def _empty_socket(self) -> None:
        """Read all packets that wait now. If they do not end, stop them by a filter that passes none."""
        if not self._poll.poll(0):
            return
        while len(owners := list(self._owners(_AT_ONCE))) == _AT_ONCE:
            self._early += filter(None, owners)
            self._watched.changed = True
            try:
                attach_filter(self._socket, NOTHING)
            except OSError as error:
                raise self._failed("filter", error) from error
        self._early += filter(None, owners)

    def counters(self) -> ConfirmationCounters:
        """The numbers since the start."""
        self._dropped += taken_and_dropped(self._socket)[1]
        return ConfirmationCounters(
            len(self._watched) + len(self._pending), self._reported, self._given_up, self._dropped
        )

    def close(self) -> None:
        """Watch nothing any more. A second call does nothing."""
        self._poll.close()
        self._socket.close()
        if self._wake >= 0:
            os.close(self._wake)
            self._wake = -1

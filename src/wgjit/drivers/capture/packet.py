"""Capture by AF_PACKET: wgjit gets copies of incoming packets, and the kernel handles the packets themselves.

- There is one socket for IPv4 and one for IPv6. A socket of one protocol sees a packet once, on the interface that
  hands it to IP. A socket for all protocols would see it on each layer of a bridge, bond or VLAN, and would also see
  the packets that its own host sends.
- The copy is taken before the host's firewall, and its UDP checksum can be unfinished (veth, offloading cards).
- Packets that wgjit's own injector put back are left out (see `replay.mark`).
"""

from __future__ import annotations

import fcntl
import select
import socket
import struct
from collections.abc import Iterator

from wgjit.drivers.base import CaptureCounters, Captured
from wgjit.drivers.packet_socket import IPV4, IPV6, open_packet_socket, taken_and_dropped
from wgjit.drivers.replay.mark import SOURCE_MAC, is_marked
from wgjit.errors import CaptureError
from wgjit.wire.bpf import capture_filter

# linux/if_packet.h, linux/if_arp.h; Python has no names for these
_PACKET_HOST = 0
_ARPHRD_ETHER = 1
_ARPHRD_LOOPBACK = 772
_SIOCGIFINDEX = 0x8933

_IFREQ = struct.Struct("@16si20x")  # struct ifreq: name, index
_BUFFER = 8 << 20  # bytes: some 10,000 waiting packets of up to about 800 bytes of kernel memory each
_SNAP = 2048  # bytes kept of a packet; an initiation with its headers is under 256


class PacketCapture:
    """Copies of UDP packets for one port, from all interfaces of this network namespace.

    `responses` lets handshake responses through as well. Raises CaptureError, NotPermitted (CAP_NET_RAW).
    """

    holds = False

    def __init__(self, port: int, responses: bool = False) -> None:
        program = capture_filter(port, responses=responses).encode()
        self._poll = select.epoll()
        self._sockets: list[socket.socket] = []
        self._received = self._dropped = 0
        try:
            for ethertype in (IPV4, IPV6):
                sock = open_packet_socket(ethertype, program, _BUFFER)
                self._sockets.append(sock)
                self._poll.register(sock, select.EPOLLIN)
        except BaseException:
            self.close()
            raise

    def fileno(self) -> int:
        """A descriptor that is readable when packets wait: an epoll descriptor over both sockets."""
        return self._poll.fileno()

    def read(self, limit: int = 64) -> list[Captured]:
        """Up to `limit` packets that wait now. Never blocks."""
        packets: list[Captured] = []
        for sock in self._sockets:
            packets.extend(self._waiting(sock, limit - len(packets)))
        # Change the order for the next round, so that a flood on one family does not starve the other.
        self._sockets.reverse()
        return packets

    def _waiting(self, sock: socket.socket, limit: int) -> Iterator[Captured]:
        for _ in range(limit):
            try:
                packet, (device, _, kind, hardware, source) = sock.recvfrom(_SNAP)
            except BlockingIOError:
                return
            except OSError as error:
                raise CaptureError(f"packet socket: {error.strerror}") from error
            if kind != _PACKET_HOST or source == SOURCE_MAC or (hardware == _ARPHRD_LOOPBACK and is_marked(packet)):
                continue
            yield Captured(packet, _index(sock, device), None, hardware == _ARPHRD_ETHER)

    def release(self, token: int) -> None:
        """Always raises CaptureError, since copies are not held."""
        raise CaptureError("release: this capture copies packets, it holds none")

    def flush(self) -> None:
        """Do nothing, since no packet is held."""

    def heartbeat(self) -> bool:
        """Do nothing, since no packet waits for wgjit, and there are no rules that somebody could take away."""
        return False

    def counters(self) -> CaptureCounters:
        """The packets that passed the filter and were stored, and those that found the socket full."""
        for sock in self._sockets:
            taken, dropped = taken_and_dropped(sock)
            self._received += taken
            self._dropped += dropped
        return CaptureCounters(self._received, self._dropped)

    def close(self) -> None:
        """Stop capturing."""
        self._poll.close()
        for sock in self._sockets:
            sock.close()


def _index(sock: socket.socket, device: str) -> int:
    """The index of an interface in the socket's own network namespace; 0 if the interface is gone."""
    try:
        request: bytes = fcntl.ioctl(sock, _SIOCGIFINDEX, _IFREQ.pack(device.encode(), 0))
    except OSError:
        return 0
    index: int = _IFREQ.unpack(request)[1]
    return index

"""AF_PACKET sockets with a classic BPF filter, which Python's `socket` makes only by halves.

The filter is attached before the socket listens to a protocol, so no packet comes in without the filter.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct

from wgjit.errors import CaptureError, NotPermitted

IPV4, IPV6, ALL = 0x0800, 0x86DD, 0x0003
"""Protocols (linux/if_ether.h)."""

# linux/if_packet.h, asm-generic/socket.h; Python has no names for these
_SOL_PACKET = 263
_PACKET_STATISTICS = 6
_PACKET_IGNORE_OUTGOING = 23
_SO_ATTACH_FILTER = 26
_SO_RCVBUFFORCE = 33

_STATISTICS = struct.Struct("@II")  # struct tpacket_stats: packets (with the dropped ones), drops; reading clears both
_SOCKADDR_LL = struct.Struct("@HHiHBB8s")  # family, protocol, interface, hardware type, packet type, address
_PROGRAM = struct.Struct("@HP")  # struct sock_fprog: number of instructions, their address
_FILTER_STEP = 8  # bytes in a struct sock_filter

_libc = ctypes.CDLL(None, use_errno=True)


def open_packet_socket(protocol: int, program: bytes, buffer: int, ifindex: int = 0) -> socket.socket:
    """A socket that gets copies of incoming IP packets, without their link-layer header. It never blocks.

    `program` holds the filter's `struct sock_filter`s. `buffer` is the receive buffer's size in bytes. With `ifindex` 0
    packets come from all interfaces. Raises CaptureError, NotPermitted (CAP_NET_RAW).
    """
    try:
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, 0)
    except PermissionError as error:
        raise NotPermitted("packet socket: CAP_NET_RAW is missing; run as root") from error
    except OSError as error:
        raise CaptureError(f"packet socket: {error.strerror}; the kernel needs CONFIG_PACKET") from error
    try:
        attach_filter(sock, program)
        grow_buffer(sock, buffer)
        if protocol == ALL:
            sock.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
        # socket.bind needs an interface's name, and there is none that means all interfaces
        address = _SOCKADDR_LL.pack(socket.AF_PACKET, socket.htons(protocol), ifindex, 0, 0, 0, b"")
        if _libc.bind(sock.fileno(), address, len(address)):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    except OSError as error:
        sock.close()
        raise CaptureError(f"packet socket: {error.strerror}") from error
    return sock


def attach_filter(sock: socket.socket, program: bytes) -> None:
    """Give a socket a classic BPF filter, in place of the one that it has. No packet passes unfiltered. Raises OSError.

    ENOMEM: the filter is larger than net.core.optmem_max allows.
    """
    code = ctypes.create_string_buffer(program, len(program))
    sock.setsockopt(
        socket.SOL_SOCKET, _SO_ATTACH_FILTER, _PROGRAM.pack(len(program) // _FILTER_STEP, ctypes.addressof(code))
    )


def grow_buffer(sock: socket.socket, size: int) -> None:
    """Give a socket a receive buffer of `size` bytes, past net.core.rmem_max where CAP_NET_ADMIN allows it."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, size)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)


def taken_and_dropped(sock: socket.socket) -> tuple[int, int]:
    """Packets that passed the filter since the last call: those that were stored, those that found the socket full."""
    seen, dropped = _STATISTICS.unpack(sock.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, _STATISTICS.size))
    return seen - dropped, dropped

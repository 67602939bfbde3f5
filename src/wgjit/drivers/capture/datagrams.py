"""Reads many datagrams with one system call, recvmmsg(2), which Python's `socket` lacks. For netlink sockets.

When a queue is flooded, reading it costs little besides system calls.
"""

from __future__ import annotations

import ctypes
import os
import socket

_SENDER = 12  # bytes of struct sockaddr_nl (linux/netlink.h)
_PORT = slice(4, 8)  # its field nl_pid; 0 is the kernel

_libc = ctypes.CDLL(None, use_errno=True)


class _Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


class _Header(ctypes.Structure):  # struct msghdr
    _fields_ = [
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("parts", ctypes.POINTER(_Iovec)),
        ("parts_length", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    ]


class _Message(ctypes.Structure):  # struct mmsghdr
    _fields_ = [("header", _Header), ("received", ctypes.c_uint)]


class Datagrams:
    """Buffers for `count` datagrams of `size` bytes. A longer datagram is cut off."""

    def __init__(self, count: int, size: int) -> None:
        self._count, self._size = count, size
        self._data, self._names = bytearray(count * size), bytearray(count * _SENDER)
        self._view = memoryview(self._data)
        data, names = (ctypes.addressof(ctypes.c_char.from_buffer(buffer)) for buffer in (self._data, self._names))
        self._parts = (_Iovec * count)(*(_Iovec(data + n * size, size) for n in range(count)))
        self._messages = (_Message * count)()
        for n, message in enumerate(self._messages):
            header = message.header
            header.name, header.name_length = names + n * _SENDER, _SENDER  # netlink gives no other length back
            header.parts, header.parts_length = ctypes.pointer(self._parts[n]), 1

    def receive(self, sock: socket.socket, limit: int) -> list[bytes]:
        """Up to `limit` datagrams that wait now. Never blocks. A datagram that is not from the kernel comes back empty.

        Raises BlockingIOError if none waits, OSError. An error after the first datagram is raised by the next call.
        """
        got: int = _libc.recvmmsg(sock.fileno(), self._messages, min(limit, self._count), socket.MSG_DONTWAIT, None)
        if got < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return [self._datagram(n) for n in range(got)]

    def _datagram(self, n: int) -> bytes:
        sender = self._names[n * _SENDER : (n + 1) * _SENDER]
        if any(sender[_PORT]):
            return b""
        start = n * self._size
        return bytes(self._view[start : start + self._messages[n].received])

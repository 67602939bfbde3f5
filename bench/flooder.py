"""Send prepared Ethernet frames at a steady rate: `python -m bench.flooder INTERFACE FRAMES RATE SECONDS`.

The flooder is a separate process and as small as possible, because it takes CPU time from the gateway. All frames have
the same length, lie one after the other in a file, and are sent in a circle, many with one system call (sendmmsg). It
prints the line "started". At its end it prints a line of JSON: how many frames were sent in how many seconds.

A flooder that falls behind makes up for LAG seconds at most, so that it never sends a burst after a pause.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import signal
import socket
import struct
import sys
import time
from pathlib import Path
from types import FrameType

from bench.packets import FRAME_LENGTH

BATCH = 64
"""Frames with one system call."""
LAG = 0.05
"""Seconds."""

_IOVEC = struct.Struct("@PN")
_MMSGHDR = struct.Struct("@PIPNPNixxxxIxxxx")  # struct mmsghdr on 64 bits: a struct msghdr and the bytes sent
_SOL_PACKET, _PACKET_QDISC_BYPASS = 263, 20  # linux/if_packet.h

_libc = ctypes.CDLL(None, use_errno=True)


class Frames:
    """Frames laid out as sendmmsg takes them."""

    def __init__(self, data: bytes) -> None:
        self.count = len(data) // FRAME_LENGTH
        if not self.count or len(data) % FRAME_LENGTH:
            raise ValueError(f"frames: {len(data)} bytes are no multiple of {FRAME_LENGTH}")
        self._data = ctypes.create_string_buffer(data, len(data))
        self._iovecs = ctypes.create_string_buffer(self.count * _IOVEC.size)
        self._headers = ctypes.create_string_buffer(self.count * _MMSGHDR.size)
        base, iovecs = ctypes.addressof(self._data), ctypes.addressof(self._iovecs)
        for n in range(self.count):
            _IOVEC.pack_into(self._iovecs, n * _IOVEC.size, base + n * FRAME_LENGTH, FRAME_LENGTH)
            _MMSGHDR.pack_into(self._headers, n * _MMSGHDR.size, 0, 0, iovecs + n * _IOVEC.size, 1, 0, 0, 0, 0)

    def send(self, descriptor: int, start: int, count: int) -> int:
        """Send up to `count` frames from number `start` on, none twice; gives how many. Raises OSError."""
        address = ctypes.c_void_p(ctypes.addressof(self._headers) + start * _MMSGHDR.size)
        sent: int = _libc.sendmmsg(descriptor, address, min(count, self.count - start), 0)
        if sent < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return sent


def flood(frames: Frames, sock: socket.socket, rate: float, seconds: float) -> tuple[int, float]:
    """Send for so long; gives the number of frames and the seconds that it took."""
    sent = position = 0
    began = clock = time.monotonic()
    forgiven = 0.0  # seconds in which nothing could be sent, and that are not made up for
    while clock - began < seconds:
        due = (clock - began - forgiven) * rate - sent
        if due > LAG * rate:
            forgiven += due / rate - LAG
        if due < 1:
            time.sleep(min(0.001, BATCH / rate))
        else:
            try:
                step = frames.send(sock.fileno(), position, min(BATCH, int(due)))
                sent, position = sent + step, (position + step) % frames.count
            except OSError as error:
                # The other end's backlog is full: this frame is lost, and not counted as sent.
                if error.errno not in (errno.ENOBUFS, errno.EAGAIN, errno.EINTR):
                    raise
                position = (position + 1) % frames.count
        clock = time.monotonic()
    return sent, clock - began


def main() -> int:
    interface, path, rate, seconds = sys.argv[1:]
    frames = Frames(Path(path).read_bytes())
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
        sock.bind((interface, 0))
        sock.setsockopt(_SOL_PACKET, _PACKET_QDISC_BYPASS, 1)
        print("started", flush=True)
        sent, took = flood(frames, sock, float(rate), float(seconds))
    print(json.dumps({"sent": sent, "seconds": took}), flush=True)
    return 0


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(1)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop)
    sys.exit(main())

"""The load's clock waits to the microsecond, with thousands of sockets open."""

from __future__ import annotations

import os
import socket
import time

from bench.load.engine import _wait_readable
from bench.load.sockets import allow_descriptors

HIGH = 1500
"""Above what select(2) knows."""


def test_a_descriptor_of_any_number_is_waited_for() -> None:
    allow_descriptors(HIGH)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        os.dup2(ours.fileno(), HIGH)
        try:
            began = time.monotonic()
            _wait_readable(HIGH, 0.002)
            assert time.monotonic() - began >= 0.002, "nothing was there to read"
            theirs.send(b"x")
            began = time.monotonic()
            _wait_readable(HIGH, 60.0)
            assert time.monotonic() - began < 30.0
        finally:
            os.close(HIGH)

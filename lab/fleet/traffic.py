"""Traffic that goes on by itself: a datagram for each pair of addresses, again and again, whatever comes of it."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable

from lab.background import Background
from lab.netns import Namespace

DISCARD = 9
"""The port: nobody listens there."""


class Traffic(Background):
    """Sends from a namespace for the time of a `with`."""

    def __init__(self, namespace: Namespace, pairs: Iterable[tuple[str, str]], every: float = 0.2) -> None:
        """`pairs` are sources, addresses of the namespace, and targets. `every`: seconds."""
        super().__init__()
        self._every = every
        self._sockets: list[tuple[socket.socket, str]] = []
        for source, target in pairs:
            udp = namespace.socket()
            udp.setblocking(False)
            udp.bind((source, 0))
            self._sockets.append((udp, target))

    def _close(self) -> None:
        for udp, _target in self._sockets:
            udp.close()

    def _run(self) -> None:
        while not self._done.wait(self._every):
            for udp, target in self._sockets:
                with contextlib.suppress(OSError):  # WireGuard has no peer for it, or nobody listens there
                    udp.sendto(b"hello", (target, DISCARD))

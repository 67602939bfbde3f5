"""An impatient client: it sends an initiation each 50 ms until one is answered.

So it shows when a gateway begins to answer. WireGuard's own client would wait 5 s before its second try.
"""

from __future__ import annotations

import copy
import select
import socket
import threading
import time
from contextlib import suppress
from typing import Final

from bench.load.client import Identity
from lab.background import Background
from wgjit.model import PublicKey, Tai64n
from wgjit.refusal import Refusal
from wgjit.wire.messages import LENGTH, RESPONSE, parse_response
from wgjit.wire.noise import Initiator

EVERY: Final = 0.05
"""Seconds between two initiations: a peer's are taken 50 a second, its timestamps move in steps of 16.8 ms."""


class Knocker(Background):
    """Knocks on a thread, from when the context is entered until it is left."""

    def __init__(self, sock: socket.socket, server: tuple[str, int], gateway: PublicKey, identity: Identity) -> None:
        """`sock`: UDP, which is closed in the end."""
        super().__init__()
        self.answered: float | None = None
        """When the first response came that this client's keys open; monotonic seconds."""
        self.knocks = 0
        self._initiator = Initiator(identity.private_key, gateway, identity.preshared_key)
        self._sent: dict[int, Initiator] = {}
        self._socket, self._server = sock, server
        self._got = threading.Event()

    def _close(self) -> None:
        self._socket.close()

    def wait(self, timeout: float) -> float:
        """When the first answer came. Raises TimeoutError after so many seconds without one."""
        if not self._got.wait(timeout) or self.answered is None:
            raise TimeoutError(f"none of {self.knocks} initiations was answered within {timeout:g} s")
        return self.answered

    def _run(self) -> None:
        due = time.monotonic()
        while not self._done.is_set():
            now = time.monotonic()
            if now >= due:
                self._knock()
                due = max(due + EVERY, now)  # a stall is not made up for by a burst
                continue
            if select.select([self._socket], [], [], due - now)[0] and self._take(self._socket.recv(2048)):
                self._got.set()
                return

    def _knock(self) -> None:
        self.knocks += 1
        attempt = self._sent[self.knocks] = copy.copy(self._initiator)
        message = attempt.initiate(self.knocks, Tai64n.from_unix_ns(time.time_ns()))
        with suppress(OSError):  # nobody there yet
            self._socket.sendto(message, self._server)

    def _take(self, message: bytes) -> bool:
        now = time.monotonic()
        if len(message) != LENGTH[RESPONSE] or message[0] != RESPONSE:
            return False
        response = parse_response(message)
        if isinstance(response, Refusal) or (attempt := self._sent.get(response.receiver)) is None:
            return False
        if isinstance(attempt.consume_response(message), Refusal):
            return False
        self.answered = now
        return True

"""Tell the service manager how we are: sd_notify(3), one datagram a message.

Rules: without NOTIFY_SOCKET every call does nothing, so `wgjit up` runs the same in a terminal. A manager that does not
listen is no fault of ours: no call raises or waits. `alive` is for the loop's own heartbeat and nothing else: from a
timer or thread of its own it would go on while the loop is stuck, and the watchdog would guard nothing.
"""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping
from contextlib import suppress


class Notifier:
    """Speaks to the manager named by NOTIFY_SOCKET; harmless if there is none."""

    def __init__(self, environment: MutableMapping[str, str] = os.environ) -> None:
        """Take NOTIFY_SOCKET out of the environment: no firewall program that we start shall speak in our name."""
        name = environment.pop("NOTIFY_SOCKET", "")
        # A leading @ stands for the null byte of an abstract socket; other kinds (vsock:) are not for us.
        self._address = "\0" + name[1:] if name.startswith("@") else name if name.startswith("/") else None
        self._socket: socket.socket | None = None
        if self._address is not None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)

    def ready(self, status: str) -> None:
        """We serve. `status` is the line that `systemctl status` shows."""
        self._send(f"READY=1\nSTATUS={' '.join(status.split())}")

    def alive(self) -> None:
        """The loop's heart beats. Call it once a round of the heartbeat, after the round's work."""
        self._send("WATCHDOG=1")

    def stopping(self, status: str) -> None:
        """We are ending."""
        self._send(f"STOPPING=1\nSTATUS={' '.join(status.split())}")

    def _send(self, message: str) -> None:
        if self._socket is not None and self._address is not None:
            with suppress(OSError):
                self._socket.sendto(message.encode(), self._address)

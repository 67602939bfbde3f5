"""Messages to the service manager: sd_notify(3), one datagram per message.

Without NOTIFY_SOCKET every call does nothing, so `wgjit up` also runs in a terminal. No call raises or waits, even if
the manager does not listen. Only the loop's own heartbeat may call `alive`: a separate timer or thread would go on
while the loop is stuck, and the watchdog would notice nothing.
"""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping
from contextlib import suppress


class Notifier:
    """Sends messages to the manager named by NOTIFY_SOCKET. Does nothing if there is none."""

    def __init__(self, environment: MutableMapping[str, str] = os.environ) -> None:
        """Take NOTIFY_SOCKET out of the environment, so that programs that wgjit starts cannot send such messages."""
        name = environment.pop("NOTIFY_SOCKET", "")
        # A leading @ stands for the null byte of an abstract socket. Other kinds (vsock:) are not supported.
        self._address = "\0" + name[1:] if name.startswith("@") else name if name.startswith("/") else None
        self._socket: socket.socket | None = None
        if self._address is not None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)

    def ready(self, status: str) -> None:
        """Tell that the daemon serves. `status` is the line that `systemctl status` shows."""
        self._send(f"READY=1\nSTATUS={' '.join(status.split())}")

    def alive(self) -> None:
        """Tell that the loop runs. To be called once per round of the heartbeat, after the round's work."""
        self._send("WATCHDOG=1")

    def extend(self, status: str, seconds: float) -> None:
        """Ask for time: the daemon is ending, and will tell more within so many seconds."""
        self._send(f"EXTEND_TIMEOUT_USEC={round(seconds * 1e6)}\nSTATUS={' '.join(status.split())}")

    def stopping(self, status: str) -> None:
        """Tell that the daemon is ending."""
        self._send(f"STOPPING=1\nSTATUS={' '.join(status.split())}")

    def _send(self, message: str) -> None:
        if self._socket is not None and self._address is not None:
            with suppress(OSError):
                self._socket.sendto(message.encode(), self._address)

"""The real daemon `wgjit up` as a process inside a namespace, for the demo, the benchmarks and the tests."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from lab.netns import Namespace
from wgjit.control.socket import socket_path

WGJIT = (sys.executable, "-m", "wgjit")
"""The command of this checkout, as an argument list."""


class GatewayFailed(Exception):
    """The daemon ended, or did not become ready in time. The text holds its log."""


class Gateway:
    """A running `wgjit up`. A context manager, at whose end the daemon gets SIGTERM."""

    def __init__(
        self,
        namespace: Namespace,
        interface: str,
        *options: str | Path,
        store: Path | None,
        delivery: str = "auto",
        patience: float = 600.0,
        through: Sequence[str | Path] = (),
        program: Sequence[str] = WGJIT,
    ) -> None:
        """Start the daemon and wait until it is ready for knocks. Raises GatewayFailed.

        If `store` is None, the configuration's store counts. `through` is a command that becomes the daemon, such as
        setpriv(1) with its options. `program` is the daemon.
        """
        self.namespace = namespace
        self.interface = interface
        self.log = namespace.lab.folder / f"{interface}.log"
        """The file that gets the daemon's standard error."""
        with self.log.open("a") as log:
            self.process = namespace.popen(
                *through, *program, "up", interface, *([] if store is None else ["--store", store]),
                "--delivery", delivery, *options,
                stdout=subprocess.PIPE, stderr=log,
            )  # fmt: skip
        self.about = self._ready(patience)
        """The fields of the daemon's line that said that it was ready."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _ready(self, patience: float) -> dict[str, Any]:
        assert self.process.stdout is not None
        readable, _, _ = select.select([self.process.stdout], [], [], patience)
        line = self.process.stdout.readline() if readable else ""
        if not line:
            self.process.kill()
            self.process.wait()
            raise GatewayFailed(f"wgjit up {self.interface}: not ready\n{self.log.read_text()}")
        return dict(json.loads(line))

    def status(self) -> dict[str, Any]:
        """The gateway's status, as `wgjit status` shows it."""
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(60)
            control.connect(str(socket_path(self.interface)))
            control.sendall(b'{"ask": "status"}\n')
            return dict(json.loads(control.makefile("r", encoding="utf-8").readline()))

    def feed(self) -> Feed:
        """Listen to every initiation from now on."""
        return Feed(self.interface)

    def send(self, number: signal.Signals) -> None:
        """Send the daemon a signal."""
        os.kill(self.process.pid, number)

    def stop(self) -> int:
        """End the daemon by SIGTERM and return its exit status. Harmless if it has ended."""
        if self.process.poll() is None:
            self.send(signal.SIGTERM)
        try:
            return self.process.wait(timeout=60)
        finally:
            self.process.kill()  # harmless if it has ended

    def kill(self) -> None:
        """End the daemon by SIGKILL, so that it cleans nothing up."""
        self.process.kill()
        self.process.wait()


class Feed:
    """The daemon's feed, from its control socket. Use it as a context manager. It listens from its creation on."""

    def __init__(self, interface: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(60)
        self._socket.connect(str(socket_path(interface)))
        self._socket.sendall(b'{"ask": "feed"}\n')
        self._lines = self._socket.makefile("r", encoding="utf-8")
        assert json.loads(self._lines.readline()) == {"feed": "open"}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()
        self._socket.close()

    def next(self, timeout: float = 60.0, **wanted: object) -> dict[str, Any]:
        """The next initiation, or the next with these values. Raises TimeoutError, EOFError (the daemon ended)."""
        end = time.monotonic() + timeout
        while True:
            self._socket.settimeout(max(0.001, end - time.monotonic()))
            if not (line := self._lines.readline()):
                raise EOFError("the feed ended")
            record = json.loads(line)
            if all(record[name] == value for name, value in wanted.items()):
                return dict(record)

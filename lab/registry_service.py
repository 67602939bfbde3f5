"""A remote registry: docs/examples/registry_server.py as a process, with its own certificate."""

from __future__ import annotations

import json
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

from lab.certificate import make_certificate
from wgjit.model import Peer

SERVER = Path(__file__).parents[1] / "docs/examples/registry_server.py"

Start = Callable[..., "subprocess.Popen[str]"]


class RegistryService:
    """The example server on 127.0.0.1. A context manager, at whose end the server is killed."""

    def __init__(self, folder: Path, port: int, start: Start | None = None) -> None:
        """`start` starts a command with `stdout`, as `Namespace.popen` does. By default it starts here."""
        self.folder, self.port = folder, port
        self.url = f"https://127.0.0.1:{port}/v1"
        self.peers_file, self.token_file = folder / "service-peers.json", folder / "service-token"
        self.certificate, self._key = folder / "service-cert.pem", folder / "service-key.pem"
        self.peers: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []
        """The keys that the server was asked for, in order."""
        self._read = ""
        self._start = start or _here
        self._process: subprocess.Popen[str] | None = None
        self.token_file.write_text(secrets.token_urlsafe() + "\n")
        make_certificate(self.certificate, self._key)
        self._write()

    @property
    def settings(self) -> str:
        """The section [store] of a gateway that uses this server."""
        return (
            f'[store]\nurl = "{self.url}"\npath = "{self.folder}/answers.db"\n'
            f'token_file = "{self.token_file}"\nca_file = "{self.certificate}"\n'
        )

    def put(self, peer: Peer, **others: object) -> None:
        """Register or change a peer."""
        self.peers[str(peer.public_key)] = {
            "name": peer.name,
            "allowed_ips": [str(prefix) for prefix in peer.allowed_ips],
            "preshared_key": peer.preshared_key.reveal_base64() if peer.preshared_key else None,
            "keepalive": peer.keepalive,
            "enabled": peer.enabled,
            **others,
        }
        self._write()

    def remove(self, peer: Peer) -> None:
        """Remove a peer."""
        del self.peers[str(peer.public_key)]
        self._write()

    def _write(self) -> None:
        fresh = self.peers_file.with_suffix(".new")
        fresh.write_text(json.dumps(self.peers))
        fresh.rename(self.peers_file)
        if self._process is not None:
            written = str(self.peers_file.stat().st_mtime_ns)
            wait_until(lambda: self._read == written)

    def up(self) -> None:
        """Start the server and wait until it answers."""
        command: Sequence[str | Path] = (
            sys.executable, SERVER, self.peers_file, "--port", str(self.port),
            "--certificate", self.certificate, "--key", self._key, "--token-file", self.token_file,
        )  # fmt: skip
        self._process = self._start(*command, stdout=subprocess.PIPE)
        threading.Thread(target=self._listen, args=(self._process,), daemon=True).start()

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            word, _, key = line.strip().partition(" ")
            if word == "asked":
                self.asked.append(key)
            elif word == "read":
                self._read = key

    def down(self) -> None:
        """Kill the server."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def answers(self) -> bool:
        """Whether the server takes connections. The question is asked in the server's own namespace."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return True
        except OSError:
            return False

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(self, *_: object) -> None:
        self.down()


def wait_until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait until a condition holds. Fails if it does not hold in time."""
    end, pause = time.monotonic() + seconds, 0.02
    while not condition():
        assert time.monotonic() < end, f"it did not come about within {seconds} s"
        time.sleep(pause)
        pause = min(pause * 1.3, 0.5)  # frequent checks would load a busy machine even more


def _here(*command: str | Path, stdout: int) -> subprocess.Popen[str]:
    return subprocess.Popen([*map(str, command)], stdout=stdout, stdin=subprocess.DEVNULL, text=True)

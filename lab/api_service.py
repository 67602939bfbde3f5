"""`wgjit api` as a process with its own registry: the registry service of a fleet's gateways, as in docs/REMOTE.md."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import IO, Any, Self

from lab.certificate import make_certificate
from lab.registry import LabRegistry
from wgjit.stores.entries import Author, Scope

INTERFACE = "fleet"
"""The interface name of the API's files. No such interface exists."""

Start = Callable[..., "subprocess.Popen[str]"]


class ApiFailed(Exception):
    """The API's process ended, or did not become ready. The text holds its log."""


class ApiService:
    """The API on 127.0.0.1, with default settings. A context manager, at whose end the API gets SIGTERM."""

    def __init__(self, folder: Path, start: Start | None = None) -> None:
        """`folder` is made for this API alone. `start` starts a command as `Namespace.popen` does; by default here."""
        folder.mkdir()
        self.folder = folder
        self._start = start or _here
        self._process: subprocess.Popen[str] | None = None
        self.about: dict[str, Any] = {}
        make_certificate(folder / "cert.pem", folder / "key.pem")
        (folder / "api.toml").write_text(
            f'[store]\npath = "{folder}/registry.db"\n[api]\nlisten = "127.0.0.1:0"\nsocket = "{folder}/api.sock"\n'
            f'tls_certificate_file = "{folder}/cert.pem"\ntls_private_key_file = "{folder}/key.pem"\n'
        )
        with closing(LabRegistry(folder / "registry.db", timeout=5)) as registry:
            _, token = registry.tokens.create("gateways", Scope.GATEWAY, by=Author("lab"))
        (folder / "token").write_text(token)
        self.registry = LabRegistry(folder / "registry.db", timeout=5)
        """The registry file, opened directly and not through the API."""

    @property
    def settings(self) -> str:
        """The section [store] of a gateway that uses this API. More settings may be appended."""
        return (
            f'[store]\nurl = "https://{self.about["listen"]}/v1"\npath = "{self.folder}/answers.db"\n'
            f'token_file = "{self.folder}/token"\nca_file = "{self.folder}/cert.pem"\n'
        )

    def __enter__(self) -> Self:
        with (self.folder / "api.log").open("a") as log:
            self._process = self._start(
                sys.executable, "-m", "wgjit", "api", INTERFACE, "--config", self.folder / "api.toml",
                stdout=subprocess.PIPE, stderr=log,
            )  # fmt: skip
        assert self._process.stdout is not None
        if not (line := self._process.stdout.readline()):
            self._process.wait()
            raise ApiFailed((self.folder / "api.log").read_text())
        self.about = json.loads(line)
        return self

    def __exit__(self, *_: object) -> None:
        self.registry.close()
        assert self._process is not None
        assert self._process.stdout is not None
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(20)
        finally:
            self._process.kill()  # harmless if it has ended
            self._process.stdout.close()


def _here(*command: str | Path, stdout: int, stderr: IO[str]) -> subprocess.Popen[str]:
    return subprocess.Popen([*map(str, command)], stdout=stdout, stderr=stderr, stdin=subprocess.DEVNULL, text=True)

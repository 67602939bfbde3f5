"""The real `wgjit api` process, on a Unix socket and on TLS with a certificate of its own.

The same tests run over PostgreSQL (tests/postgresql/api): there a server has a `url`.
"""

from __future__ import annotations

import json
import os
import re
import signal
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from lab.certificate import make_certificate
from lab.registry import LabPostgres, LabRegistry, opened
from tests.unit.cli.conftest import bytes_of
from wgjit.stores.entries import Author, Scope

BY = Author("test")
GATEWAY_KEY = "aGFuZGVkIG91dCBieSB0aGUgb2ZmaWNlIHJvdXRlci4="

CONFIG = f"""
[store]
path = "{{folder}}/wg0.db"
[pool]
ipv4 = "10.8.0.0/24"
[client]
endpoint = "vpn.example.org"
public_key = "{GATEWAY_KEY}"
[api]
listen = "127.0.0.1:0"
tls_certificate_file = "{{folder}}/cert.pem"
tls_private_key_file = "{{folder}}/key.pem"
rate = 1000
"""


def write_certificate(folder: Path) -> None:
    """Where CONFIG has it."""
    make_certificate(folder / "cert.pem", folder / "key.pem")


@dataclass
class Api:
    """A running server, and its folder."""

    folder: Path
    process: subprocess.Popen[bytes]
    about: dict[str, object]
    url_of_registry: str | None = None
    clients: list[httpx.Client] = field(default_factory=list)

    @property
    def socket(self) -> Path:
        return self.folder / "wg0.api.sock"

    @property
    def url(self) -> str:
        return f"https://{self.about['listen']}"

    @property
    def local(self) -> httpx.Client:
        """By the Unix socket: all scopes."""
        return self._keep(
            httpx.Client(transport=httpx.HTTPTransport(uds=str(self.socket)), base_url="http://wgjit", timeout=30)
        )

    def remote(self, token: str | None, source: str | None = None) -> httpx.Client:
        """By TLS, from an address in 127.0.0.0/8."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        limits = httpx.Limits(keepalive_expiry=None)  # a busy machine is no reason to connect again
        transport = httpx.HTTPTransport(verify=self.trusted(), local_address=source, limits=limits)
        return self._keep(httpx.Client(transport=transport, base_url=self.url, headers=headers, timeout=30))

    def trusted(self) -> ssl.SSLContext:
        """What a client takes for the server: its certificate as it is now."""
        return ssl.create_default_context(cafile=self.folder / "cert.pem")

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = str(self.about["listen"]).rpartition(":")
        return host, int(port)

    def memory(self) -> int:
        """The most that the process ever held, MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) // 1024

    @property
    def place(self) -> Path | str:
        """The file or the URL of its registry."""
        return self.url_of_registry or self.folder / "wg0.db"

    def registry(self) -> closing[LabRegistry] | closing[LabPostgres]:
        """The registry itself."""
        return opened(self.place, create=False, timeout=5)

    def kept(self) -> bytes:
        """All that the registry keeps, as it lies on the disk or in a dump."""
        return bytes_of(self.place)

    def token(self, scope: str, name: str | None = None, rate: float | None = None) -> str:
        with self.registry() as registry:
            return registry.tokens.create(name or os.urandom(8).hex(), Scope(scope), by=BY, rate=rate)[1]

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def end(self, number: int = signal.SIGTERM) -> int:
        for client in self.clients:
            client.close()
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(30)
        if self.process.stdout:
            self.process.stdout.close()
        return status

    def _keep(self, client: httpx.Client) -> httpx.Client:
        self.clients.append(client)
        return client


def start(
    folder: Path,
    *options: object,
    config: str = CONFIG,
    files: int | None = None,
    through: Sequence[str] = (),
    url: str | None = None,
) -> subprocess.Popen[bytes]:
    """The process alone. `files`: how many it may have open, and cannot allow itself more. `through` is a command that
    becomes it. `url`: where the registry is, instead of the file."""
    text = config.format(folder=folder)
    if url is not None:
        path = f'path = "{folder}/wg0.db"'
        assert path in text
        text = text.replace(path, f'url = "{url}"')
    (folder / "wg0.toml").write_text(text)
    if not (folder / "cert.pem").exists():
        write_certificate(folder)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WGJIT_")}
    with open(folder / "log", "ab") as log:
        return subprocess.Popen(
            [
                *through,
                *(() if files is None else ("prlimit", f"--nofile={files}:{files}")),
                Path(sys.executable).parent / "wgjit",
                *("api", "wg0", "--config", folder / "wg0.toml", *map(str, options)),
            ],
            stdout=subprocess.PIPE,
            stderr=log,
            env={**clean, "WGJIT_RUN_FOLDER": str(folder)},
        )


def run(folder: Path, *options: object, url: str | None = None, **more: Any) -> Api:
    """A server that answers. `more` is as of `start`."""
    process = start(folder, *options, url=url, **more)
    assert process.stdout
    line = process.stdout.readline()
    assert line, (folder / "log").read_text()
    return Api(folder, process, json.loads(line), url)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """One server for the tests of a module."""
    server = run(tmp_path_factory.mktemp("api"))
    try:
        yield server
    finally:
        server.end()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Callable[..., Api]]:
    """Start servers in a folder of the test's own."""
    started: list[Api] = []

    def begin(*options: object, config: str = CONFIG, files: int | None = None) -> Api:
        started.append(run(tmp_path, *options, config=config, files=files))
        return started[-1]

    try:
        yield begin
    finally:
        for server in started:
            server.end(signal.SIGKILL)

"""The registry commands as a person runs them: arguments in; exit status, output and errors out.

The same tests run over PostgreSQL (tests/postgresql/cli): there `store` is a URL. So a test reads and writes the
registry with the functions below.
"""

import contextlib
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from lab.postgresql import binaries
from lab.registry import opened
from tests.contracts.store import key
from wgjit import cli
from wgjit.model import Peer, PresharedKey
from wgjit.stores.entries import AuditFilter

Run = Callable[..., tuple[int, str, str]]

K1, K2, K3 = str(key(1)), str(key(2)), str(key(3))
PSK = PresharedKey(b"p" * 32)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "registry.db"
    monkeypatch.setenv("WGJIT_STORE", str(path))
    return path


@pytest.fixture
def wgjit(store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `wgjit ARGUMENTS`; gives exit status, output, errors."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["wgjit", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        output = capsys.readouterr()
        status = ended.value.code
        return (status if isinstance(status, int) else 0), output.out, output.err

    return run


@pytest.fixture
def run(wgjit: Run) -> Run:
    """Run `wgjit peer ARGUMENTS`."""
    return lambda *arguments: wgjit("peer", *arguments)


@pytest.fixture
def two(run: Run, store: Path, tmp_path: Path) -> Path:
    """alice with everything set, bob plain."""
    psk = tmp_path / "alice.psk"
    psk.write_text(PSK.reveal_base64() + "\n")
    everything = ["--keepalive", 25, "--expires-at", "2100-01-31T12:00:00Z", "--preshared-key-file", psk]
    everything += ["--idle-timeout", "30m"]
    assert run("add", "alice", "--public-key", K1, "--allowed-ips", "10.8.0.2/32,fd00::2/128", *everything) == (
        0,
        f"added alice ({K1})\n",
        "",
    )
    assert run("add", "bob", "--public-key", K2, "--allowed-ips", "10.8.0.3", "--allowed-ips", "10.9.0.0/24")[0] == 0
    return store


def content(place: Path | str) -> list[Peer]:
    """All peers of a registry."""
    with opened(place, create=False) as registry:
        return list(registry.peers.every())


def is_untouched(place: Path | str) -> bool:
    """Whether a registry was never written to: its file was not made, or nothing is in its database."""
    if isinstance(place, Path):
        return not place.exists()
    with opened(place) as registry:
        return not registry.peers.count() and not registry.audit.page(AuditFilter(), 1).entries


def written_by_another(place: Path | str, statement: str, parameters: tuple[Any, ...] = ()) -> None:
    """Another program writes to the registry by SQL. Parameters are `?`."""
    if isinstance(place, Path):
        with contextlib.closing(sqlite3.connect(place)) as raw, raw:
            raw.execute(statement, parameters)
        return
    with psycopg.connect(place, options="-c search_path=wgjit") as shell:
        shell.execute(statement.replace("?", "%s").encode(), parameters)


def bytes_of(place: Path | str) -> bytes:
    """All that a registry keeps, as its own files or its own dump have it."""
    if isinstance(place, Path):
        return b"".join(path.read_bytes() for path in place.parent.glob(f"{place.name}*"))
    return subprocess.run([binaries() / "pg_dump", place], capture_output=True, check=True).stdout

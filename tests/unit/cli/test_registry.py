"""`wgjit registry migrate`: the one command that brings an older registry to this wgjit's schema."""

from __future__ import annotations

import contextlib
import json
import socket
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.registry import LabRegistry
from tests.contracts.store import FULL
from tests.unit.cli.conftest import K1, Run
from wgjit.stores.sqlite.file import schema


@pytest.fixture
def old(store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A registry that this program finds older than itself."""
    with contextlib.closing(LabRegistry(store)) as registry:
        registry.add([FULL])
    today = schema.migrations()
    monkeypatch.setattr(schema, "migrations", lambda _kind: (*today, "CREATE TABLE extra (a);\n"))
    return store


def test_a_reader_names_the_command_and_the_command_migrates(wgjit: Run, old: Path) -> None:
    before = old.read_bytes()
    status, out, err = wgjit("peer", "list")
    assert (status, out) == (1, "")
    told = f"registry {old}: a file of an older schema; migrate it with `wgjit registry migrate --store {old}`"
    assert err == f"wgjit: {told}\n"
    assert old.read_bytes() == before, "a reader changes nothing"

    command = told.partition("`wgjit ")[2].rstrip("`").split()
    assert wgjit(*command) == (0, "", f"registry {old}: migrated to the present schema\n")
    assert wgjit(*command) == (0, "", f"registry {old}: has the present schema already\n")
    status, out, _ = wgjit("peer", "list")
    assert (status, str(FULL.name) in out) == (0, True)


def test_the_configured_registry_is_migrated(
    wgjit: Run, old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WGJIT_STORE")
    settings = tmp_path / "wg0.toml"
    settings.write_text(f'store = {{path = "{old}"}}\n')
    assert wgjit("registry", "migrate", "--config", settings)[0] == 0
    with contextlib.closing(sqlite3.connect(old)) as raw:
        assert raw.execute("SELECT count(*) FROM extra").fetchone() == (0,)


def test_a_registry_is_not_made_by_the_way(wgjit: Run, store: Path) -> None:
    status, out, err = wgjit("registry", "migrate")
    assert (status, out) == (1, "")
    assert f"registry {store}: no such file" in err
    assert not store.exists()


def test_a_registry_that_has_gone_is_not_told_to_be_made_by_a_first_peer(wgjit: Run, two: Path) -> None:
    """A gateway would take the empty one for all there is, and revoke every resident."""
    two.unlink()
    _, _, err = wgjit("peer", "list")
    assert "if it was there before, put it back" in err
    assert "first peer" not in err


def test_the_registry_of_another_program_stays(wgjit: Run, store: Path) -> None:
    with contextlib.closing(sqlite3.connect(store)) as other:
        other.execute("CREATE TABLE songs (title)")
    status, _, err = wgjit("registry", "migrate")
    assert (status, "of another program" in err) == (1, True)


# --- a file that has gone from under a running gateway ----------------------------------------------------------------


@pytest.fixture
def serving(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A gateway on wg0 that says that it has this registry, whose file is not there."""
    run_folder = tmp_path / "run"
    run_folder.mkdir()
    monkeypatch.setenv("WGJIT_RUN_FOLDER", str(run_folder))
    with socket.socket(socket.AF_UNIX) as control:
        control.bind(str(run_folder / "wg0.sock"))
        control.listen()

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    asker, _ = control.accept()
                    with asker:
                        assert json.loads(asker.recv(100)) == {"ask": "status"}
                        asker.sendall(json.dumps({"interface": "wg0", "store": str(store)}).encode() + b"\n")

        threading.Thread(target=serve, daemon=True).start()
        yield store
        control.shutdown(socket.SHUT_RDWR)


ADD = ("peer", "add", "a", "--public-key", K1, "--allowed-ips", "10.8.0.2")


def test_no_command_makes_a_registry_in_its_place(wgjit: Run, serving: Path, tmp_path: Path) -> None:
    """The gateway would take the empty one for all there is, and revoke every resident."""
    peers = tmp_path / "peers.jsonl"
    peers.write_text(json.dumps({"public_key": K1, "allowed_ips": ["10.8.0.2/32"]}) + "\n")
    for command in (ADD, ("peer", "import", peers), ("token", "create", "x", "--scope", "read")):
        status, out, err = wgjit(*command)
        assert (status, out) == (1, "")
        told = f"wgjit: registry {serving}: no such file, but the gateway on wg0 uses it: put it back, "
        assert err.startswith(told), command
        assert not serving.exists()


@pytest.mark.usefixtures("serving")
def test_another_registry_is_made_all_the_same(wgjit: Run, tmp_path: Path) -> None:
    assert wgjit(*ADD, "--store", tmp_path / "other.db")[0] == 0


def test_the_socket_of_a_gateway_that_was_killed_keeps_nobody_from_making_one(
    wgjit: Run, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WGJIT_RUN_FOLDER", str(tmp_path))
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "wg0.sock"))
    assert wgjit(*ADD)[0] == 0
    assert store.exists()

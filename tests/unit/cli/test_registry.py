"""`wgjit registry migrate`: the one command that brings an older registry to this wgjit's schema."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest

from lab.registry import LabRegistry
from tests.contracts.store import FULL
from tests.unit.cli.conftest import Run
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

"""The registry's bench on a small registry in PostgreSQL: it measures what its figures say."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from bench import plain_peers, registry_both
from bench.server import Server
from lab.registry import LabPostgres
from wgjit.database_url import DatabaseUrl


def test_it_imports_asks_and_adds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("PASSES", 1), ("SAMPLE", 50), ("PAGES", 3), ("ADDED", 5), ("WRITERS", 2)):
        monkeypatch.setattr(registry_both, name, value)
    monkeypatch.setattr("bench.server.SETTINGS", {})
    plain_peers.write(tmp_path / "peers.csv", 1000)
    with Server() as server, server.database() as url:
        place = registry_both.DatabasePlace(server, url)
        figures = [*registry_both.measure(tmp_path / "peers.csv", place, 1000)]
        assert all(figure.value > 0 for figure in figures if "CPU" not in figure.what)
        with contextlib.closing(LabPostgres(DatabaseUrl(url))) as registry:
            assert registry.peers.count() == 1000 + 1 + 5 + 2 * 5
        assert server.version in str(server)

"""The registry's bench on a small registry: it measures what its figures say, and fails where a target is missed."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from bench import registry as bench
from wgjit.model import Peer, parse_allowed_ip
from wgjit.stores.sqlite import SqliteRegistry


def test_every_peer_has_a_key_and_an_address_of_its_own() -> None:
    for peers in (1000, 1024, 65_536):
        assert len({bench.address(number, peers) for number in range(peers)}) == peers
    assert bench.address(0, 1000) == "10.0.0.0"
    assert bench.address(49_999_999, 50_000_000).split(".")[0] in ("10", "11", "12")
    assert len({bench.public_key(number) for number in range(1000)}) == 1000


def test_it_imports_what_it_then_asks_for(tmp_path: Path) -> None:
    figures = list(bench.measure(1000, tmp_path))
    assert all(figure.value > 0 for figure in figures)
    with contextlib.closing(SqliteRegistry(tmp_path / "registry.db")) as registry:
        assert registry.count() == 1000
        wanted = Peer(bench.public_key(7), (parse_allowed_ip(bench.address(7, 1000)),))
        assert registry.find(str(wanted.public_key)) == wanted


def test_a_missed_target_fails_the_bench(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    figures = [bench.Figure("fast", 10.0, "peers/s", least=5), bench.Figure("slow", 60.0, "µs", most=50)]
    monkeypatch.setattr("bench.registry.measure", lambda peers, folder: iter(figures))
    assert bench.main(["--peers", "1000"]) == 1
    printed = capsys.readouterr()
    assert "| slow | 60.0 µs | at most 50 |" in printed.out
    assert printed.err.endswith("missed: slow\n")
    monkeypatch.setattr("bench.registry.measure", lambda peers, folder: iter(figures[:1]))
    assert bench.main(["--peers", "1000", "--json"]) == 0

"""The registry's bench on a small registry: it measures what its figures say, and fails where a target is missed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from bench import plain_peers, registry_both
from bench import registry as bench
from bench.report import Report
from lab.registry import LabRegistry
from wgjit.model import Peer, parse_allowed_ip


def test_every_peer_has_a_key_and_an_address_of_its_own() -> None:
    for peers in (1000, 1024, 65_536):
        assert len({plain_peers.address(number, peers) for number in range(peers)}) == peers
    assert plain_peers.address(0, 1000) == "10.0.0.0"
    assert plain_peers.address(49_999_999, 50_000_000).split(".")[0] in ("10", "11", "12")
    assert len({plain_peers.public_key(number) for number in range(1000)}) == 1000


def test_it_imports_what_it_then_asks_for(tmp_path: Path) -> None:
    figures = list(bench.measure(1000, tmp_path))
    assert all(figure.value > 0 for figure in figures)
    with contextlib.closing(LabRegistry(tmp_path / "registry.db")) as registry:
        assert registry.peers.count() == 1000
        wanted = Peer(plain_peers.public_key(7), (parse_allowed_ip(plain_peers.address(7, 1000)),))
        assert registry.find(str(wanted.public_key)) == wanted


def test_the_file_has_a_line_a_peer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.plain_peers.ROUND", 300)
    plain_peers.write(tmp_path / "peers.csv", 1000)
    _, *lines = (tmp_path / "peers.csv").read_text().splitlines()
    assert lines == [
        f"{plain_peers.public_key(n)},,{plain_peers.address(n, 1000)}/32,false,0,true,,," for n in range(1000)
    ]


def test_a_missed_target_fails_the_bench(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    figures = [bench.Figure("fast", 10.0, "peers/s", least=5), bench.Figure("slow", 60.0, "µs", most=50)]
    monkeypatch.setattr("bench.registry.measure", lambda peers, folder: iter(figures))
    assert bench.main(["--peers", "1000"]) == 1
    printed = capsys.readouterr()
    assert "| slow, µs | 60.0 | at most 50 |" in printed.out
    assert printed.err.endswith("missed: slow (1,000 peers)\n")
    monkeypatch.setattr("bench.registry.measure", lambda peers, folder: iter(figures[:1]))
    assert bench.main(["--peers", "1000", "--json"]) == 0


def test_each_number_of_peers_is_a_column_and_a_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def figures(peers: int, folder: Path) -> Iterator[bench.Figure]:
        yield bench.Figure(bench.IMPORT, 2e5 - peers, "peers/s", least=150_000)
        yield bench.Figure(bench.LOOKUP, peers / 500, "µs")
        yield bench.Figure(bench.LOOKUP_WORST, peers / 250, "µs", most=50)

    page = tmp_path / "page.md"
    page.write_text("before\n<!-- bench:registry -->\nold\n<!-- /bench:registry -->\nafter\n")
    monkeypatch.setattr("bench.registry.measure", figures)
    monkeypatch.setattr("bench.registry.Report", partial(Report, page=page, plots=tmp_path / "plots"))
    assert bench.main(["--peers", "10000", "1000", "--write"]) == 0
    text = page.read_text()
    assert "old" not in text
    assert "| plain peers | 1,000 | 10,000 | target |" in text
    assert f"| {bench.IMPORT}, peers/s | 199,000 | 190,000 | at least 150,000 |" in text
    assert f"| {bench.LOOKUP}, µs | 2.00 | 20.0 |  |" in text
    for name in ("registry-lookup", "registry-import"):
        assert f"](plots/{name}.svg)" in text
        assert "10,000" in (tmp_path / "plots" / f"{name}.svg").read_text()


def test_a_file_beside_postgresql(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("PASSES", 1), ("SAMPLE", 50), ("PAGES", 3), ("ADDED", 5), ("WRITERS", 2)):
        monkeypatch.setattr(registry_both, name, value)
    plain_peers.write(tmp_path / "peers.csv", 1000)
    place = registry_both.FilePlace(tmp_path / "registry.db")
    figures = {figure.what: figure.value for figure in registry_both.measure(tmp_path / "peers.csv", place, 1000)}
    assert figures["add from a pool, 2 processes at once"] > 0
    with contextlib.closing(LabRegistry(place.path)) as registry:
        assert registry.peers.count() == 1000 + 1 + 5 + 2 * 5
    with pytest.raises(SystemExit, match="given out twice"):
        registry_both.check_given(["11.0.0.1/32", "11.0.0.1/32"], 1000)
    with pytest.raises(SystemExit, match="given out twice"):
        registry_both.check_given(["10.0.3.231/32"], 1000)
    registry_both.check_given(["10.0.3.232/32", "11.0.0.1/32"], 1000)

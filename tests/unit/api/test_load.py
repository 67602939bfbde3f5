"""The load test, bounded: what a busy machine does not change. Times are for `./dev bench api` to tell."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import api
from bench.report import Report


def test_honest_callers_are_answered_among_2000_hostile_connections_and_50_slow_imports() -> None:
    outcome = api.measure(connections=2000, imports=50, requests=20)
    for kind in api.KINDS:
        assert outcome.among[kind].others == [], kind
        assert len(outcome.among[kind].seconds) == 20
    assert outcome.memory <= api.MEMORY
    assert len(outcome.log) <= api.LINES, outcome.log
    assert outcome.hostile["silent: connections"] >= 600
    assert outcome.hostile["import: connections"] >= 50
    assert outcome.hostile["import: 503"] >= 30  # beyond their share


def test_a_missed_limit_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quick, slow = api.Asked([0.01] * 100), api.Asked([0.3] * 100, ["503"])
    among = {kind: slow if kind == "Unix socket" else quick for kind in api.KINDS}
    outcome = api.Outcome(dict.fromkeys(api.KINDS, quick), among, 300, 0.5, ["line"] * 101, {"silent: connections": 1})
    page = tmp_path / "page.md"
    page.write_text("<!-- bench:api -->\n<!-- /bench:api -->\n")
    report = Report("api", True, page=page)
    assert api.tell(report, outcome) == 1
    report.finish()
    told = page.read_text()
    assert told.count("MISSED") == 4
    assert "MISSED Unix socket: p99 300 ms, limit 250" in told
    good = api.Outcome(dict.fromkeys(api.KINDS, quick), dict.fromkeys(api.KINDS, quick), 100, 0.5, [], {})
    assert api.tell(Report("api"), good) == 0

"""The benchmark `decode` measures what it says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import decode
from bench.report import Report


def test_every_kind_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    """What it measured is the bench's to judge, on a machine that is quiet: no test of ours depends on time."""
    decode.main(["--rounds", "2", "--json"])
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["name"], line["calls"]) for line in shown] == [
        ("garbage", 0),
        ("bad mac1", 0),
        ("bad point", 1),
        ("bad static", 1),
        ("claimed, key unknown", 1),
        ("forged", 2),
        ("proven", 2),
        *decode.STAGES,
    ]
    stages = [line for line in shown if "cumulative" in line]
    total = 0.0
    for stage in stages:
        total += stage["microseconds"]
        assert stage["cumulative"] == pytest.approx(total)
        assert stage["per_second"] == pytest.approx(1e6 / total)
    assert len(stages) == 4


def test_a_report_has_both_tables_and_the_plot(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- bench:decode -->\n<!-- /bench:decode -->\n")
    report = Report("decode", True, page=page, plots=tmp_path / "plots")
    results = [decode.Result("garbage", 0, 2.0, 0.0, 0.06, 0.5), decode.Result("proven", 2, 82.5, 66.0, 1.25, 1.25)]
    decode.tell(report, results, [decode.Stage("mac1", 1.0, 0, 2.5, 400_000.0)])
    report.finish()
    written = page.read_text()
    assert "| proven | 82.5 | 2 | 66.0 | 1.250 | 1.25 |" in written
    assert "| mac1 | 1.00 | 0 | 2.50 | 400,000 |" in written
    assert "82.5" in (tmp_path / "plots" / "decode.svg").read_text()


def test_what_is_timed_is_checked() -> None:
    """A kind that does not do what its name says is not measured."""
    proven = next(kind for kind in decode.kinds() if kind.name == "proven")
    decode.check(proven)
    with pytest.raises(SystemExit, match="mislabelled: Tai64n"):
        decode.check(proven._replace(name="mislabelled", expected=decode.Refusal.FORGED))


def test_a_cost_over_the_limit_is_a_status(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "LIMIT", 0.9)
    assert decode.main(["--rounds", "2"]) == 1
    assert "over the limit: bad point, bad static, claimed, key unknown, forged, proven" in capsys.readouterr().err


def test_no_rounds_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        decode.main(["--rounds", "0"])
    assert "--rounds: must be at least 1" in capsys.readouterr().err

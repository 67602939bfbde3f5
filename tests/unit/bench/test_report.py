"""The benches' report: what it says of the machine, and that --write changes its own section only."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench import report
from bench.report import Machine, NoSection, Report, cpu_model, kernel_name, markdown, replaced

PAGE = "# Head\n\nBefore.\n\n<!-- bench:storm -->\nold\n<!-- /bench:storm -->\n\nAfter.\n"


def test_only_its_own_section_is_replaced() -> None:
    page = replaced(PAGE, "storm", "\nnew\n\n| a |\n")
    assert page == PAGE.replace("old", "new\n\n| a |")
    assert replaced(page, "storm", "old") == PAGE


@pytest.mark.parametrize("page", ["", PAGE.replace("/bench", "/bank"), PAGE.replace("<!-- b", "<!-- c")])
def test_a_page_without_a_place_for_it_is_told(page: str, tmp_path: Path) -> None:
    with pytest.raises(NoSection, match="<!-- bench:storm --> and <!-- /bench:storm -->"):
        replaced(page, "storm", "new")
    (tmp_path / "page.md").write_text(page)
    with pytest.raises(NoSection):  # at once, and not when the bench has run
        Report("storm", write=True, page=tmp_path / "page.md", plots=tmp_path)
    Report("storm", page=tmp_path / "page.md", plots=tmp_path)


def test_what_is_printed_is_what_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page, plots = tmp_path / "page.md", tmp_path / "plots"
    page.write_text(PAGE)
    made = Report("storm", write=True, page=page, plots=plots)
    made.head(["--clients", "10", "--write"])
    made.table(("gateway", "s"), ((name, "1") for name in ("hold", "replay")))
    made.plot("storm", "<svg/>", "up over time")
    assert page.read_text() == PAGE
    made.finish()
    section = page.read_text().partition("<!-- bench:storm -->\n")[2].partition("<!-- /bench:storm -->")[0]
    assert section.startswith("`./dev bench storm --clients 10`: ")
    assert "| gateway | s |\n| --- | --- |\n| hold | 1 |\n| replay | 1 |" in section
    assert "![up over time](plots/storm.svg)" in section
    assert (plots / "storm.svg").read_text() == "<svg/>"
    printed = capsys.readouterr().out
    assert all(line in printed for line in section.splitlines() if not line.startswith("!["))


def test_a_bench_may_have_several_places(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE.replace("storm", "storm-go"))
    made = Report("storm", write=True, section="storm-go", page=page, plots=tmp_path)
    made.head([])
    made.finish()
    assert "<!-- bench:storm-go -->\n`./dev bench storm`: " in page.read_text()


def test_without_write_nothing_is_written(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    made = Report("storm", page=page, plots=tmp_path / "plots")
    made.plot("storm", "<svg/>", "up over time")
    made.finish()
    assert page.read_text() == PAGE
    assert not (tmp_path / "plots").exists()


def test_a_row_of_another_length_is_an_error() -> None:
    with pytest.raises(ValueError, match="1 cells, the head has 2"):
        markdown(("a", "b"), [("1",)])


def test_the_machine_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cpu_model("processor\t: 0\nmodel name\t: Some  CPU @ 2.0GHz\n") == "Some CPU @ 2.0GHz"
    assert cpu_model("Hardware: none") != ""
    assert kernel_name("6.1", "uml") == "User-Mode Linux 6.1"
    assert kernel_name("6.1", "") == "Linux 6.1"
    monkeypatch.setenv("WGJIT_GUEST_HOST", "Some CPU")
    assert "Some CPU" in str(Machine.here())
    told = str(Machine("Some CPU", 1, "Linux 6.1", "2026-01-31", "0123456789", True))
    assert told == "Linux 6.1, 1 CPU (Some CPU), 2026-01-31, commit 0123456789, changed since"


def test_the_commit_is_that_of_the_checkout() -> None:
    assert re.fullmatch(r"[0-9a-f]{10}|no commit", Machine.here().commit)


def test_every_section_of_the_page_is_whole() -> None:
    text = report.PAGE.read_text()
    begun, ended = (re.findall(rf"^<!-- {slash}bench:(\w+) -->$", text, re.MULTILINE) for slash in ("", "/"))
    assert begun == ended
    assert len(set(begun)) == len(begun)


def test_a_bench_may_have_a_second_place(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- bench:storm -->\nfirst\n<!-- /bench:storm -->\n<!-- bench:more -->\n<!-- /bench:more -->\n")
    report = Report("storm", True, section="more", page=page, plots=tmp_path / "plots")
    report.head(["--fast"])
    report.finish()
    first, _, second = page.read_text().partition("<!-- bench:more -->")
    assert "first" in first
    assert "./dev bench storm --fast" in second

"""`wgjit audit`: who changed what, page by page; pruned only when asked for, and that is told, too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.conftest import K1, PSK, Run


def entries(wgjit: Run, *words: object) -> list[dict[str, Any]]:
    status, out, _ = wgjit("audit", *words, "--json")
    assert status == 0
    return [json.loads(line) for line in out.splitlines()]


def test_every_change_is_there_newest_first(wgjit: Run, run: Run, two: Path) -> None:
    run("disable", "alice")
    run("set", "bob", "--name", "robert")
    run("remove", "robert")
    verbs = [entry["verb"] for entry in entries(wgjit)]
    assert len(verbs) == 5, "two were added, three things were done"
    assert [entry["name"] for entry in entries(wgjit)][-2:] == ["bob", "alice"]
    status, out, err = wgjit("audit")
    assert (status, err) == (0, "")
    assert [row.split("  ")[3] for row in out.splitlines()] == verbs
    assert entries(wgjit) == entries(wgjit, "list")


def test_filters_and_pages(wgjit: Run, run: Run, two: Path) -> None:
    run("disable", "alice")
    assert {entry["public_key"] for entry in entries(wgjit, "--peer", "alice")} == {K1}
    assert len(entries(wgjit, "--peer", K1)) == 2
    run("remove", "alice")
    assert len(entries(wgjit, "--peer", K1)) == 3, "of one that was removed, by its whole key"
    assert entries(wgjit, "--actor", "nobody") == []
    assert len(entries(wgjit, "--since", "1h")) == 4
    assert entries(wgjit, "--since", "2099-01-31") == []
    status, out, err = wgjit("audit", "--limit", 3, "--json")
    first = [json.loads(line)["id"] for line in out.splitlines()]
    assert (status, len(first)) == (0, 3)
    assert err == f"next page: --after {first[-1]}\n"
    rest = [entry["id"] for entry in entries(wgjit, "--after", first[-1])]
    assert first + rest == [entry["id"] for entry in entries(wgjit)]


def test_prune_asks_and_tells(wgjit: Run, two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", open("/dev/null"))  # noqa: SIM115 - for the test's time
    assert wgjit("audit", "prune", "--before", "2099-01-01")[0] != 0, "nobody said yes"
    assert len(entries(wgjit)) == 2
    assert wgjit("audit", "prune", "--before", "365d", "--yes") == (0, "deleted 0 entries\n", "")
    status, _, err = wgjit("audit", "prune", "--before", "someday", "--yes")
    assert status == 1
    assert "before" in err
    assert wgjit("audit", "prune", "--before", "2099-01-01", "--yes") == (0, "deleted 2 entries\n", "")
    (left,) = entries(wgjit)
    assert left["details"] != {}, "what was deleted is told"


def test_a_secret_is_in_no_entry(wgjit: Run, two: Path) -> None:
    assert PSK.reveal_base64() not in wgjit("audit", "--json")[1] + wgjit("audit")[1]

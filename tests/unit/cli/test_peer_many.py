"""Many peers at a time: filters, pages, the search, removing with a question, names in the shell."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contracts.store import key
from tests.unit.cli.conftest import K1, K2, K3, Run


@pytest.fixture
def crowd(run: Run, store: Path) -> None:
    """Ten peers: p0 to p9; even ones of team infra, p3 disabled, p4 expired, p5 expiring in 2100."""
    for number in range(10):
        more = ["--label", "team=infra", "--label", f"n={number}"] if number % 2 == 0 else []
        more += {4: ["--expires-at", "2001-01-01"], 5: ["--expires-at", "2100-01-01"]}.get(number, [])
        assert run("add", f"p{number}", "--public-key", key(number), "--allowed-ips", f"10.8.0.{number}", *more)[0] == 0
    assert run("disable", "p3")[0] == 0


def names(out: str) -> list[str]:
    return [line.split()[2] for line in out.splitlines()]


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        (["--label", "team=infra"], [0, 2, 4, 6, 8]),
        (["--label", "team=infra", "--label", "n=6"], [6]),
        (["--label", "team=sales"], []),
        (["--state", "disabled"], [3]),
        (["--state", "expired"], [4]),
        (["--state", "enabled"], [0, 1, 2, 5, 6, 7, 8, 9]),
        (["--name-prefix", "p7"], [7]),
        (["--name-prefix", "P"], []),
        (["--expires-before", "2101-01-01"], [4, 5]),
        (["--expires-before", "+30d"], [4]),
        (["--label", "team=infra", "--state", "enabled"], [0, 2, 6, 8]),
    ],
)
def test_filters(run: Run, crowd: None, options: list[str], numbers: list[int]) -> None:
    status, out, err = run("list", *options)
    assert (status, err) == (0, "")
    assert names(out) == [f"p{number}" for number in numbers]
    objects = [json.loads(line) for line in run("list", "--json", *options)[1].splitlines()]
    assert [each["name"] for each in objects] == [f"p{number}" for number in numbers]


@pytest.mark.parametrize(
    "options", [[], ["--label", "team=infra"], ["--name-prefix", "p"], ["--expires-before", "2101-01-01"]]
)
def test_pages_make_up_the_whole_list(run: Run, crowd: None, options: list[str]) -> None:
    whole = run("list", *options)[1]
    pages, after = "", []
    for _ in range(20):
        status, out, err = run("list", "--limit", 2, *options, *after)
        assert status == 0
        pages += out
        if not err:
            break
        assert len(out.splitlines()) == 2
        assert err.startswith("next page: --after '")
        after = ["--after", err.split("'")[1]]
    assert pages == whole
    assert run("list", *options, "--after", "nonsense")[0] == (0 if "--name-prefix" in options else 1)


def test_labels_are_shown_set_and_taken(run: Run, crowd: None) -> None:
    assert run("list", "--name-prefix", "p6")[1].endswith("10.8.0.6/32  n=6 team=infra\n")
    assert "labels:        n=6, team=infra\n" in run("show", "p6")[1]
    assert run("set", "p6", "--label", "team=sales", "--unlabel", "n") == (0, f"changed p6 ({key(6)}): labels\n", "")
    assert json.loads(run("show", "10.8.0.6", "--json")[1])["labels"] == {"team": "sales"}
    shown = json.loads(run("set", "p6", "--label", "a=b", "--keepalive", 5, "--json")[1])
    assert (shown["labels"], shown["keepalive"]) == ({"a": "b", "team": "sales"}, 5)
    assert run("set", "p6", "--label", "nonsense")[2] == (
        "wgjit: label 'nonsense': write KEY=VALUE, such as team=infra\n"
    )
    assert run("set", "p6", "--label", "x=1", "--unlabel", "x")[2] == (
        "wgjit: --label and --unlabel: x is in both; give one of the two\n"
    )
    assert run("set", "p6", "--unlabel", "")[0] == 1


def test_a_lifetime_from_now(run: Run, crowd: None) -> None:
    assert run("set", "p1", "--expires", "30d")[0] == 0
    assert names(run("list", "--expires-before", "+31d")[1]) == ["p4", "p1"]
    assert names(run("list", "--expires-before", "+29d")[1]) == ["p4"]
    assert run("set", "p1", "--expires", "never")[0] == 0
    assert names(run("list", "--expires-before", "+31d")[1]) == ["p4"]
    assert run("set", "p1", "--expires", "1d", "--expires-at", "never")[2] == (
        "wgjit: --expires and --expires-at: give one of the two\n"
    )
    assert "expires 'soon': write a number and a unit" in run("set", "p1", "--expires", "soon")[2]
    assert "expires-before 'soon': write" in run("list", "--expires-before", "soon")[2]


def test_find(run: Run, crowd: None) -> None:
    assert names(run("find", "p1")[1]) == ["p1"]
    assert names(run("find", "10.8.0.8/31")[1]) == ["p8", "p9"]
    assert names(run("find", "team=infra")[1]) == ["p0", "p2", "p4", "p6", "p8"]
    status, out, err = run("find", "p", "--limit", 3)
    assert (status, names(out), err) == (0, ["p0", "p1", "p2"], "3 shown, there may be more; see --limit\n")
    assert run("find", "7") == (1, "", "no peer found by '7'; try --anywhere\n")
    assert json.loads(run("find", "7", "--anywhere", "--json")[1])["name"] == "p7"
    assert run("find", "seven", "--anywhere") == (1, "", "no peer found by 'seven'\n")


def test_the_beginning_of_a_key_and_an_address_are_handles(run: Run, two: Path) -> None:
    shown = run("show", "alice")[1]
    for handle in (K1[:8], "10.8.0.2", "fd00::2"):
        assert run("show", handle)[1] == shown
    assert run("disable", "10.9.0.77") == (0, f"disabled bob ({K2})\n", "")
    assert json.loads(run("enable", K2[:7], "--json")[1])["enabled"] is True
    status, _, err = run("show", "AAAA")
    assert status == 1
    assert err == f"wgjit: handle 'AAAA': write more of the key; it begins {K1} ('alice'), {K2} ('bob')\n"


# --- remove -------------------------------------------------------------------------------------------------


def answer(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


def test_removing_several_asks(run: Run, crowd: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("n\n", "", "\n"):
        answer(monkeypatch, text)
        status, out, err = run("remove", "p1", "p2")
        assert (status, out.strip()) == (1, "")
        assert "remove 2 peers? [y/N]" in err
    assert len(run("list")[1].splitlines()) == 10
    answer(monkeypatch, "y\n")
    status, out, _ = run("remove", "p1", "p2")
    assert (status, out.lstrip()) == (0, "removed p1\nremoved p2\n")
    assert run("remove", "p3", "p5", "10.8.0.3", "--yes")[:2] == (0, "removed p3\nremoved p5\nremoved 10.8.0.3\n")
    assert names(run("list")[1]) == ["p0", "p4", "p6", "p7", "p8", "p9"]
    assert json.loads(run("remove", "p7", "--json")[1]) == {"removed": 1}


def test_removing_by_address_or_part_of_a_key_asks_who_is_meant(
    run: Run, two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for handle in ("10.9.0.77", K2[:8]):
        answer(monkeypatch, "n\n")
        status, _, err = run("remove", handle)
        assert status == 1
        assert f"remove bob ({K2})? [y/N]" in err
    assert len(run("list")[1].splitlines()) == 2
    assert run("remove", "10.9.0.77", "-y") == (0, "removed 10.9.0.77\n", "")
    assert run("remove", K1) == (0, f"removed {K1}\n", "")


def test_removing_by_a_filter_asks(run: Run, crowd: None, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, "n\n")
    status, _, err = run("remove", "--state", "expired")
    assert status == 1
    assert "remove 1 peer? [y/N]" in err
    assert run("remove", "--state", "expired", "-y") == (0, "removed 1 peer\n", "")
    assert run("remove", "--label", "team=infra", "--yes", "--json")[1] == '{"removed": 4}\n'
    assert names(run("list")[1]) == ["p1", "p3", "p5", "p7", "p9"]
    assert run("remove", "--label", "team=infra") == (0, "removed 0 peers\n", "")


def test_one_unknown_handle_removes_nothing(run: Run, crowd: None) -> None:
    assert run("remove", "p1", "nobody", "--yes")[2] == (
        "wgjit: no peer 'nobody' is registered; `wgjit peer list` shows all\n"
    )
    for arguments in ([], ["--yes"], ["p1", "--label", "team=infra", "--yes"]):
        status, _, err = run("remove", *arguments)
        assert status == 1
        assert "what to remove: give HANDLEs, or a filter" in err
    assert len(run("list")[1].splitlines()) == 10


# --- the shell ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("wgjit peer show p", [f"p{number}" for number in range(10)]),
        ("wgjit peer remove p1 p2", ["p2"]),
        ("wgjit claim reset p3", ["p3"]),
        ("wgjit peer show nobody", []),
        ("wgjit peer disable --store /nowhere/x.db p", []),
        ("wgjit peer rot", ["rotate"]),
    ],
)
def test_the_shell_completes_names(store: Path, crowd: None, line: str, offered: list[str]) -> None:
    words = line.split()
    environment = {
        **os.environ,
        "WGJIT_STORE": str(store),
        "_WGJIT_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    program = [sys.executable, "-c", "import sys; sys.argv = ['wgjit']; from wgjit.cli import main; main()"]
    done = subprocess.run(program, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == offered
    assert K3 not in done.stderr


def test_the_shell_is_told_how_to_complete(tmp_path: Path) -> None:
    program = [Path(sys.executable).parent / "wgjit", "--show-completion", "bash"]
    environment = {**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    done = subprocess.run(program, env=environment, capture_output=True, text=True, check=True)
    assert "_WGJIT_COMPLETE=complete_bash" in done.stdout

"""A key in the place of a name, a label, a file or anything else: not taken, and not repeated."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from tests.unit.cli.conftest import K1, K2, K3, Run, bytes_of, content, written_by_another

RAW = bytes(range(100, 132))
SECRET = base64.b64encode(RAW).decode()
PEER = f"[Peer]\nPublicKey = {K1}\nAllowedIPs = 10.0.0.1/32\n"

COMMENTS = (
    f"# PrivateKey: {SECRET}",
    f"# psk {SECRET}",
    f"# {SECRET}",
    f"### Client {SECRET[:43]}",
    f"# Name = {SECRET}",
    f'# {{"name": "alice", "preshared_key": "{SECRET}"}}',
    f"# alice, {base64.urlsafe_b64encode(RAW).decode()}",
    f"# 0x{RAW.hex()}",
    f"# {RAW.hex(':').upper()}",
    f"# alice/{SECRET}",
)


@pytest.mark.parametrize("comment", COMMENTS)
@pytest.mark.parametrize("place", ["above", "inside"])
def test_a_comment_with_a_key_is_no_name_and_its_peer_is_imported(
    run: Run, store: Path, tmp_path: Path, comment: str, place: str
) -> None:
    file, report = tmp_path / "wg0.conf", tmp_path / "report"
    file.write_text(f"{comment}\n{PEER}" if place == "above" else PEER.replace("]\n", f"]\n{comment}\n", 1))
    status, out, err = run("import", file, "--skip-bad", "--report", report)
    line = 1 if place == "above" else 2
    assert (status, out) == (0, "imported 1 peer, 1 comment with a key not taken for a name\n")
    assert f"{file}: line {line}: a comment with a key in it was not taken for a name" in err
    assert f"line {line}: a comment with a key" in report.read_text()
    told = (
        out + err + report.read_text() + run("list")[1] + run("show", K1)[1] + run("export")[1] + bytes_of(store).hex()
    )
    assert SECRET[:20] not in told
    assert RAW.hex() not in told.lower()
    assert SECRET.encode().hex()[:40] not in told
    assert content(store)[0].name is None


def test_the_name_beside_it_is_taken(run: Run, store: Path, tmp_path: Path) -> None:
    file = tmp_path / "wg0.conf"
    file.write_text(
        f"# alice\n# psk {SECRET}\n{PEER}\n[Peer]\n# key {SECRET}\n# bob\nPublicKey = {K2}\n\n"
        f"[Peer]\nPublicKey = {K3} # {SECRET}\n"
    )
    status, out, err = run("import", file)
    assert (status, out) == (0, "imported 3 peers, 2 comments with a key not taken for a name\n")
    assert [line.split(": ")[2] for line in err.splitlines()] == ["line 2", "line 8"]
    assert [peer.name for peer in content(store)] == ["alice", "bob", None]


def test_without_names_nothing_is_told_of_comments(run: Run, store: Path, tmp_path: Path) -> None:
    file = tmp_path / "wg0.conf"
    file.write_text(f"# psk {SECRET}\n{PEER}")
    assert run("import", "--no-names", file) == (0, "imported 1 peer\n", "")


@pytest.mark.parametrize(
    ("name", "text", "error"),
    [
        ("a.jsonl", json.dumps({"public_key": K1, "name": f"psk {SECRET}"}), "line 1: name: a key stands in it"),
        ("a.jsonl", json.dumps({"public_key": K1, "labels": {"psk": SECRET}}), "line 1: label psk: a key stands"),
        ("a.jsonl", json.dumps({"public_key": K1, "labels": {SECRET[:43]: "x"}}), "line 1: label"),
        ("a.jsonl", json.dumps({"public_key": K1, SECRET: "x"}), "line 1: field (withheld: holds a key): unknown"),
        ("a.jsonl", json.dumps({"public_key": K1, "allowed_ips": [SECRET]}), "line 1: allowed IP (withheld"),
        ("a.jsonl", json.dumps({"public_key": K1, "expires_at": SECRET}), "line 1: field 'expires_at': (withheld"),
        ("a.csv", f"public_key,name\n{K1},{SECRET}\n", "line 2: name: a key stands in it"),
        ("a.csv", f"public_key,labels\n{K1},psk={SECRET}\n", "line 2: label psk: a key stands in it"),
        ("a.csv", f"public_key,{SECRET}\n{K1},x\n", "line 1: unknown column (withheld: holds a key)"),
        ("a.csv", f"public_key,allowed_ips\n{K1},{SECRET}\n", "line 2: allowed IP (withheld: holds a key)"),
        ("a.conf", f"[Peer]\n{SECRET}\n", "line 2: "),
        ("a.conf", f"[Peer]\n{SECRET[:43]} = 1\n", "line 2: unknown key (withheld: holds a key) in [Peer]"),
        ("a.conf", f"[Peer]\nPublicKey = {K1}\nAllowedIPs = {SECRET}\n", "line 3: AllowedIPs: (withheld: holds a key)"),
        ("a.dump", f"{K1}\t(none)\t(none)\t{SECRET}\t0\t0\t0\toff\n", "line 1: AllowedIPs: (withheld: holds a key)"),
    ],
)
def test_a_field_with_a_key_is_refused_and_not_repeated(
    run: Run, store: Path, tmp_path: Path, name: str, text: str, error: str
) -> None:
    (tmp_path / name).write_text(text)
    status, out, err = run("import", tmp_path / name)
    assert (status, out) == (1, "")
    assert error in err
    assert SECRET[:20] not in err


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["add", SECRET, "--public-key", K3, "--allowed-ips", "10.0.0.9"], "name: a key stands in it"),
        (["add", f"psk/{SECRET}", "--public-key", K3, "--allowed-ips", "10.0.0.9"], "name: a key stands in it"),
        (["add", "c", "--public-key", K3, "--allowed-ips", SECRET], "allowed IP (withheld"),
        (["add", "c", "--public-key", K3, "--allowed-ips", "10.0.0.9", "--label", f"psk={SECRET}"], "label psk: a key"),
        (["add", "c", "--public-key", K3, "--allowed-ips", "10.0.0.9", "--label", SECRET], "label"),
        (["set", "alice", "--preshared-key-file", SECRET], "--preshared-key-file (withheld"),
        (["add", "c", "--allowed-ips", "10.0.0.9", "--public-key", K3, SECRET], "(key left out)"),
        (["add", "c", "--public-key", K3, "--allowed-ips", "10.0.0.9", "--keepalive", SECRET], "--keepalive"),
        (["add", "c", "--public-key", K3, "--allowed-ips", "10.0.0.9", "--expires", SECRET], "expires (withheld"),
        (["add", "c", "--public-key", K3, "--allowed-ips", "10.0.0.9", "--idle-timeout", SECRET], "idle-timeout (with"),
        (["set", "alice", "--name", f"alice {SECRET}"], "name: a key stands in it"),
        (["set", "alice", "--label", f"psk={SECRET}"], "label psk: a key stands in it"),
        (["set", f"x {SECRET}", "--keepalive", "1"], "no peer (withheld: holds a key) is registered"),
        (["set", SECRET], "nothing to change for (withheld"),
        (["show", SECRET], "no peer of this public key is registered"),
        (["show", SECRET[:43]], "no peer (withheld"),
        (["find", SECRET], "no peer found by (withheld"),
        (["list", "--after", SECRET[:43]], "after (withheld"),
        (["list", "--state", SECRET], "(key left out)"),
        (["list", "--label", SECRET], "label (withheld"),
        (["import", SECRET], "(withheld: holds a key): "),
        ([SECRET], "(key left out)"),
        ([f"--{SECRET}"], "(key left out)"),
    ],
)
def test_no_error_repeats_a_key_that_was_given(run: Run, two: Path, arguments: list[str], error: str) -> None:
    status, out, err = run(*arguments)
    assert status != 0
    assert out == ""
    assert error in " ".join(err.replace("│", " ").split())  # some errors come in a box
    assert SECRET[:20] not in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["status", SECRET],
        ["feed", SECRET],
        ["up", SECRET],
        ["release", SECRET],
        ["adopt", SECRET],
        ["doctor", SECRET],
        ["decode", "--private-key", SECRET],
        ["token", "create", SECRET, "--scope", "read"],
        ["token", "revoke", SECRET],
        ["audit", "list", "--since", SECRET],
        ["claim", "show", f"x {SECRET}"],
        ["peer", "export", f"{SECRET}/x"],
        ["config", "check", "--config", SECRET],
        [SECRET],
    ],
)
def test_no_command_repeats_one(
    wgjit: Run, two: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.setenv("WGJIT_RUN_FOLDER", str(tmp_path))
    _, out, err = wgjit(*arguments)
    assert SECRET[:20] not in out + err


@pytest.mark.parametrize(
    "text",
    [
        f'[interface]\nprivate_key_file = "{SECRET}"\n',
        f'[interface]\nprivate_key_file = "/x/{SECRET}"\n',
        f'[interface]\naddresses = ["{SECRET}"]\n',
        f'[interface]\n"{SECRET}" = 1\n',
        f'["{SECRET}"]\nx = 1\n',
        f'[interfaces."{SECRET}"]\nx = 1\n',
        f'[client]\ndns = ["{SECRET}"]\n',
        f'[client]\nendpoint = "{SECRET}"\n',
        f'[gateway]\nname = "{SECRET}"\n',
        f'[gateway]\ndelivery = "{SECRET}"\n',
        f'[gateway]\nidle_timeout = "{SECRET}"\n',
        f"[interface]\n{SECRET}\n",
        f'[store]\nurl = "https://x/"\ntoken_file = "{SECRET}"\n',
        f'[pool]\nipv4 = "{SECRET}"\n',
    ],
)
def test_no_mistake_in_a_configuration_repeats_one(wgjit: Run, store: Path, tmp_path: Path, text: str) -> None:
    file = tmp_path / "wg0.toml"
    file.write_text(text)
    status, out, err = wgjit("config", "check", file)
    assert status == 1, out + err
    assert SECRET[:20] not in out + err


@pytest.fixture
def old(run: Run, two: Path) -> Path:
    """bob has a key for a name and in a label, as an older wgjit took them."""
    written_by_another(two, "UPDATE peers SET name = ? WHERE name = 'bob'", (f"psk {SECRET}",))
    label = "INSERT INTO labels SELECT public_key, 'psk', ? FROM peers WHERE name = ?"
    written_by_another(two, label, (SECRET, f"psk {SECRET}"))
    return two


def test_what_is_withheld_is_told_and_how_to_mend_it(run: Run, old: Path) -> None:
    hint = (
        "wgjit: 1 peer has a name or label with a key in it, which is not shown; give another name: wgjit peer set KEY"
    )
    for arguments in (["list"], ["list", "--json"], ["show", K2], ["show", K2, "--json"], ["find", K2], ["export"]):
        status, out, err = run(*arguments)
        assert status == 0
        assert hint in err, arguments
        assert SECRET[:20] not in out + err
        assert "(withheld: holds a key)" in out or "--json" in arguments or arguments == ["export"]
    assert run("set", K2, "--name", "bob") == (0, f"changed bob ({K2}): name\n", "")
    assert run("list")[2] == ""
    assert json.loads(run("show", "bob", "--json")[1])["labels"] == {}


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_an_export_has_no_such_name_and_is_read_again(run: Run, old: Path, tmp_path: Path, form: str) -> None:
    file = tmp_path / f"out.{form}"
    assert run("export", file, "--preshared-keys")[0] == 0
    assert SECRET[:20] not in file.read_text()
    status, out, _ = run("import", file)
    assert status == 0, out

"""`wgjit peer import`: all or nothing, in batches, without bad lines, and again."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lab.registry import opened
from tests.contracts.store import key, peer
from tests.unit.cli.conftest import K1, K3, PSK, Run, content
from wgjit.model import Peer, parse_allowed_ip

CONFIG = f"""[Interface]
ListenPort = 51820

# carol
[Peer]
PublicKey = {K3}
PresharedKey = {PSK.reveal_base64()}
AllowedIPs = 10.7.0.1/32

[Peer]
PublicKey = {key(4)}
AllowedIPs = 10.7.0.2/32
"""


def test_import(run: Run, two: Path, tmp_path: Path) -> None:
    file = tmp_path / "wg0.conf"
    file.write_text(CONFIG, "utf-8-sig")
    assert run("import", file) == (0, "imported 2 peers\n", "")
    with opened(two) as registry:
        assert registry.find("carol") == Peer(key(3), (parse_allowed_ip("10.7.0.1"),), PSK, name="carol")
        assert registry.find(str(key(4))).name is None
        assert registry.peers.count() == 4


def test_import_without_names(run: Run, store: Path, tmp_path: Path) -> None:
    file = tmp_path / "wg0.conf"
    file.write_text(CONFIG)
    assert run("import", "--no-names", file)[0] == 0
    assert json.loads(run("show", K3, "--json")[1])["name"] is None


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ("[Peer]\nPublicKey = x\n", "line 15: public key: not a WireGuard key"),
        (f"[Peer]\nPublicKey = {K1}\n", f"line 14: public key {K1}: registered already as alice"),
        (f"[Peer]\nPublicKey = {K3}\n", f"line 14: public key {K3}: registered already as carol"),
        (f"[Peer]\nPublicKey = {key(5)}\nAllowedIPs=10.9.0.1\n", "line 14: allowed IP 10.9.0.1/32"),
    ],
)
def test_an_import_with_one_bad_peer_imports_nothing(
    run: Run, two: Path, tmp_path: Path, more: str, error: str
) -> None:
    file = tmp_path / "wg0.conf"
    file.write_text(CONFIG + "\n" + more)
    status, out, err = run("import", file)
    assert (status, out) == (1, "")
    assert f"{file}: {error}" in err
    assert err.endswith("nothing was imported\n")
    assert len(run("list")[1].splitlines()) == 2


def test_files_that_cannot_be_imported(run: Run, store: Path, tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"[Peer]\n\xff\xfe\n")
    assert "not a text in UTF-8" in run("import", binary)[2]
    assert "No such file" in run("import", tmp_path / "none")[2]
    assert "Is a directory" in run("import", tmp_path)[2]


def write(file: Path, peers: list[Peer]) -> Path:
    with open(file, "w") as text:
        for each in peers:
            fields = {"public_key": str(each.public_key), "name": each.name}
            print(json.dumps(fields | {"allowed_ips": [*map(str, each.allowed_ips)]}), file=text)
    return file


def test_refused_peers_are_reported_by_line(run: Run, two: Path, tmp_path: Path) -> None:
    lines = [
        peer(5, "10.5.0.1/32"),
        peer(1, "10.5.0.2/32"),  # alice's key
        peer(6, "10.9.0.0/30"),  # in bob's network
        peer(7, "10.5.0.3/32", name="bob"),
        peer(5, "10.5.0.1/32"),  # line 1 again: present
        peer(5, "10.5.0.4/32"),  # its key with another address
        peer(8, "10.5.0.0/30"),  # around line 1's
        peer(9, "10.5.0.9/32"),
    ]
    file, report = write(tmp_path / "p.jsonl", lines), tmp_path / "report"
    before = content(two)
    status, out, err = run("import", file)
    assert (status, out) == (1, "")
    assert f"{file}: line 2: public key {K1}: registered already as alice" in err
    assert content(two) == before
    status, out, err = run("import", "--skip-bad", "--report", report, file)
    assert (status, out) == (0, "imported 2 peers, 1 already present, 5 lines left out\n")
    assert [line.removeprefix("wgjit: ") for line in err.splitlines()] == report.read_text().splitlines()
    assert re.findall(r"line (\d+):", err) == ["2", "3", "4", "6", "7"]
    assert content(two) == [*before, lines[0], lines[7]]
    assert run("import", "--skip-bad", file)[1] == "imported 0 peers, 3 already present, 5 lines left out\n"


def test_what_is_shown_is_bounded_and_the_report_is_not(run: Run, store: Path, tmp_path: Path) -> None:
    file, report = tmp_path / "p.jsonl", tmp_path / "report"
    file.write_text("x\n" * 5000)
    err = run("import", "--format", "jsonl", "--skip-bad", file)[2]
    assert err.count("\n") == 21
    assert err.endswith("more are only counted; --report FILE has them all\n")
    run("import", "--skip-bad", "--report", report, file)
    assert len(report.read_text().splitlines()) == 5000
    assert "--report: is for the lines that --skip-bad leaves out" in run("import", "--report", report, file)[2]


@pytest.mark.parametrize("names", [True, False])
def test_batches_are_all_or_nothing_each_and_a_second_run_goes_on(
    run: Run, store: Path, tmp_path: Path, names: bool
) -> None:
    lines = [peer(n, f"10.0.0.{n}/32", name=f"n{n}" if names and n % 3 == 0 else None) for n in range(1, 51)]
    broken = [*lines[:34], peer(1, "10.0.1.1/32"), *lines[34:]]
    file = write(tmp_path / "p.jsonl", broken)
    status, out, err = run("import", "--batch", 10, file)
    assert (status, out) == (1, "")
    assert f"{file}: line 35: public key {K1}: registered already" in err
    assert err.endswith("; 30 peers before this batch are registered\n")
    assert content(store) == lines[:30]
    write(file, lines)
    assert run("import", "--batch", 10, file) == (0, "imported 20 peers, 30 already present\n", "")
    assert content(store) == lines


def test_several_files(run: Run, store: Path, tmp_path: Path) -> None:
    first = write(tmp_path / "a.jsonl", [peer(1, "10.0.0.1/32")])
    second = write(tmp_path / "b.jsonl", [peer(2, "10.0.0.2/32"), peer(3, "10.0.0.1/32")])
    status, _, err = run("import", first, second)
    assert status == 1
    assert f"{second}: line 2: allowed IP 10.0.0.1/32" in err
    assert err.endswith("; 1 peer before this file is registered\n")
    assert content(store) == [peer(1, "10.0.0.1/32")]
    assert run("import", "--skip-bad", first, second)[1] == "imported 1 peer, 1 already present, 1 line left out\n"


def test_progress_is_shown_on_a_terminal_alone(store: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "p.jsonl", [peer(n, f"10.0.{n >> 8}.{n & 255}/32") for n in range(1, 1001)])
    ours, theirs = os.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "120"}
    command = [sys.executable, "-m", "wgjit", "peer", "import", str(file)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, env=environment)
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # how a terminal ends when nobody holds its other side
        while data := os.read(ours, 4096):
            shown += data
    os.close(ours)
    assert child.communicate() == (b"imported 1000 peers\n", None)
    assert b"1,000 peers" in shown
    assert b"/s" in shown

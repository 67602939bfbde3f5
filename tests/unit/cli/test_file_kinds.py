"""Files that are no file of peers, or are one in a form of somebody else: the import says what they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contracts.store import key, peer
from tests.unit.cli.conftest import K1, K2, K3, PSK, Run, content
from wgjit.model import Peer, PrivateKey

INTERFACE = f"(none)\t{key(77)}\t51820\toff"


def line(number: int, address: str) -> str:
    return f"{key(number)}\t(none)\t(none)\t{address}\t0\t0\t0\toff"


@pytest.mark.parametrize(
    ("name", "data", "what"),
    [
        ("p.json", f'[\n  {{"public_key": "{K1}"}}\n]\n'.encode(), "a JSON array; write one object a line"),
        ("p.conf", b'[{"a": 1}]', "a JSON array"),
        ("-", b'\xef\xbb\xbf[ {"a": 1}]', "a JSON array"),
        ("p.json", f'{{\n  "public_key": "{K1}"\n}}\n'.encode(), "one JSON object over several lines"),
        ("wg.json", b'{"wg0": {"privateKey": "x", "peers": {}}}', "the output of wg-json"),
        ("p.csv", f"public_key;name\n{K1};alice\n".encode("utf-16"), "a text in UTF-16; save it as UTF-8"),
        ("p.csv", f"public_key,name\n{K1},alice\n".encode("utf-16-le"), "a text in UTF-16"),
        ("p.conf", f"[Peer]\nPublicKey = {K1}\n".encode("utf-16-be"), "a text in UTF-16"),
        ("p.conf", b"\xff\xfe\x00\x00" + "[Peer]".encode("utf-32-le"), "a text in UTF-32"),
        ("p.csv", f"\ufeffname;public_key\r\nalice;{K1}\r\n".encode(), "line 1: its cells are separated by semicolons"),
        (
            "p.csv",
            f"name\tpublic_key\tallowed_ips\nalice\t{K1}\t\n".encode(),
            "line 1: its cells are separated by tabs",
        ),
        ("p", f"name\tpublic_key\tallowed_ips\tlabels\nalice\t{K1}\t\t\n".encode(), "separated by tabs"),
        ("p.csv", f"sep=;\r\npublic_key\r\n{K1}\r\n".encode(), "with a line `sep=`"),
        ("p.csv", f"public_key,name\n{K1},José\n".encode("latin-1"), "line 2: not a text in UTF-8, perhaps in Latin-1"),
        (
            "wg",
            f"interface: wg0\n  public key: {K1}\n\npeer: {K2}\n".encode(),
            "the text that `wg show` writes for people",
        ),
        ("wg.txt", f"peer: {K1}\n  allowed ips: (none)\n".encode(), "the text that `wg show` writes for people"),
        ("x.netdev", f"# made\n[NetDev]\nName=wg0\n[WireGuardPeer]\nPublicKey={K1}\n".encode(), "systemd-networkd"),
        ("x.conf", f"[WireGuardPeer]\nPublicKey={K1}\n".encode(), "systemd-networkd"),
        ("p.csv", b"PK\x03\x04rest", "a spreadsheet"),
        ("p.csv", b"\x1f\x8b\x08", "compressed by gzip"),
        ("p.db", b"SQLite format 3\x00", "a SQLite database"),
        ("p.csv", b"<!DOCTYPE html>", "a web page"),
        ("d", line(1, "10.0.0.1/32").replace("\t", "    ").encode(), "a dump with blanks in place of tabs"),
        ("d.dump", f"wg0 (none) {K1} 51820 off\n".encode(), "a dump with blanks in place of tabs"),
    ],
)
def test_the_import_says_what_a_file_is(
    run: Run, store: Path, tmp_path: Path, name: str, data: bytes, what: str
) -> None:
    file = tmp_path / name
    file.write_bytes(data)
    for more in ([], ["--skip-bad"]):
        status, out, err = run("import", *more, file)
        if more and "line 2" in what:
            continue  # a bad line among others
        assert (status, out) == (1, "")
        assert f"{file}: " in err
        assert what in err
        assert err.endswith("; nothing was imported\n")
    assert content(store) == []


def test_csv_of_spreadsheets(run: Run, store: Path, tmp_path: Path) -> None:
    """A header in any case, booleans in any case, rows without content."""
    file = tmp_path / "p.csv"
    rows = f"Name,Public_Key,ENABLED\r\nalice,{K1},TRUE\r\n\r\n,,\r\n , ,\r\nbob,{K2},False\r\n,,\r\n"
    file.write_text(rows, "utf-8-sig", newline="")
    assert run("import", file) == (0, "imported 2 peers\n", "")
    assert content(store) == [Peer(key(1), name="alice"), Peer(key(2), enabled=False, name="bob")]


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    file = tmp_path / "all.dump"
    wg0 = [INTERFACE, line(1, "10.0.0.1/32"), line(2, "10.0.0.2/32,fd00::2/128")]
    wg1 = ["(none)\t(none)\t0\t0xca6c", line(3, "10.0.0.1/32"), line(1, "10.1.0.1/32")]
    file.write_text("".join(f"wg0\t{each}\n" for each in wg0) + "".join(f"wg1\t{each}\n" for each in wg1))
    return file


def test_a_dump_of_several_interfaces_is_refused(run: Run, store: Path, dump: Path) -> None:
    for more in ([], ["--skip-bad"], ["--batch", 1]):
        status, out, err = run("import", *more, dump)
        assert (status, out) == (1, "")
        assert f"{dump}: line 5: the dump has peers of several interfaces, 'wg0' and 'wg1'" in err
        assert "--interface NAME" in err


@pytest.mark.parametrize(
    ("interface", "expected", "others"),
    [
        ("wg0", [peer(1, "10.0.0.1"), peer(2, "10.0.0.2", "fd00::2")], "2 of 'wg1'"),
        ("wg1", [peer(1, "10.1.0.1"), peer(3, "10.0.0.1")], "2 of 'wg0'"),
        ("wg2", [], "2 of 'wg0', 2 of 'wg1'"),
    ],
)
def test_the_peers_of_the_asked_interface_are_taken(
    run: Run, store: Path, dump: Path, interface: str, expected: list[Peer], others: str
) -> None:
    status, out, err = run("import", "--interface", interface, dump)
    assert (status, out) == (0, f"imported {len(expected)} peers\n")
    assert f"peers of other interfaces in this dump were passed over: {others}" in err
    assert content(store) == expected


def test_an_interface_is_no_matter_in_a_dump_without_names(run: Run, store: Path, tmp_path: Path) -> None:
    file = tmp_path / "wg0.dump"
    file.write_text(f"{INTERFACE}\n{line(1, '10.0.0.1/32')}\n{line(2, '10.0.0.2/32')}\n")
    assert run("import", "--interface", "wg7", file) == (0, "imported 2 peers\n", "")


def test_amneziawg(run: Run, store: Path, tmp_path: Path) -> None:
    """The plain part of its files is read, and the import says that its clients speak another protocol."""
    conf, dump = tmp_path / "awg0.conf", tmp_path / "awg.dump"
    conf.write_text(
        f"[Interface]\nListenPort = 1\nJc = 4\nS1 = 17\n\n[Peer]\nPublicKey = {K1}\nAdvancedSecurity = on\n"
    )
    status, out, err = run("import", conf)
    assert (status, out) == (0, "imported 1 peer\n")
    assert "settings of AmneziaWG" in err
    private = PrivateKey(b"p" * 32).reveal_base64()
    cells = "\t".join(map(str, (4, 40, 70, 17, 110, 0, 0, 80950146, 1937289249, 725414822, 1174618820, "(null)")))
    dump.write_text(f"awg0\t{private}\t{K3}\t51820\t{cells}\toff\nawg0\t{line(2, '10.0.0.2/32')}\n")
    assert run("import", dump) == (0, "imported 1 peer\n", "")
    assert content(store) == [peer(1), peer(2, "10.0.0.2")]


def test_commands_of_wg_quick_do_not_vanish_without_a_word(run: Run, store: Path, tmp_path: Path) -> None:
    file = tmp_path / "wg0.conf"
    hooks = f"PreUp = \nPostUp = iptables SECRET\nPostDown = x\nPrivateKey = {PSK.reveal_base64()}\n"
    file.write_text(f"[Interface]\nListenPort = 1\n{hooks}\n[Peer]\nPublicKey = {K1}\n")
    status, out, err = run("import", file)
    assert (status, out) == (0, "imported 1 peer\n")
    assert err.count("\n") == 1
    assert f"{file}: lines 4, 5: commands of wg-quick (PreUp, PostUp, PreDown, PostDown) were passed over" in err
    assert "SECRET" not in err

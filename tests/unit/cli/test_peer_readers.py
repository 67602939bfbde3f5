"""Peers out of text: formats, bad lines, and that the fast way accepts what the careful way does."""

from __future__ import annotations

import contextlib
import io
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.contracts.store import key, peer
from tests.unit.cli.conftest import K1, K3, PSK, Run, content
from wgjit.errors import InvalidValue
from wgjit.management import file_kinds, peer_readers
from wgjit.management.file_kinds import Format
from wgjit.management.peer_readers import Chunk
from wgjit.management.wg_config import read_sections
from wgjit.model import Peer, parse_allowed_ip
from wgjit.stores import packing


def test_a_dump_of_all_interfaces(run: Run, store: Path, tmp_path: Path) -> None:
    """As `wg show all dump` prints it: the interface's name before each line, its private key in the first."""
    file = tmp_path / "peers"
    private = key(77)
    file.write_text(
        f"wg0\t{private}\t{key(78)}\t51820\toff\n"
        f"wg0\t{K1}\t(none)\t192.0.2.1:4000\t10.7.0.1/32\t1700000000\t10\t20\toff\n"
        f"wg0\t{key(2)}\t{PSK.reveal_base64()}\t(none)\t10.7.0.2/32,fd00::2/128\t0\t0\t0\t25\n"
        f"wg0\t{K3}\t(none)\t(none)\t(none)\t0\t0\t0\toff\n"
    )
    assert run("import", file) == (0, "imported 3 peers\n", "")
    prefixes = (parse_allowed_ip("10.7.0.2"), parse_allowed_ip("fd00::2"))
    assert content(store) == [peer(1, "10.7.0.1/32"), Peer(key(2), prefixes, PSK, 25), peer(3)]


@pytest.mark.parametrize(
    ("name", "head", "form"),
    [
        ("x.CONF", b"", Format.CONF),
        ("x.csv", b"{", Format.CSV),
        ("x.ndjson", b"", Format.JSONL),
        ("-", b'\xef\xbb\xbf\n {"public_key"', Format.JSONL),
        ("x.txt", b"# alice\n[Peer]\n", Format.CONF),
        ("x", b"[Interface]\n", Format.CONF),
        ("x", b"a\tb\t1\toff\n", Format.DUMP),
        ("x", b"name,public_key\r\n", Format.CSV),
    ],
)
def test_the_format_is_told_by_name_or_content(name: str, head: bytes, form: Format) -> None:
    assert file_kinds.guess(name, head) is form


def test_a_format_that_cannot_be_told(run: Run, store: Path, tmp_path: Path) -> None:
    file = tmp_path / "peers.txt"
    file.write_text("alice;10.0.0.1\n")
    assert run("import", file) == (
        1,
        "",
        f"wgjit: {file}: its format is not to be told by its name or its first line; say it with --format; "
        "nothing was imported\n",
    )


def test_standard_input(run: Run, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = io.TextIOWrapper(io.BufferedReader(io.BytesIO(json.dumps({"public_key": K1}).encode())))  # type: ignore[arg-type]
    monkeypatch.setattr("sys.stdin", text)
    assert run("import", "-") == (0, "imported 1 peer\n", "")
    assert content(store) == [peer(1)]


# --- bad lines ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"keepalive": ' + "1" * 5000 + "}", "not JSON"),
        (f'{{"public_key": "{K1}", "name": "\\ud800"}}', "name '\\ud800'"),
        ("[]", "not an object"),
        ("{}", "field 'public_key' is missing"),
        ('{"public_key": 5}', "field 'public_key': write a text"),
        ('{"public_key": "SECRET"}', "public key: not a WireGuard key"),
        (f'{{"public_key": "{K1}", "preshared_key": "SECRET"}}', "preshared key: not a WireGuard key"),
        (f'{{"public_key": "{K1}", "colour": 5}}', "field 'colour': unknown; the fields are public_key, name,"),
        (f'{{"public_key": "{K1}", "public_key": "{K3}"}}', "a field is there twice"),
        (f'{{"public_key": "{K1}", "enabled": 1}}', "field 'enabled': write true or false"),
        (f'{{"public_key": "{K1}", "keepalive": true}}', "field 'keepalive': write a number"),
        (f'{{"public_key": "{K1}", "keepalive": 70000}}', "keepalive 70000"),
        (f'{{"public_key": "{K1}", "idle_timeout": 60}}', "idle timeout 60"),
        (f'{{"public_key": "{K1}", "allowed_ips": "10.0.0.1"}}', "field 'allowed_ips': write a list"),
        (f'{{"public_key": "{K1}", "allowed_ips": [1]}}', "field 'allowed_ips': write a list"),
        (f'{{"public_key": "{K1}", "allowed_ips": ["10.0.0.256"]}}', "allowed IP '10.0.0.256'"),
        (f'{{"public_key": "{K1}", "allowed_ips": ["10.0.0.1/24"]}}', "allowed IP '10.0.0.1/24'"),
        (f'{{"public_key": "{K1}", "expires_at": "soon"}}', "field 'expires_at': 'soon' is no moment"),
        (f'{{"public_key": "{K1}", "expires_at": "+30d"}}', "field 'expires_at': '+30d' depends on when"),
        (f'{{"public_key": "{K1}", "expires_at": {1 << 63}}}', "field 'expires_at': too large"),
        (f'{{"public_key": "{K1}", "name": " x"}}', "name ' x'"),
        (f'{{"public_key": "{K1}", "labels": null}}', "field 'labels': write an object of texts"),
        (f'{{"public_key": "{K1}", "labels": {{"a": 1}}}}', "field 'labels': write an object of texts"),
        (f'{{"public_key": "{K1}", "labels": {{"a=b": "c"}}}}', "label 'a=b': its key must be"),
        (f'{{"public_key": "{K1}", "labels": {{"a": "\\n"}}}}', "label a: its value must be"),
        (f'{{"public_key": "{K1}", "labels": {{"a": "b", "a": "c"}}}}', "a field is there twice"),
        ("\udcff", "not a text in UTF-8"),
    ],
)
def test_bad_lines_of_json(run: Run, store: Path, tmp_path: Path, line: str, error: str) -> None:
    file = tmp_path / "p.jsonl"
    good = json.dumps({"public_key": str(key(9)), "allowed_ips": ["10.0.0.9/32"]})
    file.write_bytes(f"{good}\n{line}\n".encode("utf-8", "surrogateescape"))
    status, out, err = run("import", file)
    assert (status, out) == (1, "")
    assert err.startswith(f"wgjit: {file}: line 2: {error}")
    assert err.endswith("; nothing was imported\n")
    assert "SECRET" not in err
    assert content(store) == []
    status, out, err = run("import", "--skip-bad", file)
    assert (status, out) == (0, "imported 1 peer, 1 line left out\n")
    assert err.startswith(f"wgjit: {file}: line 2: {error}")
    assert content(store) == [peer(9, "10.0.0.9/32")]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("name\nalice\n", "line 1: no column public_key"),
        ("public_key,colour\n", "line 1: unknown column 'colour'; the header names columns among public_key, name"),
        ("", "line 1: no column public_key"),
        (f"public_key,name\n{K1}\n", "line 2: 1 cells under 2 columns"),
        (f'public_key,name\n{K1},"a\n', "line 2: not CSV"),
        (f"public_key,keepalive\n{K1},x\n", "line 2: field 'keepalive': write a number"),
        (f"public_key,enabled\n{K1},1\n", "line 2: field 'enabled': write true or false"),
        (f"public_key,labels\n{K1},team\n", "line 2: label 'team': write KEY=VALUE, such as team=infra"),
        (f'public_key,labels\n{K1},"a=1,a=2"\n', "line 2: label a: given twice"),
        ("public_key,name\n,alice\n", "line 2: field 'public_key' is missing"),
    ],
)
def test_bad_csv(run: Run, store: Path, tmp_path: Path, text: str, error: str) -> None:
    file = tmp_path / "p.csv"
    file.write_text(text)
    status, _, err = run("import", file)
    assert status == 1
    assert f"{file}: {error}" in err


def test_csv_of_a_spreadsheet(run: Run, store: Path, tmp_path: Path) -> None:
    """Columns in any order, a byte order mark, carriage returns, empty lines."""
    file = tmp_path / "p.csv"
    text = f'allowed_ips,expires_at,public_key,Name\r\n"10.0.0.1/32 fd00::1",4105080000,{K1},alice\r\n\r\n'
    file.write_text(text.replace("Name", "name") + f"10.0.0.3,,{K3},\r\n", "utf-8-sig", newline="")
    assert run("import", file) == (0, "imported 2 peers\n", "")
    prefixes = (parse_allowed_ip("10.0.0.1"), parse_allowed_ip("fd00::1"))
    assert content(store) == [Peer(key(1), prefixes, expires_at=4_105_080_000, name="alice"), peer(3, "10.0.0.3/32")]


def test_bad_lines_of_a_dump_show_no_key(run: Run, store: Path, tmp_path: Path) -> None:
    file = tmp_path / "p.dump"
    file.write_text(f"SECRET\tSECRET\n{K1}\tSECRET\t(none)\t(none)\t0\t0\t0\toff\n")
    status, out, err = run("import", "--skip-bad", file)
    assert (status, out) == (0, "imported 0 peers, 2 lines left out\n")
    assert "line 1: not a line of `wg show IF dump`" in err
    assert "line 2: preshared key" in err
    assert "SECRET" not in err


def test_an_endless_line_is_refused(run: Run, store: Path, tmp_path: Path) -> None:
    file = tmp_path / "p.jsonl"
    file.write_bytes(b"{" * (3 << 20))
    assert "line 1: longer than 1024 KiB" in run("import", file)[2]


def test_bad_sections_are_left_out_and_the_rest_imported(run: Run, store: Path, tmp_path: Path) -> None:
    file = tmp_path / "wg0.conf"
    file.write_text(
        f"x = 1\n[Peer]\nPublicKey = {K1}\n[Pear]\nPublicKey = {K3}\n# bob\n[Peer]\nAllowedIPs = 10.0.0.0/33\n"
        f"PublicKey = {key(2)}\n# carol\n[Peer]\nPublicKey = {K3}\n[Peer]\nAllowedIPs = 10.0.0.4\n"
    )
    status, out, err = run("import", "--skip-bad", file)
    assert (status, out) == (0, "imported 2 peers, 4 lines left out\n")
    assert re.findall(r"line (\d+):", err) == ["1", "4", "8", "13"]
    assert content(store) == [peer(1), peer(3, name="carol")]


# --- the fast way accepts what the careful way does ----------------------------------------------------------


def labels(chunks: list[Chunk]) -> dict[int, dict[str, str]]:
    """What is said of labels, by line."""
    said: dict[int, dict[str, str]] = {}
    for chunk in chunks:
        said |= chunk.labels | ({line: {} for line in chunk.plain_lines} if chunk.unlabelled else {})
    return said


def found(chunks: list[Chunk]) -> dict[int, Peer]:
    """All peers by line."""
    peers: dict[int, Peer] = {}
    for chunk in chunks:
        peers |= dict(chunk.peers)
        for line, record in zip(chunk.plain_lines, chunk.plain, strict=True):
            peers[line] = packing.row_peer(record[:32], record[32:], None, 0, 1, None, None, None)
    return peers


def outcome(chunks: list[Chunk]) -> tuple[dict[int, Peer], dict[int, dict[str, str]], list[int]]:
    """All peers by line, what is said of labels, and the bad lines."""
    return found(chunks), labels(chunks), [line for chunk in chunks for line, _ in chunk.bad]


LABELLED = {"public_key": K1, "allowed_ips": ["10.0.0.1/32"], "labels": {}}
LINES = [
    (Format.JSONL, "", json.dumps({"public_key": K1, "name": None, "allowed_ips": ["10.0.0.1/32"], "keepalive": 0})),
    (Format.JSONL, "", json.dumps(LABELLED)),
    (Format.CSV, "public_key,allowed_ips,keepalive,enabled", f"{K1},10.0.0.1/32,0,true"),
    (Format.CSV, "labels,allowed_ips,name,public_key", f",10.0.0.1/32,,{K1}"),
    (Format.DUMP, "", f"{K1}\t(none)\t192.0.2.1:1\t10.0.0.1/32\t0\t0\t0\toff"),
]


@pytest.mark.parametrize(("form", "header", "line"), LINES)
def test_the_fast_way_accepts_what_the_careful_way_does(
    form: Format, header: str, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    never = re.compile(rb"(?!)()()")

    @given(
        at=st.integers(0, len(line) - 1),
        put=st.text('0123456789./AE= \t"\r,nulx{}:\u00e9', max_size=3),
        cut=st.integers(0, 3),
        before=st.integers(0, 2),
    )
    def agrees(at: int, put: str, cut: int, before: int) -> None:
        changed = line[:at] + put + line[at + cut :]
        text = "\n".join([*([header] if header else []), *[line] * before, changed, line]).encode()
        fast = outcome(list(peer_readers.read(io.BytesIO(text), form)))
        with monkeypatch.context() as patch:
            patch.setattr("wgjit.management.peer_readers._JSON", never)
            patch.setattr("wgjit.management.peer_readers._JSON_UNLABELLED", never)
            patch.setattr("wgjit.management.peer_readers._DUMP", rb"(?!)%s(%s)(%s)")
            patch.setattr("wgjit.management.peer_readers._CELLS", {})
            careful = outcome(list(peer_readers.read(io.BytesIO(text), form)))
        assert fast == careful

    agrees()


def test_lines_that_are_alike_are_read_without_the_pattern(monkeypatch: pytest.MonkeyPatch) -> None:
    for form, header, line in LINES[:3]:
        text = "\n".join([*([header] if header else []), line, line.replace("10.0.0.1", "203.0.113.99"), ""]).encode()
        chunks = list(peer_readers.read(io.BytesIO(text), form))
        with monkeypatch.context() as patch:
            patch.setattr(peer_readers, "pack_plain", None)
            assert [chunk.plain for chunk in peer_readers.read(io.BytesIO(text), form)] == [c.plain for c in chunks]
        assert [len(chunk.plain) for chunk in chunks] == [2]


pieces = st.sampled_from(
    [
        f"[Peer]\nPublicKey = {K1}\nAllowedIPs = 10.0.0.1/32\n\n",
        f"[Peer]\nPublicKey = {K3}\nAllowedIPs = 10.0.0.3/32\n",
        f"[Peer]\r\nPublicKey = {K1}\r\nAllowedIPs = 10.0.0.1/32\r\nEndpoint = 192.0.2.1:5\r\n\r\n",
        f"[Peer]\nPublicKey = {K1}\nAllowedIPs = 10.0.0.1/32\nEndpoint = x # [Peer]\n\n",
        "# alice\n",
        "\n",
        "[Interface]\nPrivateKey = x\n\n",
        "[Peer]\nAllowedIPs = 10.0.0.300/32\n\n",
        f"[Peer]\nPublicKey = {K1}\nAllowedIPs = 10.0.0.300/32\n\n",
        "oops\n",
    ]
)


@given(pieces=st.lists(pieces, max_size=12), size=st.integers(40, 400), seamless=st.integers(0, 400))
def test_a_configuration_reads_the_same_wherever_it_is_cut(pieces: list[str], size: int, seamless: int) -> None:
    text = "".join(pieces)
    whole = dict(read_sections(text.splitlines(keepends=True)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("wgjit.management.peer_readers._CHUNK", size)
        patch.setattr("wgjit.management.peer_readers._SEAMLESS", seamless)
        cut = list(peer_readers.read(io.BytesIO(text.encode()), Format.CONF))
    assert found(cut) == {line: each for line, each in whole.items() if isinstance(each, Peer)}
    assert [bad for chunk in cut for bad in chunk.bad] == [
        (line, str(each)) for line, each in whole.items() if not isinstance(each, Peer)
    ]


@pytest.mark.parametrize("form", list(Format))
def test_any_bytes_are_peers_or_a_named_mistake(form: Format) -> None:
    words = [
        b"[Peer]",
        b"PublicKey =",
        K1.encode(),
        b"10.0.0.1/32",
        b"public_key",
        b"\t",
        b"\n",
        b"(none)",
        b'"',
        b"{",
        b",",
    ]

    @given(st.lists(st.sampled_from(words) | st.binary(max_size=6), max_size=30))
    def holds(parts: list[bytes]) -> None:
        text = b"".join(parts)
        with contextlib.suppress(InvalidValue):
            for chunk in peer_readers.read(io.BytesIO(text), form):
                assert len(chunk.plain) == len(chunk.plain_lines)
                assert {line for line, _ in chunk.bad}.isdisjoint(found([chunk]))
                assert all(1 <= line <= text.count(b"\n") + 1 for line, _ in [*chunk.bad, *chunk.peers])

    holds()


def test_a_file_of_plain_peers_takes_the_fast_way_alone() -> None:
    section = f"[Peer]\nPublicKey = {K1}\nAllowedIPs = 10.0.0.1/32\n"
    for form, header, line, lines in (*((*each, 1) for each in LINES), (Format.CONF, "", section, 4)):
        text = "\n".join(([header] if header else []) + [line] * 20_000)
        chunks = list(peer_readers.read(io.BytesIO(text.encode()), form))
        assert sum(len(chunk.plain) for chunk in chunks) == 20_000
        first = 2 if header else 1
        numbers = [number for chunk in chunks for number in chunk.plain_lines]
        assert numbers == list(range(first, first + 20_000 * lines, lines))
        assert sum(isinstance(chunk.plain_lines, range) for chunk in chunks) >= len(chunks) - 1

"""Keys in texts of others: found in whatever dress, and names that only look long are names."""

from __future__ import annotations

import ast
import base64
import html
import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

import wgjit
from wgjit.wire.key_text import WITHHELD, holds_key, quoted, shown, without_keys

Dress = Callable[[bytes], str]


def b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def url64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode()


STANDING: list[tuple[str, Dress]] = [
    ("bare", b64),
    ("without padding", lambda raw: b64(raw)[:43]),
    ("after a colon", lambda raw: f"PrivateKey: {b64(raw)}"),
    ("behind an equals sign", lambda raw: f"psk={b64(raw)}"),
    ("behind equals signs, without padding", lambda raw: f"psk=={b64(raw)[:43]}"),
    ("in JSON", lambda raw: json.dumps({"name": "x", "psk": b64(raw)})),
    ("in JSON of PHP", lambda raw: json.dumps({"psk": b64(raw)}).replace("/", "\\/")),
    ("in JSON of .NET", lambda raw: json.dumps({"psk": b64(raw)}).replace("+", "\\u002B").replace("/", "\\u002f")),
    ("in HTML", lambda raw: html.escape(b64(raw)).replace("/", "&#x2F;").replace("=", "&#x3D;").replace("+", "&#43;")),
    ("in a URL", lambda raw: f"https://x/?key={quote(b64(raw), safe='')}&a=b"),
    ("in brackets", lambda raw: f"alice ({b64(raw)})"),
    ("in quotes", lambda raw: f"alice's '{b64(raw)[:43]}'!"),
    ("with text right behind the padding", lambda raw: f"{b64(raw)}alice"),
    ("behind a hyphen", lambda raw: f"alice-{b64(raw)}"),
    ("behind an underscore", lambda raw: f"key_{b64(raw)}"),
    ("hex", lambda raw: raw.hex()),
    ("upper-case hex", lambda raw: f"KEY {raw.hex().upper()}."),
    ("hex with 0x", lambda raw: f"0x{raw.hex()}"),
    ("hex glued to a word of hex digits", lambda raw: f"deadbeef{raw.hex()}"),
    ("hex with colons", lambda raw: f"key {raw.hex(':')}"),
    ("hex with spaces", lambda raw: f"see {raw.hex(' ')}"),
    ("hex in fours", lambda raw: raw.hex(" ", 2)),
    ("hex in eights with hyphens", lambda raw: raw.hex("-", 4).upper()),
    ("hex as a list of bytes", lambda raw: ", ".join(f"0x{byte:02x}" for byte in raw)),
    ("hex as a text of C", lambda raw: "".join(f"\\x{byte:02x}" for byte in raw)),
]
"""Forms that are found whatever the bytes are."""

GLUED: list[tuple[str, Dress]] = [
    ("URL-safe", url64),
    ("URL-safe without padding", lambda raw: url64(raw)[:43]),
    ("a word before", lambda raw: f"PrivateKey{b64(raw)}"),
    ("a word and a slash before", lambda raw: f"psk/{b64(raw)}"),
    ("a word and a plus before", lambda raw: f"key+{b64(raw)[:43]}"),
    ("a path before", lambda raw: f"/etc/wireguard/{b64(raw)}"),
    ("a word behind", lambda raw: f"{b64(raw)[:43]}end"),
    ("words on both sides", lambda raw: f"alice-{url64(raw)[:43]}_laptop"),
    ("two keys", lambda raw: b64(raw)[:43] + b64(raw[::-1])[:43]),
]
"""Forms that are found if the bytes are random, which a seed makes the same in each run."""


def keys(count: int) -> list[bytes]:
    return [random.Random(number).randbytes(32) for number in range(count)]


@pytest.mark.parametrize("dress", [dress for _, dress in STANDING], ids=[name for name, _ in STANDING])
def test_a_key_is_found_in_whatever_dress(dress: Dress) -> None:
    for raw in [bytes(32), b"\x01" * 32, b"\xff" * 32, *keys(200)]:
        text = dress(raw)
        assert holds_key(text), text
        assert holds_key(f"see {text} here"), text


@pytest.mark.parametrize("dress", [dress for _, dress in GLUED], ids=[name for name, _ in GLUED])
def test_a_key_is_found_though_words_are_glued_to_it(dress: Dress) -> None:
    for raw in keys(500):
        assert holds_key(dress(raw)), dress(raw)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "alice",
        "Alice's laptop, second floor, next to the printer, since 2024-01-02T10:20:30Z",
        "client-550e8400-e29b-41d4-a716-446655440000",  # 43 characters of the URL-safe alphabet
        "Client_550E8400-E29B-41D4-A716-446655440000",
        "550e8400-e29b-41d4-a716-446655440000 550e8400-e29b-41d4-a716-446655440001",  # 64 digits of hex
        "fd00:0008:0000:0000:0000:0000:0000:0001 fd00:0008:0000:0000:0000:0000:0000:0002",  # and so here
        "/etc/wireguard/clients/office/frankfurt/laptop7/config",
        "alice-laptop-2024-frankfurt-datacenter-rack-12-unit-7",
        "Alices-MacBook-Pro-In-The-Frankfurt-Office-Rack-7",
        "ip-10-0-12-7-eu-central-1-compute-internal-node-aws",
        "da39a3ee5e6b4b0d3255bfef95601890afd80709 is a commit",
        "00:11:22:33:44:55 66:77:88:99:aa:bb 00:11:22:33:44:55 66:77:88:99:aa:bb 00:11:22:33:44:55",
        "Büro Zürich, Gerät der Buchhaltung, Donaudampfschifffahrtsgesellschaftskapitän",
        "x" * 201,
        b64(bytes(31)),
        b64(bytes(range(31)))[:42],
    ],
)
def test_what_only_looks_long_is_a_name(name: str) -> None:
    assert not holds_key(name)
    assert without_keys(name) == name
    assert quoted(name) == repr(name[:200])
    assert shown(name) == name


@pytest.mark.parametrize("dress", [dress for _, dress in STANDING + GLUED], ids=[name for name, _ in STANDING + GLUED])
def test_what_is_shown_instead_has_nothing_of_the_key(dress: Dress) -> None:
    for raw in keys(50):
        text = dress(raw)
        assert quoted(text) == shown(text) == WITHHELD
        left = without_keys(f"peer 7: <{text}> is bad")
        assert not holds_key(left)
        for form in (b64(raw), url64(raw), raw.hex(), raw.hex(" "), raw.hex(":")):
            for start in range(len(form) - 12):
                assert form[start : start + 12].lower() not in left.lower(), (text, left)


def test_a_key_that_is_cut_off_where_a_text_is_shortened_is_withheld() -> None:
    text = "x " * 15 + b64(keys(1)[0])
    assert quoted(text, 40) == WITHHELD
    assert quoted(text, 20) == WITHHELD  # it ends within reach of what is shown; nobody counts that closely
    assert quoted("xy " * 1000, 40) == repr(("xy " * 1000)[:40])


def test_a_path_that_was_a_key_is_withheld_also_where_it_lost_a_slash() -> None:
    key = "ab//" + b64(keys(1)[0])[4:]
    assert shown(Path(key)) == WITHHELD
    assert len(str(Path(key))) == 43  # of which the last is padding


@pytest.mark.parametrize("part", ["a", "ab:", "Ab/", "aB1", "&#x3D;", "\\u002B", "ab cd ", "%2F"])
def test_a_long_text_is_read_once(part: str) -> None:
    """Not a time but a shape: ten times the text is never a hundred times the work."""

    def cost(length: int) -> float:
        text = part * (length // len(part))
        best = float("inf")
        for _ in range(3):
            began = time.process_time()
            holds_key(text)
            best = min(best, time.process_time() - began)
        return best

    cost(1000)
    assert cost(200_000) < 40 * max(cost(20_000), 0.0005)


def test_no_text_of_somebodys_is_repeated_as_it_is() -> None:
    """Every `!r` in a text for people is of a word of ours: what is of others goes through `quoted`."""
    ours = {("management/cells.py", "name"), ("stores/peer_json.py", "name")}  # one of the fields' own names
    found = set()
    root = Path(wgjit.__file__).parent
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FormattedValue) and node.conversion == ord("r"):
                found.add((str(path.relative_to(root)), ast.unparse(node.value)))
    assert found - ours == set()

"""`wgjit peer ...` as a person runs it: arguments in; text, JSON and exit status out."""

import contextlib
import json
import sqlite3
from pathlib import Path

import pytest

from lab.registry import opened
from tests.contracts.store import claim, key
from tests.unit.cli.conftest import K1, K2, K3, PSK, Run, is_untouched, written_by_another
from wgjit.model import Peer, parse_allowed_ip


def test_what_was_added_is_in_the_registry(two: Path) -> None:
    with opened(two) as registry:
        assert list(registry.peers.every()) == [
            Peer(
                key(1), tuple(map(parse_allowed_ip, ("10.8.0.2", "fd00::2"))), PSK, 25, True, 4105080000, "alice", 1800
            ),
            Peer(key(2), tuple(map(parse_allowed_ip, ("10.8.0.3", "10.9.0.0/24"))), name="bob"),
        ]


def test_list(run: Run, two: Path) -> None:
    run("disable", "bob")
    status, out, err = run("list")
    assert (status, err) == (0, "")
    assert [line.split() for line in out.splitlines()] == [
        [K1, "enabled", "alice", "10.8.0.2/32,fd00::2/128"],
        [K2, "disabled", "bob", "10.8.0.3/32,10.9.0.0/24"],
    ]
    status, out, err = run("list", "--json")
    assert [json.loads(line) for line in out.splitlines()] == [
        {
            "public_key": K1,
            "name": "alice",
            "allowed_ips": ["10.8.0.2/32", "fd00::2/128"],
            "has_preshared_key": True,
            "keepalive": 25,
            "enabled": True,
            "expires_at": "2100-01-31T12:00:00Z",
            "idle_timeout": 1800,
            "labels": {},
        },
        {
            "public_key": K2,
            "name": "bob",
            "allowed_ips": ["10.8.0.3/32", "10.9.0.0/24"],
            "has_preshared_key": False,
            "keepalive": 0,
            "enabled": False,
            "expires_at": None,
            "idle_timeout": None,
            "labels": {},
        },
    ]


def test_show_by_name_and_by_key(run: Run, two: Path) -> None:
    status, out, err = run("show", "alice")
    assert (status, err) == (0, "")
    assert dict(map(str.strip, line.split(":", 1)) for line in out.splitlines()) == {
        "name": "alice",
        "public key": K1,
        "state": "enabled",
        "allowed IPs": "10.8.0.2/32, fd00::2/128",
        "preshared key": "set",
        "keepalive": "25 s",
        "expires": "2100-01-31T12:00:00Z",
        "idle timeout": "30m",
        "labels": "-",
        "last proven": "never",
    }
    assert run("show", K1) == (status, out, err)
    with opened(two) as registry:
        registry.save_claims([claim(1, 1_600_000_000.5, "gw1", "[2001:db8::1]:4000")])
    assert (
        "last proven:   2020-09-13T12:26:40.500000000Z at gateway gw1, from [2001:db8::1]:4000\n" in run("show", K1)[1]
    )
    shown = json.loads(run("show", "alice", "--json")[1])
    assert shown["claim"] == {
        "timestamp": "2020-09-13T12:26:40.500000000Z",
        "gateway": "gw1",
        "endpoint": "[2001:db8::1]:4000",
        "proven_at": "2023-11-14T22:13:20Z",
        "inferred": False,
    }
    assert json.loads(run("show", "bob", "--json")[1])["claim"] is None


def test_the_preshared_key_is_never_shown(run: Run, two: Path) -> None:
    for command in (["list"], ["list", "--json"], ["show", "alice"], ["show", "alice", "--json"]):
        status, out, err = run(*command)
        assert status == 0
        assert PSK.reveal_base64() not in out + err


def test_switch_and_remove(run: Run, two: Path) -> None:
    assert run("disable", "alice") == (0, f"disabled alice ({K1})\n", "")
    assert run("disable", "alice")[0] == 0
    assert "state:         disabled" in run("show", "alice")[1]
    assert run("enable", K1) == (0, f"enabled alice ({K1})\n", "")
    assert run("remove", "alice") == (0, "removed alice\n", "")
    assert run("remove", K2) == (0, f"removed {K2}\n", "")
    assert run("list") == (0, "", "")
    with opened(two) as registry:
        assert registry.last_change() == 4  # the second `disable` changed nothing


def test_an_expired_peer_says_so(run: Run, store: Path) -> None:
    run("add", "old", "--public-key", K1, "--allowed-ips", "10.0.0.1", "--expires-at", "2001-09-09T01:46:40+00:00")
    assert "expired" in run("list")[1]
    assert "state:         expired" in run("show", "old")[1]


@pytest.mark.parametrize("command", [["show"], ["enable"], ["disable"], ["remove"]])
@pytest.mark.parametrize("handle", ["nobody", K3])
def test_no_such_peer(run: Run, two: Path, command: list[str], handle: str) -> None:
    status, out, err = run(*command, handle)
    assert (status, out) == (1, "")
    who = "peer of this public key" if handle == K3 else f"peer {handle!r}"
    assert err == f"wgjit: no {who} is registered; `wgjit peer list` shows all\n"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["carol", "--public-key", "AAAA", "--allowed-ips", "10.0.0.9"], "public key: not a WireGuard key"),
        (["carol", "--public-key", K3, "--allowed-ips", "10.0.0.9/24"], "allowed IP '10.0.0.9/24': "),
        (["carol", "--public-key", K3, "--allowed-ips", "10.0.0.9,10.0.0.9/32"], "a prefix is listed twice"),
        (
            ["carol", "--public-key", K3, "--allowed-ips", "10.0.0.9", "--keepalive", "70000"],
            "keepalive 70000: must be",
        ),
        (
            ["carol", "--public-key", K3, "--allowed-ips", "10.0.0.9", "--expires-at", "soon"],
            "expires-at 'soon': write",
        ),
        (
            ["carol", "--public-key", K3, "--allowed-ips", "10.0.0.9", "--idle-timeout", "60s"],
            "idle timeout 60: must be 180 to",
        ),
        (["carol", "--public-key", K3, "--allowed-ips", "10.0.0.9", "--preshared-key-file", "/nope"], "No such file"),
        (["carol", "--public-key", K1, "--allowed-ips", "10.0.0.9"], f"public key {K1}: registered already as alice"),
        (["alice", "--public-key", K3, "--allowed-ips", "10.0.0.9"], f"name 'alice': taken by peer {K1}"),
        (["carol", "--public-key", K3, "--allowed-ips", "10.9.0.9"], "overlaps 10.9.0.0/24 of bob"),
        ([K2, "--public-key", K3, "--allowed-ips", "10.0.0.9"], "name: a key stands in it"),
    ],
)
def test_refused_additions(run: Run, two: Path, arguments: list[str], error: str) -> None:
    status, out, err = run("add", *arguments)
    assert (status, out) == (1, "")
    assert err.startswith("wgjit: ")
    assert error in err
    assert err.count("\n") == 1
    assert len(run("list")[1].splitlines()) == 2


def test_a_bad_preshared_key_file_is_not_shown(run: Run, store: Path, tmp_path: Path) -> None:
    file = tmp_path / "psk"
    for content in (b"SECRETSECRET\n", b"SECRET\xff\n", b""):
        file.write_bytes(content)
        status, _, err = run("add", "a", "--public-key", K1, "--allowed-ips", "10.0.0.1", "--preshared-key-file", file)
        assert (status, err) == (
            1,
            "wgjit: preshared key: not a WireGuard key; write 44 characters of base64, as `wg` prints it\n",
        )
    assert is_untouched(store)


def test_usage_errors_exit_with_2(run: Run, store: Path) -> None:
    assert run("add")[0] == 2
    assert run("frobnicate")[0] == 2
    assert is_untouched(store)


@pytest.mark.parametrize(
    "command", [["list"], ["show", "a"], ["set", "a", "--keepalive", "1"], ["disable", "a"], ["remove", "a"]]
)
def test_only_add_and_import_make_a_registry(run: Run, store: Path, command: list[str]) -> None:
    status, out, err = run(*command)
    assert (status, out) == (1, "")
    assert f"registry {store}: no such file" in err
    assert is_untouched(store)


def test_store_option_comes_before_the_environment(run: Run, store: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    assert run("add", "a", "--public-key", K1, "--allowed-ips", "10.0.0.1", "--store", other)[0] == 0
    assert other.exists()
    assert is_untouched(store)
    assert run("list", "--store", tmp_path / "none" / "x.db")[0] == 1


def test_a_damaged_row_can_be_removed_by_its_key(run: Run, two: Path) -> None:
    with contextlib.closing(sqlite3.connect(two)) as raw, raw:
        raw.execute("UPDATE peers SET allowed_ips = x'ff' WHERE name = 'alice'")
    status, _, err = run("show", "alice")
    assert status == 1
    assert "remove the peer" in err
    assert run("remove", K1)[0] == 0
    assert run("list")[0] == 0


def test_control_characters_that_another_program_wrote_do_not_reach_the_terminal(run: Run, two: Path) -> None:
    written_by_another(two, "UPDATE peers SET name = ? WHERE name = 'alice'", ("a\x1b[31m",))
    assert "\x1b" not in run("list")[1] + run("show", K1)[1]

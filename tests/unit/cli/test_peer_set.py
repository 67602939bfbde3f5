"""`wgjit peer set`: exactly what is given changes."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from lab.registry import opened
from tests.contracts.store import key
from tests.unit.cli.conftest import K1, K2, PSK, Run
from wgjit.model import NEVER, Peer, PresharedKey, parse_allowed_ip


def stored(store: Path) -> list[Peer]:
    with opened(store, read_only=True) as registry:
        return list(registry.peers.every())


@pytest.mark.parametrize(
    ("options", "values"),
    [
        (["--idle-timeout", "never"], {"idle_timeout": NEVER}),
        (["--idle-timeout", "default"], {"idle_timeout": None}),
        (["--idle-timeout", "12h"], {"idle_timeout": 43200}),
        (["--expires-at", "never"], {"expires_at": None}),
        (["--expires-at", "2001-09-09"], {"expires_at": 999993600}),
        (["--keepalive", "0"], {"keepalive": 0}),
        (["--allowed-ips", "10.8.0.7,10.8.1.0/24"], {"allowed_ips": ("10.8.0.7", "10.8.1.0/24")}),
        (["--allowed-ips", "10.8.0.2", "--allowed-ips", "10.8.0.9"], {"allowed_ips": ("10.8.0.2", "10.8.0.9")}),
        (["--name", "alice's phone"], {"name": "alice's phone"}),
        (["--no-preshared-key"], {"preshared_key": None}),
        (["--keepalive", "7", "--name", "al"], {"name": "al", "keepalive": 7}),
    ],
)
def test_what_is_given_changes_and_nothing_else(
    run: Run, two: Path, options: list[str], values: dict[str, Any]
) -> None:
    alice, bob = stored(two)
    if "allowed_ips" in values:
        values = {"allowed_ips": tuple(map(parse_allowed_ip, values["allowed_ips"]))}
    status, out, err = run("set", "alice", *options)
    assert (status, err) == (0, "")
    assert out.endswith(": " + ", ".join(values).replace("_", " ") + "\n")
    assert stored(two) == [dataclasses.replace(alice, **values), bob]
    with opened(two, read_only=True) as registry:
        assert [change.public_key for change in registry.changes(0)] == [key(1)]  # so a gateway hears of it


def test_a_preshared_key_from_a_file(run: Run, two: Path, tmp_path: Path) -> None:
    other = PresharedKey(b"q" * 32)
    (tmp_path / "psk").write_text(other.reveal_base64())
    status, out, err = run("set", K2, "--preshared-key-file", tmp_path / "psk")
    assert (status, out, err) == (0, f"changed bob ({K2}): preshared key\n", "")
    assert [peer.preshared_key for peer in stored(two)] == [PSK, other]


def test_the_same_value_again_is_no_change(run: Run, two: Path) -> None:
    assert run("set", "alice", "--keepalive", 25)[0] == 0
    with opened(two, read_only=True) as registry:
        assert registry.last_change() == 0


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["alice"], "nothing to change for 'alice': give an option"),
        (["nobody", "--keepalive", "1"], "no peer 'nobody' is registered"),
        (["alice", "--keepalive", "70000"], "keepalive 70000: must be"),
        (["alice", "--idle-timeout", "2m"], "idle timeout 120: must be 180 to"),
        (["alice", "--idle-timeout", "600w"], "idle timeout 362880000: must be 180 to"),
        (["alice", "--idle-timeout", "0s"], "idle-timeout '0s': write never"),
        (["alice", "--idle-timeout", "long"], "idle-timeout 'long': write a number and a unit"),
        (["alice", "--expires-at", "soon"], "expires-at 'soon': write"),
        (["alice", "--name", "bob"], f"name 'bob': taken by peer {K2}"),
        (["alice", "--name", ""], "name '': write"),
        (["alice", "--allowed-ips", "10.9.0.9"], "overlaps 10.9.0.0/24 of bob"),
        (["alice", "--allowed-ips", ""], "allowed IP '': "),
        (["alice", "--no-preshared-key", "--preshared-key-file", "-"], "give one of the two"),
    ],
)
def test_refused_changes_change_nothing(run: Run, two: Path, arguments: list[str], error: str) -> None:
    before = stored(two)
    status, out, err = run("set", *arguments)
    assert (status, out) == (1, "")
    assert error in err
    assert err.count("\n") == 1
    assert stored(two) == before


@pytest.mark.parametrize(("text", "shown"), [("never", "never (pinned)"), ("default", "default"), ("90m", "90m")])
def test_show_tells_the_idle_timeout(run: Run, two: Path, text: str, shown: str) -> None:
    assert "idle timeout:  30m\n" in run("show", K1)[1]
    run("set", "alice", "--idle-timeout", text)
    assert f"idle timeout:  {shown}\n" in run("show", "alice")[1]

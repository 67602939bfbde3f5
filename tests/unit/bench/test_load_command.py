"""`wgjit-load`: what it makes, who it connects to, and what it refuses, with the option's name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.load.command import Unusable, check_server, main
from bench.load.identities import load
from tests.unit.bench.answering import Server, serving
from wgjit.model import Endpoint, PrivateKey

KEY = str(PrivateKey.generate().public())


@pytest.fixture
def clients(tmp_path: Path) -> Path:
    made = tmp_path / "clients.jsonl"
    words = ["keys", "6", "--prefix", "10.9.0.0/24", "--preshared", "--clients", str(made)]
    assert main([*words, "--peers", str(tmp_path / "peers.jsonl")]) == 0
    return made


def run(server: Endpoint, key: str, clients: Path, *more: str) -> int:
    return main(["run", "--server", str(server), "--public-key", key, "--clients", str(clients), *more])


def test_keys_are_the_same_peers_in_both_files_and_private_to_their_owner(clients: Path) -> None:
    peers = clients.with_name("peers.jsonl")
    known = [json.loads(line) for line in peers.read_text().splitlines()]
    made = list(load(clients))
    assert [str(each.private_key.public()) for each in made] == [peer["public_key"] for peer in known]
    assert known[0]["allowed_ips"] == ["10.9.0.2/32"]
    assert {path.stat().st_mode & 0o777 for path in (clients, peers)} == {0o600}
    assert "private" not in peers.read_text()


@pytest.mark.parametrize("how", [["--inside", "10.9.0.1"], ["--no-verify"]])
@pytest.mark.parametrize("when", [["--at-once"], ["--rate", "100"]])
def test_all_connect(clients: Path, how: list[str], when: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    server = Server(list(load(clients)))
    capsys.readouterr()
    with serving(server) as endpoint:
        assert run(endpoint, str(server.key.public()), clients, *how, *when, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["clients"], told["up"], told["lost"], told["at_once"], server.knocks) == (6, 6, 0, 6, 6)
    assert told["verified"] is ("--inside" in how)
    assert told["cpu_per_connect"] >= 0


def test_rekeys_are_counted_apart(clients: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server = Server(list(load(clients)))
    capsys.readouterr()
    with serving(server) as endpoint:
        words = ("--no-verify", "--at-once", "--count", "2", "--rekey-every", "0.2", "--seconds", "0.5", "--json")
        assert run(endpoint, str(server.key.public()), clients, *words) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["clients"], told["connects"], told["rekeys"]) == (2, 6, 4)


def test_who_is_lost_is_told_by_the_status(clients: Path) -> None:
    server = Server(list(load(clients)), deaf=2)
    with serving(server) as endpoint:
        words = ("--inside", "10.9.0.1", "--rate", "50", "--patience", "0.5")
        assert run(endpoint, str(server.key.public()), clients, *words) == 1


@pytest.mark.parametrize(
    ("server", "said"),
    [
        ("8.8.8.8:51820", "public"),
        ("[2606:4700::1]:51820", "public"),
        ("[64:ff9b::808:808]:51820", "public"),
        ("[::ffff:8.8.8.8]:51820", "write it as IPv4"),
        ("224.0.0.1:51820", "one server"),
        ("255.255.255.255:51820", "one server"),
        ("0.0.0.0:51820", "one server"),
        ("127.0.0.1:0", "port"),
        ("[fe80::1%1]:51820", "link-local"),
    ],
)
def test_nobody_else_is_loaded(server: str, said: str) -> None:
    with pytest.raises(Unusable, match=said) as told:
        check_server(Endpoint.parse(server), public=False)
    assert "--server" in str(told.value)


@pytest.mark.parametrize("server", ["10.0.0.1:1", "[fd00::1]:1", "192.0.2.1:1", "198.18.0.1:1", "127.0.0.1:1"])
def test_private_addresses_are(server: str) -> None:
    check_server(Endpoint.parse(server), public=False)


def test_a_public_one_is_if_that_is_said() -> None:
    check_server(Endpoint.parse("8.8.8.8:51820"), public=True)
    with pytest.raises(Unusable):
        check_server(Endpoint.parse("224.0.0.1:51820"), public=True)


LOCAL = ["--server", "127.0.0.1:51820"]
GOOD = [*LOCAL, "--public-key", KEY, "--no-verify", "--at-once"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([*GOOD, "--count", "7"], "--count 7"),
        ([*GOOD, "--count", "0"], "--count"),
        ([*GOOD, "--source", "10.0.0.0/30"], "--source"),
        ([*GOOD, "--source", "2001:db8::/48"], "--source"),
        ([*GOOD, "--source", "10.0.0.1/8"], "--source"),
        ([*GOOD, "--source", "198.18.0.0/15", "--server", "[::1]:1"], "--source"),
        ([*GOOD, "--rekey-every", "3"], "--rekey-every"),
        ([*GOOD, "--patience", "nan"], "--patience"),
        ([*GOOD, "--rate", "0"], "--rate"),
        ([*GOOD, "--rate", "5"], "--at-once"),
        ([*GOOD, "--server", "example.org:1"], "--server"),
        ([*GOOD, "--public-key", "short"], "--public-key"),
        ([*GOOD, "--public-key", "A" * 43 + "="], "--public-key"),
        ([*LOCAL, "--public-key", KEY, "--at-once"], "--inside"),
        ([*LOCAL, "--public-key", KEY, "--at-once", "--inside", "fd00::1"], "--inside"),
    ],
)
def test_a_mistake_is_named(clients: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        status = main(["run", "--clients", str(clients), *words])
    except SystemExit as ended:
        status = int(ended.code or 0)
    assert status == 2
    assert said in capsys.readouterr().err.rpartition("wgjit-load")[2]


def test_a_clients_file_that_is_not_one_is_named_without_its_secret(
    clients: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = json.loads(clients.read_text().splitlines()[0])["private_key"]
    clients.write_text(json.dumps({"private_key": secret[:-2], "address": "10.9.0.2"}) + "\n")
    assert main(["run", "--clients", str(clients), *GOOD]) == 2
    said = capsys.readouterr().err
    assert f"{clients}:1" in said
    assert secret[:20] not in said


def test_no_file_is_overwritten_and_none_is_left_half_made(clients: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = clients.read_bytes()
    other = clients.with_name("other.jsonl")
    words = ["keys", "2", "--prefix", "10.9.0.0/24"]
    assert main([*words, "--clients", str(other), "--peers", str(clients)]) == 2
    assert "--peers" in capsys.readouterr().err
    assert not other.exists()
    assert clients.read_bytes() == before
    assert main([*words, "--clients", str(other), "--peers", str(other)]) == 2
    assert not other.exists()
    words[3] = "10.9.0.0/31"
    assert main([*words, "--clients", str(other), "--peers", str(other.with_suffix(".p"))]) == 2
    assert "--prefix" in capsys.readouterr().err

"""Imports of peers that are registered already, several bad lines at once, and the gateway itself among the peers."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from lab.registry import opened
from tests.contracts.store import key, peer
from tests.unit.cli.conftest import K1, K2, K3, Run, content
from wgjit.model import PrivateKey

OWN = PrivateKey(b"g" * 32)


def lines(file: Path, *fields: dict[str, object]) -> Path:
    file.write_text("".join(json.dumps(each) + "\n" for each in fields))
    return file


# --- merging ------------------------------------------------------------------------------------------------------


def test_names_and_labels_are_merged_into_what_is_there(run: Run, store: Path, tmp_path: Path) -> None:
    """Adopt first, and import for the names later. All other values stay as they are registered."""
    bare = [{"public_key": K1, "allowed_ips": ["10.0.0.1"], "idle_timeout": 0}, {"public_key": K2}]
    assert run("import", lines(tmp_path / "a.jsonl", *bare))[0] == 0
    assert run("set", K1, "--label", "team=infra")[0] == 0
    named = [
        {"public_key": K1, "allowed_ips": ["10.0.0.1"], "name": "alice", "labels": {"env": "prod"}},
        {"public_key": K2, "name": "bob"},
        {"public_key": K3, "name": "carol"},
    ]
    file = lines(tmp_path / "b.jsonl", *named)
    status, _, err = run("import", file)
    assert status == 1
    assert "with --update an import merges its name and labels" in err
    assert run("import", "--update", file) == (0, "imported 1 peer, 2 updated\n", "")
    alice = json.loads(run("show", "alice", "--json")[1])
    assert (alice["labels"], alice["idle_timeout"]) == ({"team": "infra", "env": "prod"}, 0)
    assert [each.name for each in content(store)] == ["alice", "bob", "carol"]
    assert run("import", "--update", file) == (0, "imported 0 peers, 3 already present\n", "")
    verbs = [json.loads(each)["verb"] for each in run_audit(run, store)]
    assert verbs[:3] == ["import", "set", "set"]


def run_audit(run: Run, store: Path) -> list[str]:
    with opened(store) as registry:
        from wgjit.stores.entries import AuditFilter

        return [json.dumps({"verb": each.verb}) for each in registry.audit.page(AuditFilter(), 100).entries]


def test_names_of_comments_are_merged_into_peers_without_one(run: Run, two: Path, tmp_path: Path) -> None:
    assert run("add", "x", "--public-key", K3, "--allowed-ips", "10.7.0.1", "--idle-timeout", "never")[0] == 0
    file = tmp_path / "wg0.conf"
    sections = f"# Carol\n[Peer]\nPublicKey = {K3}\nAllowedIPs = 10.7.0.1/32\n\n# dora\n[Peer]\nPublicKey = {key(4)}\n"
    file.write_text(sections)
    assert run("import", "--no-names", "--update", file) == (0, "imported 1 peer, 1 already present\n", "")
    status, out, err = run("import", "--update", file)
    assert (status, out) == (0, "imported 0 peers, 1 updated, 1 already present, 1 name left out\n")
    assert f"{file}: line 2: name 'Carol': left out; x ({K3}) has a name already" in err  # a guess replaces no name
    assert [each.name for each in content(two)[2:]] == ["x", "dora"]


def test_a_merged_name_that_is_taken(run: Run, two: Path, tmp_path: Path) -> None:
    assert run("import", lines(tmp_path / "a.jsonl", {"public_key": K3}))[0] == 0
    status, _, err = run("import", "--update", lines(tmp_path / "b.jsonl", {"public_key": K3, "name": "bob"}))
    assert status == 1
    assert "line 1: name 'bob': taken by peer" in err
    conf = tmp_path / "wg0.conf"
    conf.write_text(f"# bob\n[Peer]\nPublicKey = {K3}\n")
    status, out, err = run("import", "--update", conf)
    assert (status, out) == (0, "imported 0 peers, 1 already present, 1 name left out\n")
    assert "name 'bob': left out; it is taken by peer" in err


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"allowed_ips": ["10.0.0.9"]}, "allowed ips"),
        ({"keepalive": 7}, "keepalive"),
        ({"enabled": False}, "enabled"),
        ({"preshared_key": str(key(9))}, "preshared key"),
    ],
)
def test_an_update_changes_no_other_values(
    run: Run, two: Path, tmp_path: Path, fields: dict[str, object], what: str
) -> None:
    before = content(two)
    file = lines(tmp_path / "a.jsonl", {"public_key": K1, "name": "alice2", **fields})
    status, _, err = run("import", "--update", file)
    assert status == 1
    assert f"registered already as alice ({K1}) with other values ({what}" in err
    assert content(two) == before


def test_a_dump_says_nothing_of_names(run: Run, store: Path, tmp_path: Path) -> None:
    file = tmp_path / "wg0.dump"
    file.write_text(f"{K1}\t(none)\t(none)\t10.0.0.1/32\t0\t0\t0\toff\n")
    assert run("import", file)[0] == 0
    assert run("set", K1, "--name", "alice")[0] == 0
    assert run("import", file) == (0, "imported 0 peers, 1 already present\n", "")
    assert [each.name for each in content(store)] == ["alice"]


# --- bad lines ----------------------------------------------------------------------------------------------------


def test_all_bad_lines_are_shown_at_once(run: Run, two: Path, tmp_path: Path) -> None:
    """Those that cannot be read, and those that the registry refuses, in one run. Nothing is imported."""
    before = content(two)
    good = {"public_key": str(key(8))}
    file = lines(tmp_path / "p.jsonl", good, {"public_key": "x"}, {"public_key": K1}, {"colour": 1})
    status, out, err = run("import", file)
    assert (status, out) == (1, "")
    assert sorted(re.findall(r"line (\d+):", err)) == ["2", "3", "4"]
    assert err.endswith(
        f"wgjit: {file}: 3 lines cannot be imported (--skip-bad imports the rest); nothing was imported\n"
    )
    assert content(two) == before


def test_the_first_bad_lines_are_shown_and_the_others_counted(run: Run, store: Path, tmp_path: Path) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text("x\n" * 3000)
    err = run("import", file)[2]
    assert err.count("\n") == 21
    assert "3000 lines, the first 20 of them above, cannot be imported" in err


def test_a_file_that_breaks_off_shows_its_bad_lines_too(run: Run, store: Path, tmp_path: Path) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text("x\n" + "{" * (3 << 20))
    err = run("import", file)[2]
    assert "line 2: longer than 1024 KiB" in err


@pytest.mark.parametrize("plain", [True, False])
def test_duplicates_in_a_file_say_where_the_first_stands(run: Run, store: Path, tmp_path: Path, plain: bool) -> None:
    more: dict[str, object] = {} if plain else {"keepalive": 5}

    def fields(number: int, address: str, **other: object) -> dict[str, object]:
        return {"public_key": str(key(number)), "allowed_ips": [address], **more, **other}

    file = lines(
        tmp_path / "p.jsonl",
        fields(1, "10.0.0.1/32"),
        fields(2, "10.0.0.0/24", name="x"),  # around line 1's
        fields(1, "10.0.1.1/32"),
        fields(3, "10.0.2.1/32", name="carol"),
        fields(4, "10.0.2.2/32", name="carol"),
    )
    err = run("import", file)[2]
    assert re.search(
        r"line 2: allowed IP 10\.0\.0\.0/24 of .* overlaps 10\.0\.0\.1/32 of .*; that one is in line 1\n", err
    )
    assert re.search(rf"line 3: public key {re.escape(K1)}: registered already .*; that one is in line 1\n", err)
    assert re.search(r"line 5: name 'carol': taken by .*; that one is in line 4\n", err)
    assert content(store) == []


def test_a_peer_that_was_registered_before_has_no_line(run: Run, two: Path, tmp_path: Path) -> None:
    err = run("import", lines(tmp_path / "p.jsonl", {"public_key": K1}))[2]
    assert "registered already as alice" in err
    assert "that one is in line" not in err


# --- the gateway itself ---------------------------------------------------------------------------------------------


@pytest.fixture
def own(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The configuration of a gateway with the key `OWN` and the address 10.8.0.1/16."""
    (tmp_path / "wg0.key").write_text(OWN.reveal_base64() + "\n")
    (tmp_path / "wg0.key").chmod(0o600)
    config = tmp_path / "wg0.toml"
    interface = f'private_key_file = "{tmp_path / "wg0.key"}"\naddresses = ["10.8.0.1/16", "fd00:8::1/64"]'
    config.write_text(f"[interface]\n{interface}\n")
    monkeypatch.setenv("WGJIT_CONFIG", str(config))
    return store


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["add", "self", "--public-key", str(OWN.public()), "--allowed-ips", "10.9.0.1/32"], "is the gateway's own"),
        (["add", "gw", "--public-key", K3, "--allowed-ips", "10.8.0.1/32"], "10.8.0.1 is the gateway's own address"),
        (["add", "gw", "--public-key", K3, "--allowed-ips", "10.8.0.0/24"], "10.8.0.1 is the gateway's own address"),
        (["add", "gw", "--public-key", K3, "--allowed-ips", "fd00:8::1"], "fd00:8::1 is the gateway's own address"),
        (["set", "alice", "--allowed-ips", "10.8.0.1"], "10.8.0.1 is the gateway's own address"),
        (["rotate", "alice", "--public-key", str(OWN.public())], "is the gateway's own"),
    ],
)
def test_the_gateway_is_no_peer(run: Run, own: Path, arguments: list[str], error: str) -> None:
    assert run("add", "alice", "--public-key", K1, "--allowed-ips", "10.8.0.2")[0] == 0
    before = content(own)
    status, out, err = run(*arguments)
    assert (status, out) == (1, "")
    assert error in err
    assert content(own) == before


def test_a_prefix_around_the_whole_network_may_be_a_peers(run: Run, own: Path) -> None:
    assert run("add", "exit", "--public-key", K1, "--allowed-ips", "0.0.0.0/0,::/0")[0] == 0


@pytest.mark.parametrize("form", ["jsonl", "conf", "dump", "csv"])
def test_an_import_refuses_the_gateway(run: Run, own: Path, tmp_path: Path, form: str) -> None:
    entries = [(str(OWN.public()), "10.8.0.3/32"), (K2, "10.8.0.1/32"), (K1, "10.8.0.2/32")]
    forms = {
        "jsonl": '{{"public_key": "{}", "allowed_ips": ["{}"]}}\n',
        "conf": "[Peer]\nPublicKey = {}\nAllowedIPs = {}\n\n",
        "dump": "{}\t(none)\t(none)\t{}\t0\t0\t0\toff\n",
        "csv": "{},{}\n",
    }
    file = tmp_path / f"p.{form}"
    file.write_text(
        ("public_key,allowed_ips\n" if form == "csv" else "") + "".join(forms[form].format(*e) for e in entries)
    )
    status, _, err = run("import", file)
    assert status == 1
    assert "is the gateway's own; " in err
    assert "10.8.0.1 is the gateway's own address" in err
    assert run("import", "--skip-bad", file)[1] == "imported 1 peer, 2 lines left out\n"
    assert content(own) == [peer(1, "10.8.0.2")]


@pytest.mark.parametrize(
    "interface",
    ["Address = 10.8.0.2/32\nDNS = 1.1.1.1", "Address = 10.8.0.2/24", "DNS = 1.1.1.1"],
)
def test_a_clients_own_configuration_is_refused(run: Run, store: Path, tmp_path: Path, interface: str) -> None:
    """Its peer is the gateway. The error says how the client is registered."""
    client = PrivateKey(b"c" * 32)
    file = tmp_path / "alice.conf"
    gateway = f"PublicKey = {K1}\nEndpoint = vpn.example.org:51820\nAllowedIPs = 0.0.0.0/0, ::/0\n"
    file.write_text(
        f"[Interface]\n# Name = alice\nPrivateKey = {client.reveal_base64()}\n{interface}\n\n[Peer]\n{gateway}"
    )
    status, _, err = run("import", file)
    assert status == 1
    assert "line 6: " in err or "line 7: " in err
    assert "this is a client's own configuration" in err
    assert f"--public-key {client.public()}" in err
    assert client.reveal_base64() not in err
    assert content(store) == []


def test_a_configuration_with_itself_as_a_peer(run: Run, store: Path, tmp_path: Path) -> None:
    file = tmp_path / "wg0.conf"
    interface = f"[Interface]\nListenPort = 1\nPrivateKey = {OWN.reveal_base64()}\nAddress = 10.8.0.1/24\n\n"
    plain = f"[Peer]\nPublicKey = {K1}\nAllowedIPs = 10.8.0.2/32\n\n" * 2
    own = f"[Peer]\nPublicKey = {OWN.public()}\nAllowedIPs = 10.8.0.3/32\n\n"
    file.write_text(interface + plain + own + f"[Peer]\nPublicKey = {K2}\nAllowedIPs = 10.8.0.1/32\n")
    status, out, err = run("import", "--skip-bad", file)
    assert (status, out) == (0, "imported 1 peer, 1 already present, 2 lines left out\n")
    assert "line 14: public key" in err
    assert "line 18: allowed IP 10.8.0.1/32" in err

"""`wgjit peer export`: what each format holds comes back by `import`; secrets only when asked."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from lab.registry import opened
from tests.contracts.store import FULL, key, peer
from tests.unit.cli.conftest import K1, PSK, Run, content, written_by_another
from wgjit.management.peer_readers import Format
from wgjit.model import NEVER, Peer, PublicKey, parse_allowed_ip
from wgjit.stores.entries import Filter

PEERS = [
    peer(1, "10.7.0.1/32"),
    peer(2, "10.7.0.2/32", "10.7.1.0/24", "fd00:7::2/128", name='bob, the "builder" #1'),
    peer(3),
    Peer(key(4), (parse_allowed_ip("10.7.0.4"),), keepalive=25, idle_timeout=NEVER, name="Zoë"),
    Peer(key(5), (parse_allowed_ip("2000::/3"),), enabled=False, expires_at=4_105_080_000, idle_timeout=1800),
    Peer(key(6), expires_at=1 << 60),
    Peer(key(8), expires_at=0, name="2000"),
    Peer(key(9), expires_at=-(1 << 40)),
    FULL,
    *(peer(number, f"10.6.0.{number}/32") for number in range(10, 60)),
]


LABELS = {
    key(1): {"team": "infra"},  # of a peer that is plain otherwise
    key(2): {"env": "prod", "team": "infra", "note": 'a "b", c=d; e'},
    key(3): {"a/b.c-d": "Zoë"},
    FULL.public_key: {"x": "=", "y": '"', "z": ","},
}


def fill(path: Path, peers: list[Peer] = PEERS, labels: Mapping[PublicKey, dict[str, str]] | None = None) -> None:
    with opened(path) as registry:
        registry.add(peers)
        for each, its in (labels or {}).items():
            registry.amend(each, lambda peer: peer, its)


def labels_of(path: Path) -> dict[PublicKey, dict[str, str]]:
    """Of all peers that have any."""
    with opened(path, create=False) as registry:
        return {entry.peer.public_key: dict(entry.labels) for entry in registry.peers.entries(Filter()) if entry.labels}


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_whole_round_trip(run: Run, store: Path, tmp_path: Path, form: str) -> None:
    fill(store, labels=LABELS)
    file, again = tmp_path / f"peers.{form}", tmp_path / "again.db"
    assert run("export", "--preshared-keys", file) == (0, "", "")
    assert file.stat().st_mode & 0o777 == 0o600
    assert run("import", file, "--store", again) == (0, f"imported {len(PEERS)} peers\n", "")
    assert content(again) == content(store)
    assert labels_of(again) == labels_of(store) == LABELS
    assert run("import", file, "--store", again)[1] == f"imported 0 peers, {len(PEERS)} already present\n"
    assert run("export", "--format", form, "--preshared-keys", "--store", again)[1] == file.read_text()
    batches = tmp_path / "batches.db"
    assert run("import", "--batch", 2, file, "--store", batches)[1] == f"imported {len(PEERS)} peers\n"
    assert (content(batches), labels_of(batches)) == (content(store), LABELS)


@pytest.mark.parametrize("form", ["conf", "dump"])
def test_what_wireguards_formats_can_hold(run: Run, store: Path, tmp_path: Path, form: str) -> None:
    shown = [each for each in PEERS if each.enabled and (each.expires_at is None or each.expires_at > 1 << 50)]
    fill(store, [*shown, FULL, peer(61, "10.6.1.0/30"), Peer(key(62), (), PSK)], {key(1): {"team": "infra"}})
    file, again = tmp_path / f"peers.{form}", tmp_path / "again.db"
    status, out, err = run("export", "--preshared-keys", file)
    assert (status, out) == (0, "")
    assert err == "wgjit: 1 disabled or expired peers were left out; jsonl and csv hold them\n"
    assert run("import", file, "--store", again)[0] == 0
    wanted = [
        Peer(
            each.public_key,
            each.allowed_ips,
            each.preshared_key,
            each.keepalive,
            name=each.name if form == "conf" else None,
        )
        for each in content(store)
        if each.enabled
    ]
    assert content(again) == wanted
    assert labels_of(again) == {}


def test_what_a_list_prints_is_imported(run: Run, store: Path, tmp_path: Path) -> None:
    fill(store, [each for each in PEERS if each.preshared_key is None], {k: LABELS[k] for k in (key(1), key(2))})
    file, again = tmp_path / "peers.jsonl", tmp_path / "again.db"
    file.write_text(run("list", "--json")[1])
    assert run("import", file, "--store", again)[0] == 0
    assert content(again) == content(store)
    assert labels_of(again) == labels_of(store)


def test_the_registry_is_that_of_the_interfaces_configuration(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, file = tmp_path / "wg7.toml", tmp_path / "p.csv"
    config.write_text(f'[store]\npath = "{tmp_path}/seven.db"\n')
    file.write_text(f"public_key,labels\n{K1},team=infra\n")
    monkeypatch.delenv("WGJIT_STORE", raising=False)
    assert run("import", file, "--interface", "wg7", "--config", config) == (0, "imported 1 peer\n", "")
    assert labels_of(tmp_path / "seven.db") == {key(1): {"team": "infra"}}
    out = run("export", "--config", config)[1]
    assert json.loads(out)["labels"] == {"team": "infra"}


def test_no_secret_is_exported_unless_asked(run: Run, store: Path, tmp_path: Path) -> None:
    fill(store, [Peer(key(1), (), PSK), peer(2)])
    for form in Format:
        status, out, err = run("export", "--format", form)
        assert status == 0
        assert PSK.reveal_base64() not in out + err
        assert err == "wgjit: 1 preshared keys were left out; --preshared-keys writes them\n"
        assert PSK.reveal_base64() in run("export", "--format", form, "--preshared-keys")[1]
    for form in ("jsonl", "csv"):  # what would come back without its key is refused, not weakened
        file = tmp_path / f"p.{form}"
        run("export", file)
        status, out, err = run("import", file, "--store", tmp_path / "again.db")
        assert (status, out) == (1, "")
        assert f"line {1 if form == 'jsonl' else 2}: field 'has_preshared_key'" in err


def test_an_export_takes_the_place_of_an_older_one_when_it_is_whole(run: Run, store: Path, tmp_path: Path) -> None:
    fill(store, [peer(1)])
    file = tmp_path / "out.jsonl"
    file.write_text("older\n")
    file.chmod(0o644)
    with opened(store) as registry:
        registry.add([peer(2, "10.0.0.2/32")])
    with opened(store) as registry, registry._writer as db:
        db.execute("UPDATE peers SET allowed_ips = x'ff' WHERE public_key = ?", (key(2),))
    assert "damaged" in run("export", file)[2]
    assert file.read_text() == "older\n"
    run("remove", key(2))
    assert run("export", file)[0] == 0
    assert json.loads(file.read_text())["public_key"] == K1
    assert file.stat().st_mode & 0o777 == 0o600
    assert sorted(each.name for each in tmp_path.iterdir() if each.name.startswith(".")) == []
    assert "No such file or directory" in run("export", tmp_path / "none" / "x")[2]


@pytest.mark.parametrize("form", ["csv", "conf", "jsonl"])
@pytest.mark.parametrize("name", ["x\n[Peer]\nPublicKey = y", "a\x1b[31mb", "a\rb", "a\x00b"])
def test_control_characters_of_other_programs_stay_inside_of_their_line(
    run: Run, two: Path, tmp_path: Path, form: str, name: str
) -> None:
    if "\0" in name and not isinstance(two, Path):
        return  # no text of PostgreSQL has a NUL
    written_by_another(two, "UPDATE peers SET name = ? WHERE name = ?", (name, "bob"))
    file = tmp_path / f"p.{form}"
    status, _, err = run("export", "--format", form, file)
    assert status == 0
    assert "1 peers have a name or label with control characters" in err
    text = file.read_bytes().decode()
    assert all(each.isprintable() for each in text.split("\n"))
    if form != "jsonl":
        assert name.encode("unicode_escape").decode() in text
        again = tmp_path / "again.db"
        assert run("import", "--skip-bad", file, "--store", again)[0] == 0
        assert len(content(again)) == (2 if form == "conf" else 1)  # alice's preshared key is not in the CSV


NAMES = ["=HYPERLINK(1)", "+1", "-2", "@x", "'=x", "''=x", "'quoted'", "'", "a=b"]


def test_no_cell_is_a_formula_and_names_come_back(run: Run, store: Path, tmp_path: Path) -> None:
    fill(store, [peer(number, name=name) for number, name in enumerate(NAMES, 1)], {key(1): {"a": "=1"}})
    file, again = tmp_path / "p.csv", tmp_path / "again.db"
    assert run("export", file)[0] == 0
    rows = list(csv.DictReader(file.open(encoding="utf-8")))
    assert not [row for row in rows for cell in (row["name"], row["labels"]) if cell.startswith(("=", "+", "-", "@"))]
    assert run("import", file, "--store", again)[0] == 0
    assert [each.name for each in content(again)] == NAMES

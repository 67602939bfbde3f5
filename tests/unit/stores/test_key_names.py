"""A text with a key in it is neither taken for a name or label, nor shown where an older wgjit took it."""

from __future__ import annotations

import base64
import contextlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.registry import LAB, LabRegistry
from tests.contracts.store import key
from wgjit.errors import AmbiguousHandle, InvalidValue, NoSuchToken, TokenExists
from wgjit.model import Claim, Endpoint, Peer, Tai64n, parse_allowed_ip
from wgjit.stores import label_rules
from wgjit.stores.entries import AuditFilter, Filter, Scope
from wgjit.stores.peer_json import from_fields
from wgjit.stores.remote.answer import Found, read_answer

RAW = bytes(range(100, 132))
SECRET = base64.b64encode(RAW).decode()
TEXTS = (SECRET, f"psk {SECRET[:43]}", f'{{"PrivateKey":"{SECRET}"}}', f"0x{RAW.hex().upper()}")


@pytest.fixture
def registry(path: Path) -> Iterator[LabRegistry]:
    with contextlib.closing(LabRegistry(path, timeout=5)) as registry:
        yield registry


@pytest.fixture
def old(registry: LabRegistry, path: Path) -> LabRegistry:
    """As an older wgjit left it: a key for a name, for a label's key and value, in the log, for a token's name."""
    registry.add([Peer(key(n), (parse_allowed_ip(f"10.0.0.{n}"),), name=f"name {n}") for n in range(1, 6)])
    registry.amend(key(2), lambda peer: peer, {"team": "infra"})
    registry.tokens.create("old", Scope.READ, by=LAB)
    registry.save_claims([Claim(key(2), Tai64n.from_unix(1), "gw", Endpoint.parse("192.0.2.1:1"), 1.0)])
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE peers SET name = ? WHERE public_key = ?", (f"name 2 {SECRET}", key(2)))
        db.execute("INSERT INTO labels VALUES (?, ?, ?)", (key(2), "psk", SECRET))
        db.execute("INSERT INTO labels VALUES (?, ?, ?)", (key(2), SECRET[:43], "x"))
        details = json.dumps(
            {"name": [None, SECRET], "labels": [{}, {SECRET[:43]: SECRET}], "public_key": [SECRET, None]}
        )
        db.execute(
            "INSERT INTO audit (at, actor, verb, public_key, name, details) VALUES (1, ?, 'set', ?, ?, ?)",
            (f"token {SECRET} (abc)", key(2), SECRET, details),
        )
        db.execute("UPDATE tokens SET name = ?", (SECRET,))
        db.execute("UPDATE claims SET gateway = ?", (SECRET,))
        db.commit()
    return registry


@pytest.mark.parametrize("text", TEXTS)
def test_no_way_in_takes_one(registry: LabRegistry, text: str) -> None:
    def refused() -> pytest.RaisesExc[InvalidValue]:
        return pytest.raises(
            InvalidValue,
            check=lambda error: (
                "key stands in it" in str(error)
                and RAW.hex() not in (str(error).lower())
                and SECRET[:20] not in str(error)
            ),
        )

    registry.add([Peer(key(1), name="alice")])
    with refused():
        Peer(key(2), name=text)
    with refused():
        from_fields({"public_key": str(key(2)), "name": text})
    with refused():
        from_fields({"public_key": str(key(2)), "labels": {"psk": text}})
    with refused():
        registry.amend(key(1), lambda peer: peer, {"psk": text})
    with refused():
        registry.tokens.create(text, Scope.READ, by=LAB)
    with refused():
        label_rules.parse_label(f"psk={text}")
    assert registry.peers.labels(key(1)) == {}


def test_a_labels_key_is_none_either(registry: LabRegistry) -> None:
    with pytest.raises(InvalidValue, match=r"^label: a key stands in it|^label \(withheld"):
        label_rules.parse_label(f"{SECRET[:43]}=x")
    with pytest.raises(InvalidValue, match="withheld"):
        label_rules.parse_label(f"psk:{SECRET[:43]}")


def test_what_an_older_wgjit_took_is_not_shown(old: LabRegistry) -> None:
    entries = list(old.peers.entries(Filter()))
    assert [entry.peer.name for entry in entries] == ["name 1", None, "name 3", "name 4", "name 5"]
    assert entries[1].labels == {"team": "infra"}
    assert [entry.withheld for entry in entries] == [(), ("name", "labels"), (), (), ()]
    assert old.peers.entry(key(2)) == entries[1]
    found = old.peers.registration(str(key(2)))
    assert (found.peer.name, found.claim and found.claim.gateway) == (None, "(withheld: holds a key)")
    assert old.peers.names("name", 10) == ["name 1", "name 3", "name 4", "name 5"]
    told = repr(
        [entries, found, list(old.peers.every()), old.tokens.every(), old.peers.search("name", 10, anywhere=True)]
    )
    with pytest.raises(AmbiguousHandle) as ambiguous:
        old.peers.resolve(str(key(2))[:4])
    told += str(ambiguous.value)
    log = old.audit.page(AuditFilter(), 1000).entries
    assert log[0].details["public_key"] == [SECRET, None]  # there it is a public one
    told += repr(
        [(entry.actor, entry.name, {k: v for k, v in entry.details.items() if k != "public_key"}) for entry in log]
    )
    assert SECRET[:20] not in told


def test_pages_in_the_order_of_names_go_on_behind_one_that_is_withheld(old: LabRegistry) -> None:
    wanted, after, seen = Filter(name_prefix="name"), None, []
    while True:
        page = old.peers.page(wanted, 1, after)
        seen += [entry.peer.public_key for entry in page.entries]
        assert SECRET[:20] not in str(page.cursor)
        if (after := page.cursor) is None:
            break
    assert seen == [key(n) for n in range(1, 6)]


def in_file(path: Path) -> str:
    with contextlib.closing(sqlite3.connect(path)) as db:
        return repr(db.execute("SELECT * FROM peers").fetchall() + db.execute("SELECT * FROM labels").fetchall())


def test_another_name_mends_it_and_nothing_of_the_old_one_gets_into_the_log(old: LabRegistry, path: Path) -> None:
    assert SECRET in in_file(path)
    before = len(old.audit.page(AuditFilter(), 1000).entries)
    old.amend(key(2), lambda peer: Peer(peer.public_key, peer.allowed_ips, name="new"), {})
    assert SECRET[:20] not in in_file(path)
    assert old.peers.registration("new").peer.public_key == key(2)
    assert old.peers.labels(key(2)) == {"team": "infra"}
    with contextlib.closing(sqlite3.connect(path)) as db:
        written = db.execute("SELECT name, details FROM audit ORDER BY id DESC").fetchall()
    assert len(written) == before + 1
    assert SECRET[:20] not in repr(written[0])


def test_it_can_be_switched_off_rotated_and_removed(old: LabRegistry, path: Path) -> None:
    off = old.amend(key(2), lambda peer: Peer(peer.public_key, peer.allowed_ips, enabled=False), {})
    assert not off.peer.enabled
    assert old.rotate(key(2), key(9)).allowed_ips == (parse_allowed_ip("10.0.0.2"),)
    old.remove(key(9))
    with contextlib.closing(sqlite3.connect(path)) as db:
        written = db.execute("SELECT actor, name, details FROM audit WHERE at > 1").fetchall()
    assert SECRET[:20] not in repr(written)


def test_a_rotation_alone_leaves_the_name_behind(old: LabRegistry, path: Path) -> None:
    old.rotate(key(2), key(9))
    assert SECRET[:20] not in in_file(path)


def test_a_token_is_not_named_in_an_error(registry: LabRegistry) -> None:
    with pytest.raises(NoSuchToken, match="withheld"):
        registry.tokens.revoke(SECRET, by=LAB)
    registry.tokens.create("x", Scope.READ, by=LAB)
    with pytest.raises(TokenExists, match="'x'"):
        registry.tokens.create("x", Scope.READ, by=LAB)


def test_a_peer_of_a_service_connects_without_its_name() -> None:
    body = json.dumps({"public_key": str(key(1)), "name": f"psk {SECRET}", "allowed_ips": ["10.0.0.1/32"]}).encode()
    answer = read_answer(200, {"content-type": "application/json"}, body, key(1), 0.0)
    assert isinstance(answer, Found)
    assert answer.peer == Peer(key(1), (parse_allowed_ip("10.0.0.1"),))

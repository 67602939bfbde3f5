"""The audit log: what each change leaves in it, together with the change or not at all, and never a secret."""

import base64
import contextlib
import dataclasses
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.registry import LAB, LabRegistry
from tests.contracts.store import FULL, claim, key, peer
from tests.unit.stores.entered import entered
from wgjit.errors import PeerExists, StoreError
from wgjit.model import PresharedKey, PrivateKey
from wgjit.stores.entries import AuditFilter, Author, Entry, Filter, IdempotentRequest, Scope
from wgjit.stores.sqlite import audit
from wgjit.stores.sqlite.claims import Claims
from wgjit.stores.sqlite.peers import Peers

ALL = AuditFilter()


@pytest.fixture
def registry(path: Path) -> Iterator[LabRegistry]:
    with contextlib.closing(LabRegistry(path, timeout=0.5)) as registry:
        yield registry


def test_what_each_change_leaves(registry: LabRegistry) -> None:
    psk, other = PresharedKey(b"\x21" * 32), PresharedKey(b"\x22" * 32)
    alice = dataclasses.replace(peer(1, "10.8.0.2/32", name="alice"), preshared_key=psk)
    registry.peers.hand_out(alice, {"team": "infra"}, by=LAB)
    registry.peers.amend(key(1), lambda p: dataclasses.replace(p, keepalive=25), {"floor": "3"}, ["team"], by=LAB)
    registry.peers.amend(key(1), lambda p: dataclasses.replace(p, preshared_key=other), {}, by=LAB)
    registry.peers.amend(key(1), lambda p: dataclasses.replace(p, enabled=False), {}, by=LAB)
    registry.peers.amend(key(1), lambda p: dataclasses.replace(p, enabled=True), {}, by=LAB)
    registry.peers.amend(key(1), lambda p: p, {"floor": "3"}, by=LAB)  # changes nothing
    registry.save_claims([claim(1, 1000.0)])
    registry.claims.reset(key(1), by=LAB)
    registry.claims.reset(key(1), by=LAB)  # has none any more
    registry.peers.rotate(key(1), key(2), by=LAB)
    registry.peers.remove_all([key(2), key(99)], by=LAB)
    registry.peers.adopt([peer(3, "10.8.0.3/32")], by=LAB)
    forgotten = {
        "timestamp": str(claim(1, 1000.0).timestamp),
        "gateway": claim(1, 1000.0).gateway,
        "endpoint": str(claim(1, 1000.0).endpoint),
        "proven_at": claim(1, 1000.0).proven_at,
    }
    assert entered(registry) == [
        (
            "add",
            key(1),
            {
                "name": [None, "alice"],
                "allowed_ips": [None, ["10.8.0.2/32"]],
                "has_preshared_key": [None, True],
                "labels": [None, {"team": "infra"}],
            },
        ),
        ("set", key(1), {"keepalive": [0, 25], "labels": [{"team": "infra"}, {"floor": "3"}]}),
        ("set", key(1), {"has_preshared_key": [True, True]}),
        ("disable", key(1), {"enabled": [True, False]}),
        ("enable", key(1), {"enabled": [False, True]}),
        ("claim-reset", key(1), {"claim": [forgotten, None]}),
        ("rotate", key(2), {"public_key": [str(key(1)), str(key(2))]}),
        (
            "remove",
            key(2),
            {
                "name": ["alice", None],
                "allowed_ips": [["10.8.0.2/32"], None],
                "has_preshared_key": [True, None],
                "keepalive": [25, None],
                "labels": [{"floor": "3"}, None],
            },
        ),
        ("adopt", key(3), {"allowed_ips": [None, ["10.8.0.3/32"]]}),
    ]
    entries = registry.audit.page(ALL, 100).entries
    assert {entry.actor for entry in entries} == {"lab"}
    assert [entry.name for entry in entries] == [None, *["alice"] * 8]


def test_a_batch_is_one_entry(registry: LabRegistry) -> None:
    with registry.peers.load(by=LAB) as load:
        load.peers((number, peer(number)) for number in range(500))
        load.commit(lambda line, error: None, "a.csv")
        load.peers([(1, peer(1)), (2, peer(600, name="x")), (3, peer(601, name="x"))])
        load.commit(lambda line, error: None, "b.csv")
        load.peers([(1, peer(1))])
        load.commit(lambda line, error: None, "c.csv")  # registers nobody
    assert entered(registry) == [
        ("import", None, {"added": 500, "present": 0, "refused": 0, "source": "a.csv"}),
        ("import", None, {"added": 1, "present": 1, "refused": 1, "source": "b.csv"}),
    ]


def test_a_change_that_is_undone_leaves_nothing(registry: LabRegistry) -> None:
    registry.peers.hand_out(peer(1, name="alice"), {}, by=LAB)
    before = entered(registry)

    def fails(_: object) -> None:
        raise OSError("disk full")

    def ends() -> Iterator[object]:
        yield peer(2)
        raise OSError("unplugged")

    with pytest.raises(PeerExists):
        registry.peers.hand_out(peer(2, name="alice"), {}, by=LAB)
    for attempt in (
        lambda: registry.peers.hand_out(peer(2), {}, (), fails, by=LAB),
        lambda: registry.peers.amend(key(1), fails, {}, by=LAB),  # type: ignore[arg-type]
        lambda: registry.peers.amend(key(1), lambda p: p, {"a": "b"}, (), fails, by=LAB),
        lambda: registry.peers.rotate(key(1), key(2), fails, by=LAB),
        lambda: registry.peers.rotate(key(1), key(2), check=fails, by=LAB),
        lambda: registry.peers.remove_all([key(1)], fails, by=LAB),
        lambda: registry.peers.adopt(ends(), by=LAB),  # type: ignore[arg-type]
    ):
        with pytest.raises(OSError, match=r"disk full|unplugged"):
            attempt()
    assert entered(registry) == before
    assert list(registry.peers.every()) == [peer(1, name="alice")]
    assert registry.peers.labels(key(1)) == {}


def test_without_its_entry_no_change_counts(registry: LabRegistry, shell: sqlite3.Connection) -> None:
    """Who cannot write the log changes nothing: each verb, with a log that refuses."""
    registry.peers.hand_out(FULL, {"team": "infra"}, by=LAB)
    registry.save_claims([claim(7, 1000.0)])
    token, _ = registry.tokens.create("ci", Scope.READ, by=LAB)
    before = (registry.lookup(key(7)), entered(registry))
    shell.execute("CREATE TRIGGER full BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'log is full'); END")

    def load() -> None:
        with registry.peers.load(by=LAB) as load:
            load.peers([(1, peer(1))])
            load.commit(lambda line, error: None)

    for attempt in (
        lambda: registry.peers.hand_out(peer(1), {}, by=LAB),
        lambda: registry.peers.amend(key(7), lambda p: dataclasses.replace(p, enabled=not p.enabled), {}, by=LAB),
        lambda: registry.peers.rotate(key(7), key(8), by=LAB),
        lambda: registry.peers.remove_all([key(7)], by=LAB),
        lambda: registry.peers.remove_fitting(Filter({"team": "infra"}), by=LAB),
        lambda: registry.claims.reset(key(7), by=LAB),
        lambda: registry.peers.adopt([peer(1)], by=LAB),
        load,
        lambda: registry.tokens.create("other", Scope.READ, by=LAB),
        lambda: registry.tokens.revoke("ci", by=LAB),
        lambda: registry.audit.prune(1e12, by=LAB),
    ):
        with pytest.raises(StoreError):
            attempt()
    assert (registry.lookup(key(7)), entered(registry)) == before
    assert (registry.peers.count(), registry.tokens.every()) == (1, [token])


def test_who_cannot_say_who_they_are_cannot_change_a_peer() -> None:
    arguments = {"hand_out": 2, "adopt": 1, "load": 0, "amend": 3, "rotate": 2, "remove_all": 1, "remove_fitting": 1}
    looks = {"resolve", "registration", "entry", "labels", "names", "page", "entries", "every", "count", "search"}
    assert {name for name in dir(Peers) if not name.startswith("_")} == looks | arguments.keys()
    unbound = [getattr(Peers, name) for name in arguments] + [Claims.reset]
    for verb, count in zip(unbound, [*arguments.values(), 1], strict=True):
        with pytest.raises(TypeError, match="'by'"):
            verb(*[None] * (count + 1))


def test_a_damaged_peer_can_be_removed(registry: LabRegistry, shell: sqlite3.Connection) -> None:
    registry.peers.hand_out(peer(1), {}, by=LAB)
    shell.execute("UPDATE peers SET allowed_ips = x'0909'")
    with pytest.raises(StoreError):
        registry.peers.remove_all([key(1)], lambda entry: None, by=LAB)
    assert registry.peers.remove_all([key(1)], by=LAB) == 1
    assert entered(registry)[-1] == ("remove", key(1), {"damaged": True})


# --- reading it -----------------------------------------------------------------------------------------------------


def test_pages_newest_first_and_filters(registry: LabRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    bob = Author("bob")
    for number in range(1, 6):
        monkeypatch.setattr("wgjit.stores.sqlite.audit.time.time", lambda at=999.0 + number: at)
        registry.peers.hand_out(peer(number), {}, by=bob if number % 2 else LAB)
    registry.peers.rotate(key(1), key(11), by=LAB)
    registry.peers.remove_all([key(11)], by=LAB)

    def walk(wanted: AuditFilter, limit: int) -> list[int]:
        found: list[int] = []
        after = None
        while True:
            page = registry.audit.page(wanted, limit, after)
            assert len(page.entries) <= limit
            found += [entry.id for entry in page.entries]
            after = page.cursor
            if after is None:
                return found

    for limit in (1, 2, 3, 7, 100):
        assert walk(ALL, limit) == [7, 6, 5, 4, 3, 2, 1]
        assert walk(AuditFilter(public_key=key(1)), limit) == [6, 1]
        assert walk(AuditFilter(public_key=key(11)), limit) == [7, 6]
        assert walk(AuditFilter(actor="bob"), limit) == [5, 3, 1]
        assert walk(AuditFilter(verb="rotate"), limit) == [6]
        assert walk(AuditFilter(since=1004.0), limit) == [7, 6, 5]
        assert walk(AuditFilter(since=5000.0), limit) == []
        assert walk(AuditFilter(key(1), "bob", "add", 1000.0), limit) == [1]


def test_a_clock_that_was_set_back_hides_nothing(registry: LabRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, at in enumerate((5000.0, 100.0, 6000.0), 1):
        monkeypatch.setattr("wgjit.stores.sqlite.audit.time.time", lambda at=at: at)
        registry.peers.hand_out(peer(number), {}, by=LAB)
    assert [e.id for e in registry.audit.page(AuditFilter(since=4000.0), 10).entries] == [3, 1]


@pytest.mark.parametrize(
    "wanted", [ALL, AuditFilter(key(1)), AuditFilter(since=0.0), AuditFilter(key(1), since=0.0)], ids=repr
)
def test_a_page_walks_along_an_index(shell: sqlite3.Connection, wanted: AuditFilter) -> None:
    statements: list[str] = []
    shell.set_trace_callback(statements.append)
    audit.page(shell, wanted, 10, 100)
    shell.set_trace_callback(None)
    plan = " / ".join(row[3] for row in shell.execute("EXPLAIN QUERY PLAN " + statements[0]))
    assert "SCAN" not in plan, plan


def test_pruning_is_noted_and_no_entry_is_rewritten(
    registry: LabRegistry, shell: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "PRUNED", 2)
    monkeypatch.setattr("wgjit.stores.sqlite.audit.time.time", lambda: 100.0)
    for number in range(5):
        registry.peers.hand_out(peer(number), {}, by=LAB)
    monkeypatch.setattr("wgjit.stores.sqlite.audit.time.time", lambda: 200.0)
    registry.peers.hand_out(peer(9), {}, by=LAB)
    assert registry.audit.prune(150.0, by=LAB) == 5
    assert registry.audit.prune(150.0, by=LAB) == 0
    assert [(verb, details.get("removed")) for verb, _, details in entered(registry)] == [
        ("add", None),
        ("audit-prune", 2),
        ("audit-prune", 2),
        ("audit-prune", 1),
    ]
    with pytest.raises(sqlite3.IntegrityError, match="does not change"):
        shell.execute("UPDATE audit SET actor = 'nobody'")
    shell.execute("DELETE FROM audit")
    registry.peers.hand_out(peer(10), {}, by=LAB)
    assert registry.audit.page(ALL, 1).entries[0].id == 10  # numbers never come again


def test_what_another_program_wrote_is_shown_all_the_same(registry: LabRegistry, shell: sqlite3.Connection) -> None:
    for details in ("not json", "[1]", '{"a": 1}'):
        shell.execute("INSERT INTO audit (at, actor, verb, details) VALUES (1, 'x', 'frob', ?)", (details,))
    assert [details for _, _, details in entered(registry)] == [{"damaged": True}, {"damaged": True}, {"a": 1}]


# --- who ------------------------------------------------------------------------------------------------------------


def test_who_runs_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "alice")
    monkeypatch.setattr(os, "getuid", lambda: 0)
    assert Author.process("command line") == Author("root (sudo: alice) by command line")
    monkeypatch.delenv("SUDO_USER")
    assert Author.process("command line") == Author("root by command line")
    monkeypatch.setenv("SUDO_USER", "root")  # anybody can set it
    monkeypatch.setattr(os, "getuid", lambda: 3_999_999_999)
    assert Author.process("command line") == Author("uid 3999999999 by command line")


# --- crashes, other processes, secrets --------------------------------------------------------------------------------

CRASH = """
import os, signal, sys
from wgjit.model import Peer, PublicKey
from lab.registry import LabRegistry
from wgjit.stores.sqlite import audit
from wgjit.stores.sqlite import idempotency
from wgjit.stores.entries import Author
from wgjit.stores.entries import IdempotentRequest
registry = LabRegistry(sys.argv[1])
by = Author("child")
once = IdempotentRequest("k1", bytes(32), lambda entry: (201, b"one"))
registry.peers.hand_out(Peer(PublicKey(bytes([1]) * 32)), {}, by=by, once=once)
def dies(*args):
    os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[2] == "before the log":
    audit.registered = dies
elif sys.argv[2] == "before the answer":
    idempotency.write = dies
else:
    write = idempotency.write
    idempotency.write = lambda *args: (write(*args), dies())
once = IdempotentRequest("k2", bytes(32), lambda entry: (201, b"two"))
registry.peers.hand_out(Peer(PublicKey(bytes([2]) * 32)), {}, by=by, once=once)
"""


@pytest.mark.parametrize("when", ["before the log", "before the answer", "before the commit"])
def test_a_crash_leaves_change_entry_and_answer_or_none(path: Path, when: str) -> None:
    ended = subprocess.run([sys.executable, "-c", CRASH, str(path), when], timeout=60, check=False)
    assert ended.returncode == -signal.SIGKILL
    with contextlib.closing(LabRegistry(path)) as registry:
        assert [p.public_key for p in registry.peers.every()] == [bytes([1]) * 32]
        assert [(verb, key) for verb, key, _ in entered(registry)] == [("add", bytes([1]) * 32)]
        found = registry.answers.find("k1", by=Author("child"))
        assert found is not None
        assert (found.status, found.body) == (201, b"one")
        assert registry.answers.find("k2", by=Author("child")) is None


def test_processes_at_once_lose_no_entry(path: Path) -> None:
    program = """
import os, sys
from wgjit.model import Peer, PublicKey
from wgjit.stores.entries import Author
from lab.registry import LabRegistry
registry = LabRegistry(sys.argv[1], timeout=30)
print("ready", flush=True)
sys.stdin.readline()
for _ in range(100):
    registry.peers.hand_out(Peer(PublicKey(os.urandom(32))), {}, by=Author(sys.argv[2]))
"""
    pipe = subprocess.PIPE
    children = [
        subprocess.Popen([sys.executable, "-c", program, str(path), name], stdin=pipe, stdout=pipe, text=True)
        for name in ("one", "two")
    ]
    try:
        for child in children:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
        for child in children:
            child.communicate("go\n", timeout=60)
            assert child.returncode == 0
    finally:
        for child in children:
            child.kill()
            child.wait()
    with contextlib.closing(LabRegistry(path)) as registry:
        entries = registry.audit.page(ALL, 1000).entries
        assert {e.public_key for e in entries} == {p.public_key for p in registry.peers.every()}
        assert sorted(e.actor for e in entries) == ["one"] * 100 + ["two"] * 100


def test_no_secret_is_in_the_file_but_preshared_keys_in_their_row(path: Path) -> None:
    """All bytes of the file and its log, after every kind of change; a preshared key while its peer is there."""
    private, psk = PrivateKey.generate(), PresharedKey(os.urandom(32))
    with contextlib.closing(LabRegistry(path)) as registry:
        new = dataclasses.replace(peer(1, name="alice"), public_key=private.public(), preshared_key=psk)
        answered = IdempotentRequest("k", bytes(32), lambda entry: (201, str(entry.peer.public_key).encode()))
        registry.peers.hand_out(new, {}, by=LAB, once=answered)
        _, text = registry.tokens.create("ci", Scope.GATEWAY, by=LAB)
        token = registry.tokens.authenticate(text, 1e9)
        assert token is not None
        registry.peers.amend(new.public_key, lambda p: dataclasses.replace(p, keepalive=9), {}, by=LAB)
        registry.peers.rotate(new.public_key, key(2), by=LAB)
        assert registry.tokens.revoke("ci", by=LAB).revoked_at is not None
        seen = " ".join(map(repr, (Entry(new), token, registry.tokens.every(), registry.audit.page(ALL, 100))))
        content = b"".join(file.read_bytes() for file in path.parent.iterdir())
        with registry._reader as db:
            tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            holders = {
                table
                for table in tables
                for row in db.execute(f'SELECT * FROM "{table}"')
                for value in row
                if _holds(value if isinstance(value, bytes) else str(value).encode(), psk.reveal(), psk.reveal_base64())
            }
    assert str(new.public_key).encode() in content  # the scan does see what is there
    assert psk.reveal() in content
    secret = text.split("_", 2)[2]

    for raw, shown in (
        (private.reveal(), private.reveal_base64()),
        (base64.urlsafe_b64decode(secret + "="), secret),
    ):
        assert not _holds(content, raw, shown)
        assert shown not in seen
    assert psk.reveal_base64() not in seen
    assert holders == {"peers"}


def _holds(content: bytes, raw: bytes, shown: str) -> bool:
    return raw in content or shown.encode() in content or raw.hex().encode() in content

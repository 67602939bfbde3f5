"""Bulk loads: what is registered is what adding one by one would have registered, and the schema's rules survive it."""

from __future__ import annotations

import contextlib
import ipaddress
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.registry import LabRegistry
from tests.contracts.store import FULL, claim, key, peer
from tests.fakes.store import FakeRegistry
from wgjit.errors import AddressConflict, InvalidValue, PeerExists, PeerRefused, StoreBusy, StoreError
from wgjit.model import Peer, PublicKey
from wgjit.stores import packing
from wgjit.stores.entries import Loaded, Pool
from wgjit.stores.sqlite.bulk.load import BulkLoad


def stage(load: BulkLoad, batch: list[tuple[int, Peer]]) -> None:
    """Each in the way an import takes: plain peers as records, their lines as a range if they are one."""
    plain = [(line, each) for line, each in batch if is_plain(each)]
    if plain:
        lines = [line for line, _ in plain]
        spread = range(lines[0], lines[-1] + 1, lines[1] - lines[0] if len(lines) > 1 else 1)
        records = [each.public_key + packing.pack_allowed_ips(each.allowed_ips) for _, each in plain]
        load.plain(spread if list(spread) == lines else lines, records)
    load.peers((line, each) for line, each in batch if not is_plain(each))


def is_plain(peer: Peer) -> bool:
    return (
        peer == Peer(peer.public_key, peer.allowed_ips)
        and [p.max_prefixlen for p in peer.allowed_ips] == [32]
        and (peer.allowed_ips[0].prefixlen == 32)
    )


def load_all(registry: LabRegistry, peers: list[Peer]) -> Loaded:
    with registry.load() as load:
        stage(load, list(enumerate(peers)))
        return load.commit(fail)


def fail(line: int, error: StoreError) -> None:
    raise error


def schema(path: Path) -> list[tuple[str, str]]:
    with sqlite3.connect(path) as db:
        found = db.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()
    db.close()
    return found


def test_plain_and_others_in_one_batch(registry: LabRegistry) -> None:
    before = schema(registry.path)
    lines = [(n, peer(n, f"10.0.{n >> 8}.{n & 255}/32")) for n in range(10, 40_000)]
    with registry.load() as load:
        stage(load, [*lines, (40_000, FULL), (40_001, peer(1)), (40_002, peer(2, "fd00:2::2/128", name="bob"))])
        assert registry.peers.count() == 0
        assert load.commit(fail) == Loaded(39_993, 0, 0)
    assert registry.peers.count() == 39_993
    assert list(registry.peers.every()) == sorted(
        [FULL, peer(1), peer(2, "fd00:2::2/128", name="bob"), *(each for _, each in lines)], key=lambda p: p.public_key
    )
    assert schema(registry.path) == before
    with pytest.raises(AddressConflict):
        registry.add([peer(50_000, "10.0.0.10/32")])
    with pytest.raises(PeerExists):
        registry.add([peer(50_000, name="bob")])


@pytest.mark.parametrize("larger", [0, 4], ids=["trigger", "scan"])
def test_the_result_is_that_of_adding_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, larger: int) -> None:
    monkeypatch.setattr("wgjit.stores.sqlite.bulk.load._LARGER", larger)
    registry = LabRegistry(tmp_path / "registry.db")

    @settings(max_examples=150, deadline=None)
    @given(before=st.lists(peers, max_size=3), lines=st.lists(peers, max_size=8), gap=st.integers(1, 2))
    def agrees(before: list[Peer], lines: list[Peer], gap: int) -> None:
        for left in list(registry.peers.every()):
            registry.remove(left.public_key)
        oracle, there = FakeRegistry(), []
        for each in before:
            if add(oracle, each) is True:
                there.append(each)
        registry.add(there)
        wanted, present = {}, 0
        for line, each in enumerate(lines):
            outcome = add(oracle, each)
            if isinstance(outcome, PeerRefused):
                wanted[gap * line] = type(outcome)
            elif outcome is None:
                present += 1
        refused: dict[int, type[StoreError]] = {}
        with registry.load() as load:
            stage(load, [(gap * line, each) for line, each in enumerate(lines)])
            loaded = load.commit(lambda line, error: refused.setdefault(line, type(error)) and None)
        assert set(refused) == set(wanted)
        assert loaded == Loaded(len(lines) - len(wanted) - present, present, len(wanted))
        assert list(registry.peers.every()) == list(oracle.every())
        assert registry.peers.count() == oracle.count()

    def add(oracle: FakeRegistry, each: Peer) -> PeerRefused | bool | None:
        if each in list(oracle.every()):
            return None
        try:
            return bool(oracle.add([each]))
        except PeerRefused as error:
            return error

    agrees()
    registry.close()


def test_a_refusal_that_raises_leaves_nothing_of_its_batch(registry: LabRegistry) -> None:
    registry.add([peer(1, "10.0.0.1/32", name="alice")])
    before = schema(registry.path)
    with registry.load() as load:
        stage(load, [(1, peer(2, "10.0.0.2/32")), (2, peer(3, "10.0.0.3/32"))])
        assert load.commit(fail).added == 2
        stage(load, [(3, peer(4, "10.0.0.4/32")), (4, peer(5, "10.0.0.0/29"))])
        with pytest.raises(AddressConflict, match=r"10\.0\.0\.0/29 of .* overlaps 10\.0\.0\.\d/32"):
            load.commit(fail)
    assert [each.public_key for each in registry.peers.every()] == [key(1), key(2), key(3)]
    assert registry.peers.count() == 3
    assert schema(registry.path) == before


def test_what_was_staged_and_not_committed_is_dropped(registry: LabRegistry) -> None:
    with registry.load() as load:
        stage(load, [(1, peer(1, "10.0.0.1/32"))])
    assert registry.peers.count() == 0
    with registry.load() as load:
        assert load.staged == 0
        with pytest.raises(InvalidValue, match="name"):
            load.peers([(1, peer(1, name=" "))])


def test_nobody_waits_for_what_is_only_staged(registry: LabRegistry) -> None:
    registry.add([peer(1)])
    with registry.load() as load:
        stage(load, [(1, peer(2, "10.0.0.2/32")), (2, FULL)])
        registry.save_claims([claim(1, 5.0)])
        registry.remove(key(1))
        assert load.commit(fail).added == 2
    assert registry.peers.count() == 2


def test_another_writer_is_waited_for_no_longer_than_told(registry: LabRegistry, shell: sqlite3.Connection) -> None:
    shell.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreBusy):
        load_all(registry, [peer(2, "10.0.0.2/32")])
    shell.execute("ROLLBACK")
    assert load_all(registry, [peer(2, "10.0.0.2/32")]) == Loaded(1, 0, 0)


def test_a_load_that_is_killed_leaves_the_file_as_it_was(registry: LabRegistry) -> None:
    """In the middle of the transaction that has dropped triggers, and written all but one peer."""
    program = """
import sys
from tests.contracts.store import peer
from tests.unit.stores.test_bulk import stage
from lab.registry import LabRegistry
def halfway(line, error):
    print("halfway", flush=True)
    sys.stdin.readline()
with LabRegistry(sys.argv[1]).load() as load:
    stage(load, [(n, peer(n, f"10.1.{n >> 8}.{n & 255}/32")) for n in range(2, 50_000)])
    stage(load, [(60_000, peer(1, "10.2.0.1/32"))])
    load.commit(halfway)
"""
    registry.add([peer(1, "10.0.0.1/32")])
    before = schema(registry.path)
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(registry.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"halfway\n"
        with pytest.raises(StoreBusy):
            registry.save_claims([claim(1, 1.0)])
    finally:
        child.kill()
        child.communicate()
    assert schema(registry.path) == before
    assert list(registry.peers.every()) == [peer(1, "10.0.0.1/32")]
    assert registry.peers.count() == 1
    registry.add([peer(2, "10.1.0.2/32")])


@pytest.mark.parametrize("record", [b"", b"k" * 37])
def test_a_record_of_the_wrong_size_does_not_get_in(registry: LabRegistry, record: bytes) -> None:
    with pytest.raises(StoreError, match="refuses this row"), registry.load() as load:
        load.plain([1], [record])
    assert registry.peers.count() == 0


def labels_of(registry: LabRegistry) -> dict[PublicKey, dict[str, str]]:
    found = {each.public_key: registry.peers.labels(each.public_key) for each in registry.peers.every()}
    return {key: labels for key, labels in found.items() if labels}


@pytest.mark.parametrize("conflict", [False, True], ids=["together", "one by one"])
def test_labels_go_in_with_their_peers(registry: LabRegistry, conflict: bool) -> None:
    registry.add([peer(9, "10.0.0.9/32")])
    its = {2: {"env": "prod", "team": "infra"}, 3: {}}
    others = [(line, peer(line, f"10.0.0.{line}/32", name=f"n{line}")) for line in range(2, 5)]
    with registry.load() as load:
        stage(load, [(1, peer(1, "10.0.0.1/32"))])
        load.peers(others, its)
        if conflict:
            load.peers([(5, peer(8, "10.0.0.0/29"))])  # around all of them: a second way in
        refused: list[int] = []
        assert load.commit(lambda line, error: refused.append(line)) == Loaded(4, 0, int(conflict))
    assert refused == [5] * conflict
    assert labels_of(registry) == {key(2): its[2]}


def test_labels_stay_in_their_batch(registry: LabRegistry) -> None:
    """Lines begin anew with each file."""
    with registry.load() as load:
        for number, its in enumerate([{"a": "1"}, {}, {"b": "2"}, None]):
            load.peers([(1, peer(number, name=f"n{number}"))], {} if its is None else {1: its})
            load.commit(fail)
    assert labels_of(registry) == {key(0): {"a": "1"}, key(2): {"b": "2"}}


def test_present_means_equal_labels_if_any_are_said(registry: LabRegistry) -> None:
    plain, named, other = peer(1, "10.0.0.1/32"), peer(2, "10.0.0.2/32", name="b"), peer(3, "10.0.0.3/32", name="c")
    with registry.load() as load:
        load.peers([(1, plain), (2, named), (3, other)], {1: {"a": "1"}, 2: {"a": "1", "b": "2"}})
        load.commit(fail)
    before = labels_of(registry)
    record = plain.public_key + packing.pack_allowed_ips(plain.allowed_ips)

    def again(*said: tuple[int, Peer, dict[str, str] | None], unlabelled: bool | None = None) -> Loaded:
        with registry.load() as load:
            if unlabelled is not None:
                load.plain([0], [record], unlabelled=unlabelled)
            load.peers([(line, each) for line, each, _ in said], {n: its for n, _, its in said if its is not None})
            return load.commit(lambda line, error: None)

    assert again((1, named, None), (2, other, {}), (3, named, {"b": "2", "a": "1"})) == Loaded(0, 3, 0)
    assert again(unlabelled=False) == Loaded(0, 1, 0)
    assert again(unlabelled=True) == Loaded(0, 0, 1)
    for said in ({}, {"a": "1"}, {"a": "1", "b": "3"}, {"a": "1", "b": "2", "c": "3"}):
        assert again((1, named, said)) == Loaded(0, 0, 1)
    assert again((1, other, {"a": "1"})) == Loaded(0, 0, 1)
    assert labels_of(registry) == before


@pytest.mark.parametrize("conflict", [False, True], ids=["together", "one by one"])
def test_an_address_that_is_loaded_is_not_freed_any_more(path: Path, conflict: bool) -> None:
    pool = Pool(ipaddress.ip_network("10.0.0.0/24"), quarantine=0)
    with contextlib.closing(LabRegistry(path, pools=[pool])) as registry:
        registry.add([peer(n, f"10.0.0.{n}/32") for n in range(2, 6)])
        registry.remove_all([key(n) for n in range(2, 6)])
        lines = [(2, peer(12, "10.0.0.2/32")), (3, peer(13, "10.0.0.3/32", name="c"))]
        with registry.load() as load:
            stage(load, [*lines, *([(4, peer(14, "10.0.0.2/32"))] if conflict else [])])
            load.commit(lambda line, error: None)
        with registry._reader as db:
            freed = [packing.unpack_range(first, None) for (first,) in db.execute("SELECT first FROM freed")]
        assert [str(each) for each in freed] == ["10.0.0.4/32", "10.0.0.5/32"]
        taken = [registry.hand_out(peer(n), {}, [pool]).allowed_ips[0] for n in range(20, 23)]
        assert [str(each) for each in taken] == ["10.0.0.4/32", "10.0.0.5/32", "10.0.0.1/32"]
        registry.remove(key(13))  # the triggers are there again
        with registry._reader as db:
            assert db.execute("SELECT count(*) FROM freed").fetchone() == (1,)


def test_the_count_follows_every_writer(registry: LabRegistry, shell: sqlite3.Connection) -> None:
    registry.add([peer(1), peer(2), FULL])
    shell.execute("INSERT INTO peers (public_key) VALUES (?)", (key(9),))
    shell.execute("DELETE FROM peers WHERE name IS NULL AND public_key < ?", (key(9),))
    with pytest.raises(sqlite3.IntegrityError):
        shell.execute("INSERT OR REPLACE INTO peers (public_key) VALUES (?)", (key(9),))
    assert registry.peers.count() == 2 == shell.execute("SELECT count(*) FROM peers").fetchone()[0]


prefixes: st.SearchStrategy[list[str]] = st.lists(
    st.one_of(
        st.integers(0, 7).map(lambda host: f"10.0.0.{host}/32"),
        st.sampled_from(["10.0.0.0/30", "10.0.0.4/31", "fd00::/126", "fd00::2/128", "fd00::4/128"]),
    ),
    max_size=2,
    unique=True,
)
single = st.integers(0, 7).map(lambda host: [f"10.0.0.{host}/32"])
names = st.sampled_from([None, None, "a", "b"])
peers = st.builds(
    lambda number, texts, name: peer(number, *texts, name=name), st.integers(0, 5), single | prefixes, names
)

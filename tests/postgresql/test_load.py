"""Bulk loads: what is registered is what adding one by one would have registered."""

from __future__ import annotations

import ipaddress
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lab.postgresql import Cluster
from lab.registry import LAB, LabPostgres
from tests.contracts.store import FULL, claim, key, peer
from tests.fakes.store import FakeRegistry
from tests.postgresql.conftest import Shell
from tests.unit.stores.test_bulk import (  # its tests of labels run here, too, on this module's registry
    fail,
    load_all,
    peers,
    stage,
)
from wgjit.errors import AddressConflict, PeerExists, PeerRefused, StoreError
from wgjit.model import Peer
from wgjit.stores.entries import Loaded, Pool
from wgjit.stores.postgresql import load as load_module
from wgjit.stores.postgresql import spill


def test_plain_and_others_in_one_batch(registry: LabPostgres) -> None:
    lines = [(n, peer(n, f"10.0.{n >> 8}.{n & 255}/32")) for n in range(10, 40_000)]
    with registry.load() as load:
        stage(load, [*lines, (40_000, FULL), (40_001, peer(1)), (40_002, peer(2, "fd00:2::2/128", name="bob"))])  # type: ignore[arg-type]
        assert registry.count() == 0
        assert load.commit(fail) == Loaded(39_993, 0, 0)
    assert registry.count() == 39_993
    wanted = [FULL, peer(1), peer(2, "fd00:2::2/128", name="bob"), *(each for _, each in lines)]
    assert list(registry.every()) == sorted(wanted, key=lambda p: p.public_key)
    assert registry.changes(0) == []
    with pytest.raises(AddressConflict):
        registry.add([peer(50_000, "10.0.0.10/32")])
    with pytest.raises(PeerExists):
        registry.add([peer(50_000, name="bob")])


def test_the_result_is_that_of_adding_one_by_one(registry: LabPostgres) -> None:
    @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(before=st.lists(peers, max_size=3), lines=st.lists(peers, max_size=8), gap=st.integers(1, 2))
    def agrees(before: list[Peer], lines: list[Peer], gap: int) -> None:
        registry.remove_all([left.public_key for left in registry.every()])
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
            stage(load, [(gap * line, each) for line, each in enumerate(lines)])  # type: ignore[arg-type]
            loaded = load.commit(lambda line, error: refused.setdefault(line, type(error)) and None)
        assert set(refused) == set(wanted)
        assert loaded == Loaded(len(lines) - len(wanted) - present, present, len(wanted))
        assert list(registry.every()) == list(oracle.every())
        assert registry.count() == oracle.count()

    def add(oracle: FakeRegistry, each: Peer) -> PeerRefused | bool | None:
        if each in list(oracle.every()):
            return None
        try:
            return bool(oracle.add([each]))
        except PeerRefused as error:
            return error

    agrees()


def test_rows_that_went_through_a_file_are_the_same(registry: LabPostgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spill, "_PENDING", 100)
    lines = [(n, peer(n, f"10.0.{n >> 8}.{n & 255}/32")) for n in range(1, 1500)]
    parts = [lines[place : place + 70] for place in range(0, len(lines), 70)]
    registry.add([peer(2000, "10.0.2.0/30")])
    refused: list[int] = []
    with registry.load() as load:
        for part in parts:
            stage(load, part)  # type: ignore[arg-type]
        assert load.commit(lambda line, error: refused.append(line)) == Loaded(1495, 0, 4)
        assert refused == [512, 513, 514, 515]
        registry.remove(key(2000))
        for part in parts:
            stage(load, part)  # type: ignore[arg-type]
        assert load.commit(fail) == Loaded(4, 1495, 0)
        registry.remove_all([each.public_key for _, each in lines])
        for part in parts:
            stage(load, part)  # type: ignore[arg-type]
        assert load.commit(fail) == Loaded(1499, 0, 0)
    assert list(registry.every()) == sorted((each for _, each in lines), key=lambda each: each.public_key)


def test_a_temporary_file_that_cannot_be_written_is_said(
    registry: LabPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spill, "_PENDING", 1)
    with registry.load() as load:
        with monkeypatch.context() as patch:
            full = open("/dev/full", "wb", 0)  # noqa: SIM115 - the load closes it
            patch.setattr(spill.tempfile, "TemporaryFile", lambda: full)
            with pytest.raises(StoreError, match=r"temporary file of peers in .*No space left.*TMPDIR"):
                stage(load, [(1, peer(2, "10.0.0.2/32"))])  # type: ignore[arg-type]
        assert load.staged == 0
        stage(load, [(1, peer(3, "10.0.0.3/32"))])  # type: ignore[arg-type]
        assert load.commit(fail) == Loaded(1, 0, 0)
    assert [each.public_key for each in registry.every()] == [key(3)]


def test_a_refusal_that_raises_leaves_nothing_of_its_batch(registry: LabPostgres) -> None:
    registry.add([peer(1, "10.0.0.1/32", name="alice")])
    with registry.load() as load:
        stage(load, [(1, peer(2, "10.0.0.2/32")), (2, peer(3, "10.0.0.3/32"))])  # type: ignore[arg-type]
        assert load.commit(fail).added == 2
        stage(load, [(3, peer(4, "10.0.0.4/32")), (4, peer(5, "10.0.0.0/29"))])  # type: ignore[arg-type]
        with pytest.raises(AddressConflict, match=r"10\.0\.0\.0/29 of .* overlaps 10\.0\.0\.\d/32"):
            load.commit(fail)
        assert load.staged == 0
        stage(load, [(1, peer(6, "10.0.0.6/32"))])  # type: ignore[arg-type]
        assert load.commit(fail).added == 1
    assert [each.public_key for each in registry.every()] == [key(1), key(2), key(3), key(6)]
    assert registry.count() == 4


def test_who_registers_meanwhile_is_not_undone_and_not_missed(
    registry: LabPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program registers a peer in conflict after the conflicts were singled out."""
    registry.add([peer(1, "10.0.0.1/32")])
    single_out = list(load_module._SINGLE_OUT)
    insert, tries = load_module._insert, []

    def meanwhile(db: object, statement: str) -> None:
        tries.append(statement)
        if len(tries) == 1:
            with ThreadPoolExecutor(1) as pool:
                pool.submit(registry.add, [peer(9, "10.0.0.4/31")]).result(timeout=20)
        insert(db, statement)  # type: ignore[arg-type]

    monkeypatch.setattr(load_module, "_insert", meanwhile)
    refused: list[int] = []
    with registry.load() as load:
        stage(load, [(n, peer(n + 10, f"10.0.0.{n}/32")) for n in range(1, 8)])  # type: ignore[arg-type]
        assert load.commit(lambda line, error: refused.append(line)) == Loaded(4, 0, 3)
    assert refused == [1, 4, 5]
    assert len(tries) == 2
    assert registry.count() == 6
    assert single_out == list(load_module._SINGLE_OUT)


@pytest.mark.parametrize("conflict", [False, True], ids=["together", "one by one"])
def test_an_address_that_is_loaded_is_not_freed_any_more(registry: LabPostgres, shell: Shell, conflict: bool) -> None:
    pool = Pool(ipaddress.ip_network("10.0.0.0/24"), quarantine=0)
    registry.peers._known = (pool,)
    registry.add([peer(n, f"10.0.0.{n}/32") for n in range(2, 6)])
    registry.remove_all([key(n) for n in range(2, 6)])
    lines = [(2, peer(12, "10.0.0.2/32")), (3, peer(13, "10.0.0.3/32", name="c"))]
    with registry.load() as load:
        stage(load, [*lines, *([(4, peer(14, "10.0.0.2/32"))] if conflict else [])])  # type: ignore[arg-type]
        load.commit(lambda line, error: None)
    freed = shell.execute("SELECT host(first) FROM freed ORDER BY first").fetchall()
    assert freed == [("10.0.0.4",), ("10.0.0.5",)]
    taken = [registry.hand_out(peer(n), {}, [pool]).allowed_ips[0] for n in range(20, 23)]
    assert [str(each) for each in taken] == ["10.0.0.4/32", "10.0.0.5/32", "10.0.0.1/32"]


def test_staging_holds_nobody_up_and_leaves_nothing(registry: LabPostgres, cluster: Cluster, url: str) -> None:
    registry.add([peer(1)])
    with registry.load() as load:
        stage(load, [(1, peer(2, "10.0.0.2/32")), (2, FULL)])  # type: ignore[arg-type]
        registry.save_claims([claim(1, 5.0)])
        registry.hand_out(peer(3, "10.9.8.0/24"), {})
        registry.remove(key(3))
    assert registry.count() == 1
    assert load_all(registry, [peer(2, "10.0.0.2/32")]) == Loaded(1, 0, 0)  # type: ignore[arg-type]
    with cluster.shell(url) as other:
        assert other.execute("SELECT count(*) FROM pg_class WHERE relname = 'stage'").fetchone() == (0,)


def test_adopting_is_all_or_none_across_rounds(registry: LabPostgres) -> None:
    registry.add([peer(2000, "10.7.0.0/16", name="wide")])
    many = [peer(n, f"10.{5 + n // 1000}.{n // 250 % 4}.{n % 250}/32") for n in range(1, 2400)]
    with pytest.raises(AddressConflict, match="wide"):
        registry.peers.adopt([each for each in many if each.public_key != key(2000)], by=LAB)
    assert registry.count() == 1

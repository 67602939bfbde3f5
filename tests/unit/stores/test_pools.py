"""Giving out addresses: never twice, never too early, every one of them, in few steps."""

import contextlib
import ipaddress
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.registry import LabRegistry
from tests.contracts.store import key, peer
from wgjit.errors import PeerExists, PoolExhausted
from wgjit.model import Peer, PublicKey, parse_allowed_ip
from wgjit.stores.entries import Pool
from wgjit.stores.sqlite.rows import pools
from wgjit.stores.sqlite.rows.pools import Address

DAY = 86400


def pool(prefix: str, quarantine: int = DAY, *reserved: str) -> Pool:
    own: tuple[Address, ...] = tuple(map(ipaddress.ip_address, reserved))
    return Pool(parse_allowed_ip(prefix), quarantine, own)


@pytest.fixture
def registry(path: Path) -> Iterator[LabRegistry]:
    with contextlib.closing(LabRegistry(path, timeout=0.5)) as registry:
        yield registry


def give(registry: LabRegistry, *some: Pool) -> list[str]:
    new = Peer(PublicKey(os.urandom(32)))
    return [str(prefix) for prefix in registry.hand_out(new, {}, some).allowed_ips]


def owner(registry: LabRegistry, address: str) -> PublicKey:
    return registry.peers.resolve(address)


def age(shell: sqlite3.Connection, seconds: int) -> None:
    shell.execute("UPDATE freed SET at = at - ?", (seconds,))


def test_addresses_come_in_order_and_reserved_ones_never(registry: LabRegistry) -> None:
    small = pool("10.8.0.0/29", DAY, "10.8.0.1", "10.8.0.4", "fd00::1")
    assert [give(registry, small)[0] for _ in range(4)] == [f"10.8.0.{n}/32" for n in (2, 3, 5, 6)]
    with pytest.raises(PoolExhausted, match=r"^pool\.ipv4 10\.8\.0\.0/29: no address is free; make it wider"):
        give(registry, small)
    assert registry.peers.count() == 4


def test_ipv6_has_no_broadcast_and_the_very_ends_work(registry: LabRegistry) -> None:
    tiny = pool("fd00::/126")
    assert [give(registry, tiny)[0] for _ in range(3)] == ["fd00::1/128", "fd00::2/128", "fd00::3/128"]
    with pytest.raises(PoolExhausted, match=r"pool\.ipv6"):
        give(registry, tiny)
    for end, first in (("255.255.255.252/30", "255.255.255.253/32"), ("ffff::/16", "ffff::1/128")):
        assert give(registry, pool(end)) == [first]
    last = pool("ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffc/126")
    assert [give(registry, last)[0][-6:] for _ in range(3)] == ["fd/128", "fe/128", "ff/128"]
    with pytest.raises(PoolExhausted):
        give(registry, last)


def test_one_of_each_pool_beside_its_own(registry: LabRegistry) -> None:
    new = registry.hand_out(peer(1, "192.0.2.0/24"), {}, [pool("10.8.0.0/24"), pool("fd00::/64")])
    assert new == peer(1, "192.0.2.0/24", "10.8.0.1/32", "fd00::1/128")
    assert registry.find(str(key(1))) == new


def test_what_was_registered_otherwise_is_stepped_over(registry: LabRegistry) -> None:
    registry.add([peer(1, "10.8.0.0/30", "10.8.0.4/32"), peer(2, "10.8.0.6/32", "10.8.0.8/29")])
    assert [give(registry, pool("10.8.0.0/27"))[0] for _ in range(3)] == [f"10.8.0.{n}/32" for n in (5, 7, 16)]


def test_a_pool_inside_of_one_peers_prefix_is_full(registry: LabRegistry) -> None:
    registry.add([peer(3, "10.9.0.0/16")])
    with pytest.raises(PoolExhausted):
        give(registry, pool("10.9.8.0/24"))


@pytest.mark.parametrize("by", ["verb", "shell", "set"])
def test_a_freed_address_waits_out_its_quarantine(registry: LabRegistry, shell: sqlite3.Connection, by: str) -> None:
    small = pool("10.8.0.0/29")
    assert len([give(registry, small) for _ in range(6)]) == 6
    holder = owner(registry, "10.8.0.3")
    if by == "verb":
        registry.remove(holder)
    elif by == "shell":
        shell.execute("DELETE FROM peers WHERE public_key = ?", (holder,))
    else:
        registry.change(str(holder), lambda old: Peer(old.public_key, (parse_allowed_ip("192.0.2.1"),)))
    with pytest.raises(PoolExhausted, match=r"the quarantine of the next freed one ends at 20"):
        give(registry, small)
    age(shell, DAY - 60)
    with pytest.raises(PoolExhausted):
        give(registry, small)
    age(shell, 61)
    assert give(registry, small) == ["10.8.0.3/32"]
    with pytest.raises(PoolExhausted):
        give(registry, small)


def test_who_was_freed_first_comes_first_and_before_fresh_ones(
    registry: LabRegistry, shell: sqlite3.Connection
) -> None:
    some = pool("10.8.0.0/24")
    for _ in range(5):
        give(registry, some)
    for number in (4, 2):
        registry.remove(owner(registry, f"10.8.0.{number}"))
        age(shell, DAY)
    assert [give(registry, some)[0] for _ in range(3)] == ["10.8.0.4/32", "10.8.0.2/32", "10.8.0.6/32"]


def test_a_freed_address_that_was_taken_otherwise_is_not_given_out(
    registry: LabRegistry, shell: sqlite3.Connection
) -> None:
    some = pool("10.8.0.0/24", 0)
    give(registry, some)
    registry.remove(owner(registry, "10.8.0.1"))
    registry.add([peer(1, "10.8.0.1/32")])
    assert give(registry, some) == ["10.8.0.2/32"]
    registry.remove(key(1))
    assert give(registry, some) == ["10.8.0.1/32"]


def test_who_keeps_an_address_leaves_no_trace_of_having_freed_it(
    registry: LabRegistry, shell: sqlite3.Connection
) -> None:
    some = pool("10.8.0.0/24")
    registry.hand_out(peer(1, "10.8.0.64/28"), {}, [some])
    registry.rotate(key(1), key(2))
    registry.amend(
        key(2), lambda old: replace(old, allowed_ips=(*old.allowed_ips[:1], parse_allowed_ip("10.8.0.9"))), {}
    )
    freed = shell.execute("SELECT first, last FROM freed").fetchall()
    assert freed == [(b"\x04\x0a\x08\x00\x01",) * 2]
    registry.hand_out(peer(3, "10.8.0.1/32"), {})
    assert shell.execute("SELECT count(*) FROM freed").fetchone() == (0,)
    assert give(registry, some) == ["10.8.0.2/32"]


SMALL = pool("10.8.0.0/28")


@pytest.fixture
def small(registry: LabRegistry) -> Iterator[LabRegistry]:
    """The same registry, opened with a small pool."""
    with contextlib.closing(LabRegistry(registry.path, pools=[SMALL], timeout=0.5)) as opened:
        yield opened


def test_a_freed_prefix_is_given_out_address_by_address(small: LabRegistry, shell: sqlite3.Connection) -> None:
    registry = small
    registry.add([peer(1, "10.8.0.4/30")])
    registry.remove(key(1))
    registry.add([peer(2, "10.8.0.5/32")])
    assert [give(registry, SMALL)[0] for _ in range(3)] == [f"10.8.0.{n}/32" for n in (1, 2, 3)]
    assert give(registry, SMALL) == ["10.8.0.8/32"]  # steps over the quarantine
    age(shell, DAY)
    registry.remove(key(2))  # a quarantine of its own, inside of the prefix
    assert [give(registry, SMALL)[0] for _ in range(4)] == [f"10.8.0.{n}/32" for n in (4, 6, 7, 9)]
    age(shell, DAY)
    assert give(registry, SMALL) == ["10.8.0.5/32"]


def test_a_freed_prefix_keeps_single_addresses_in_it_from_being_given_out(
    small: LabRegistry, shell: sqlite3.Connection
) -> None:
    registry, some = small, SMALL
    registry.add([peer(1, "10.8.0.1/32")])
    registry.remove(key(1))
    age(shell, DAY)
    registry.add([peer(2, "10.8.0.0/30")])
    registry.remove(key(2))
    assert give(registry, some) == ["10.8.0.4/32"]


def test_a_pool_that_is_made_wider_keeps_the_quarantines(registry: LabRegistry, shell: sqlite3.Connection) -> None:
    for _ in range(3):
        give(registry, pool("10.8.0.0/28"))
    registry.remove(owner(registry, "10.8.0.2"))
    assert give(registry, pool("10.8.0.0/24")) == ["10.8.0.4/32"]
    age(shell, DAY)
    assert give(registry, pool("10.8.0.0/24")) == ["10.8.0.2/32"]


def test_a_refused_peer_takes_no_address(registry: LabRegistry) -> None:
    some = pool("10.8.0.0/24")
    registry.hand_out(peer(1, name="alice"), {}, [some])
    with pytest.raises(PeerExists):
        registry.hand_out(peer(2, name="alice"), {}, [some])

    def fails(_: Peer) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        registry.hand_out(peer(2), {}, [some], fails)
    full = pool("10.9.0.0/30")
    give(registry, full)
    give(registry, full)
    with pytest.raises(PoolExhausted):
        registry.hand_out(peer(3), {}, [some, full])
    assert registry.hand_out(peer(2), {}, [some]) == peer(2, "10.8.0.2/32")


def test_a_long_way_is_gone_in_short_transactions_and_once(
    registry: LabRegistry, shell: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "_MOST_STEPS", 10)
    registry.add(peer(number, f"10.8.0.{number}/32") for number in range(1, 101))
    moves: list[bytes | None] = []
    move_mark = pools.move_mark

    def move(db: sqlite3.Connection, which: Pool, mark: bytes | None) -> None:
        moves.append(mark)
        move_mark(db, which, mark)

    monkeypatch.setattr(pools, "move_mark", move)
    some = pool("10.8.0.0/25")
    assert give(registry, some) == ["10.8.0.101/32"]
    far = len(moves)
    assert 100 / 10 < far < 100 / 8
    assert give(registry, some) == ["10.8.0.102/32"]
    assert len(moves) == far + 1
    while True:
        try:
            give(registry, some)
        except PoolExhausted:
            break
    assert moves[-1] is None
    before = len(moves)
    with pytest.raises(PoolExhausted):
        give(registry, some)
    assert len(moves) == before  # a full pool says so without looking again


def test_the_statements_walk_along_indexes(registry: LabRegistry, shell: sqlite3.Connection) -> None:
    plan = shell.execute(
        f"EXPLAIN QUERY PLAN {pools._BUSY}", {"low": b"", "high": b"", "pool": 1, "ripe": 1}
    ).fetchall()
    text = " ".join(row[3] for row in plan)
    assert "MERGE" in text
    assert "SCAN" not in text
    assert "TEMP B-TREE" not in text


def test_processes_at_once_get_an_address_each(path: Path) -> None:
    program = """
import ipaddress, os, sys
from wgjit.model import Peer, PublicKey
from wgjit.stores.entries import Author
from lab.registry import LabRegistry
from wgjit.stores.entries import Pool
registry = LabRegistry(sys.argv[1], timeout=30)
print("ready", flush=True)
sys.stdin.readline()
for _ in range(50):
    some = [Pool(ipaddress.ip_network("10.8.0.0/24"))]
    given = registry.hand_out(Peer(PublicKey(os.urandom(32))), {}, some, by=Author("child"))
    print(given.allowed_ips[0])
"""
    children = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    try:
        for child in children:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
        for child in children:
            assert child.stdin is not None
            child.stdin.write("go\n")
            child.stdin.flush()
        given = [line for child in children for line in child.communicate(timeout=60)[0].split()]
    finally:
        for child in children:
            child.kill()
            child.wait()
    assert sorted(given, key=ipaddress.ip_network) == [f"10.8.0.{number}/32" for number in range(1, 201)]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("give"), st.just(0)),
            st.tuples(st.just("free"), st.integers(0, 30)),
            st.tuples(st.just("take"), st.integers(0, 31)),
            st.tuples(st.just("take wide"), st.integers(0, 7)),
            st.tuples(st.just("wait"), st.integers(1, 2 * DAY)),
        ),
        max_size=40,
    )
)
def test_against_a_plain_model(tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]) -> None:
    """Whatever happens: given is what is free and out of quarantine, and refused only if nothing is."""
    path = tmp_path_factory.mktemp("model") / "registry.db"
    prefix = ipaddress.IPv4Network("10.8.0.0/27")
    some = Pool(prefix, DAY, (ipaddress.ip_address("10.8.0.1"),))
    usable = set(prefix.hosts()) - set(some.reserved)
    owned: dict[PublicKey, ipaddress.IPv4Network] = {}
    freed: dict[ipaddress.IPv4Address, int] = {}
    number, now = 0, int(time.time())

    def taken() -> set[ipaddress.IPv4Address]:
        return {address for network in owned.values() for address in network}

    with (
        contextlib.closing(LabRegistry(path, pools=[some])) as registry,
        contextlib.closing(sqlite3.connect(path, isolation_level=None)) as shell,
    ):
        for verb, value in steps:
            number += 1
            if verb == "give":
                free = {a for a in usable - taken() if freed.get(a, 0) <= now - DAY}
                try:
                    got = registry.hand_out(peer(number), {}, [some]).allowed_ips[0]
                except PoolExhausted:
                    assert not free
                else:
                    assert isinstance(got, ipaddress.IPv4Network)
                    assert got.network_address in free
                    owned[key(number)] = got
            elif verb == "free" and owned:
                gone = list(owned)[value % len(owned)]
                registry.remove(gone)
                freed |= dict.fromkeys(owned.pop(gone), now)
            elif verb in ("take", "take wide"):
                wanted = (
                    ipaddress.IPv4Network((int(prefix[value]), 32))
                    if verb == "take"
                    else ipaddress.IPv4Network((int(prefix[4 * value]), 30))
                )
                if not taken() & set(wanted):
                    registry.add([Peer(key(number), (wanted,))])
                    owned[key(number)] = wanted
            elif verb == "wait":
                age(shell, value)
                freed = {address: at - value for address, at in freed.items()}

"""Giving out addresses to many at once: never twice, every one of them, and none is lost."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lab.postgresql import Cluster
from lab.registry import LabPostgres
from tests.contracts.store import key, peer
from tests.postgresql.conftest import Shell
from tests.postgresql.test_rules import at_once
from tests.unit.stores.test_pools import (
    DAY,
    SMALL,
    age,
    give,
    pool,
    test_a_freed_prefix_is_given_out_address_by_address,
    test_a_freed_prefix_keeps_single_addresses_in_it_from_being_given_out,
)
from wgjit.errors import AddressConflict, PoolExhausted, StoreBusy
from wgjit.model import Peer, PublicKey
from wgjit.stores.entries import AuditFilter, Pool
from wgjit.stores.postgresql.database.connection import Database
from wgjit.stores.postgresql.database.url import DatabaseUrl
from wgjit.stores.postgresql.rows import pools

__all__ = [
    "test_a_freed_prefix_is_given_out_address_by_address",
    "test_a_freed_prefix_keeps_single_addresses_in_it_from_being_given_out",
]


@pytest.fixture
def small(registry: LabPostgres, url: str) -> Iterator[LabPostgres]:
    """The same registry, opened with a small pool."""
    with contextlib.closing(LabPostgres(DatabaseUrl(url), pools=[SMALL], timeout=0.5)) as opened:
        yield opened


def test_eight_at_once_never_get_the_same_address_and_use_up_the_pool(registry: LabPostgres) -> None:
    registry._database._timeout = 30.0
    some = pool("10.8.0.0/24")
    given: list[str] = []

    def take() -> int:
        count = 0
        while True:
            try:
                given.extend(give(registry, some))  # type: ignore[arg-type]
                count += 1
            except PoolExhausted:
                return count

    counts = at_once(*[take] * 8)
    assert all(isinstance(count, int) for count in counts), counts
    assert sum(counts) == 254  # type: ignore[arg-type]
    assert sorted(given, key=ipaddress.ip_network) == [f"10.8.0.{number}/32" for number in range(1, 255)]


def test_eight_registries_at_once_never_get_the_same_address(registry: LabPostgres, url: str) -> None:
    def take() -> list[str]:
        with contextlib.closing(LabPostgres(DatabaseUrl(url), timeout=30.0)) as own:
            return [address for _ in range(25) for address in give(own, pool("10.8.0.0/16"), pool("fd00::/64"))]  # type: ignore[arg-type]

    results = at_once(*[take] * 8)
    assert all(isinstance(result, list) for result in results), results
    taken = [address for result in results for address in result]  # type: ignore[attr-defined]
    assert len(set(taken)) == len(taken) == 8 * 25 * 2
    assert registry.count() == 200


def test_an_address_that_is_undone_is_given_out_next(registry: LabPostgres, cluster: Cluster, url: str) -> None:
    some = pool("10.8.0.0/29")
    held, go_on = threading.Event(), threading.Event()

    def wait(_: Peer) -> None:
        held.set()
        assert go_on.wait(20)
        raise OSError("disk full")

    def fails() -> None:
        with contextlib.suppress(OSError):
            registry.hand_out(Peer(PublicKey(os.urandom(32))), {}, [some], wait)

    thread = threading.Thread(target=fails)
    thread.start()
    assert held.wait(20)
    assert give(registry, some) == ["10.8.0.2/32"]  # type: ignore[arg-type]
    go_on.set()
    thread.join()
    assert [give(registry, some)[0] for _ in range(5)] == [f"10.8.0.{n}/32" for n in (1, 3, 4, 5, 6)]  # type: ignore[arg-type]


def test_who_keeps_an_address_leaves_no_trace_of_having_freed_it(registry: LabPostgres, shell: Shell) -> None:
    some = pool("10.8.0.0/24")
    registry.hand_out(peer(1, "10.8.0.64/28"), {}, [some])
    registry.rotate(key(1), key(2))
    assert shell.execute("SELECT count(*) FROM freed").fetchone() == (0,)
    registry.remove(key(2))
    assert shell.execute("SELECT first::text, last::text FROM freed ORDER BY first").fetchall() == [
        ("10.8.0.1/32", "10.8.0.1/32"),
        ("10.8.0.64/32", "10.8.0.79/32"),
    ]
    registry.hand_out(peer(3, "10.8.0.1/32"), {})
    assert shell.execute("SELECT count(*) FROM freed").fetchone() == (1,)


def test_a_long_way_is_gone_in_few_steps_and_once(registry: LabPostgres, shell: Shell) -> None:
    registry.fill(
        peer(number, f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}/32") for number in range(1, 40_000)
    )
    registry.add([peer(90_000, "10.1.0.0/16")])
    some = pool("10.0.0.0/8")
    began = time.monotonic()
    assert give(registry, some) == ["10.0.156.64/32"]  # type: ignore[arg-type]
    first = time.monotonic() - began
    began = time.monotonic()
    assert give(registry, some) == ["10.0.156.65/32"]  # type: ignore[arg-type]
    assert time.monotonic() - began < max(0.2, first)


def test_a_full_pool_says_so_without_looking_again(
    registry: LabPostgres, monkeypatch: pytest.MonkeyPatch, shell: Shell
) -> None:
    registry.add([peer(1, "10.8.0.0/16")])
    some = pool("10.8.0.0/24")
    with pytest.raises(PoolExhausted):
        give(registry, some)  # type: ignore[arg-type]
    assert shell.execute("SELECT next FROM pools").fetchone() == (None,)
    monkeypatch.setattr(pools, "_FREE", "not to be asked")
    with pytest.raises(PoolExhausted):
        give(registry, some)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "setting", ["default_transaction_isolation = 'repeatable read'", "default_transaction_read_only = on"]
)
def test_the_defaults_of_a_server_do_not_matter(registry: LabPostgres, shell: Shell, url: str, setting: str) -> None:
    shell.execute(f"ALTER DATABASE {url.partition('?')[0].rpartition('/')[2]} SET {setting}")
    with contextlib.closing(LabPostgres(DatabaseUrl(url))) as opened:
        assert [give(opened, pool("10.8.0.0/24"))[0] for _ in range(3)] == [f"10.8.0.{n}/32" for n in (1, 2, 3)]  # type: ignore[arg-type]


def test_an_address_goes_back_if_another_pool_is_exhausted_or_the_peer_is_refused(
    registry: LabPostgres, shell: Shell
) -> None:
    good, full = pool("10.8.0.0/24"), pool("10.9.0.0/30")
    assert give(registry, good, full) == ["10.8.0.1/32", "10.9.0.1/32"]  # type: ignore[arg-type]
    assert give(registry, good, full) == ["10.8.0.2/32", "10.9.0.2/32"]  # type: ignore[arg-type]
    with pytest.raises(PoolExhausted):
        give(registry, good, full)  # type: ignore[arg-type]
    with pytest.raises(AddressConflict, match=r"10\.8\.0\.3/32 and 10\.8\.0\.0/28 overlap"):
        registry.hand_out(peer(7, "10.8.0.0/28"), {}, [pool("10.8.0.0/24")])
    with pytest.raises(AddressConflict, match=r"10\.8\.0\.2/32"):
        registry.hand_out(peer(7, "10.8.0.2/32"), {}, [good])
    assert shell.execute("SELECT count(*) FROM audit").fetchone() == (2,)
    assert give(registry, good) == ["10.8.0.3/32"]  # type: ignore[arg-type]


def test_an_address_that_others_take_meanwhile_is_not_the_last_word(
    registry: LabPostgres, shell: Shell, cluster: Cluster, url: str
) -> None:
    some = pool("10.8.0.0/24")
    assert give(registry, some) == ["10.8.0.1/32"]  # type: ignore[arg-type]
    registry._database._timeout = 30.0
    results: list[list[str]] = []
    thread = threading.Thread(target=lambda: results.append(give(registry, some)))  # type: ignore[arg-type]
    waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%register%'"
    with shell.connection.transaction(), cluster.shell(url) as watcher:
        shell.execute(  # not yet to be seen, so the address is found free, and its insertion waits
            "INSERT INTO peers (public_key, allowed_ips) "
            "SELECT sha256(n::text::bytea), ARRAY[('10.8.0.' || n)::cidr] FROM generate_series(2, 4) AS n"
        )
        thread.start()
        while not watcher.execute(f"{waits} AND pid <> pg_backend_pid()").fetchone():
            assert thread.is_alive()
    thread.join()
    assert results == [["10.8.0.5/32"]]


def test_who_gave_up_finds_nothing_registered_later(
    registry: LabPostgres, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = pool("10.8.0.0/24")
    give(registry, some)  # type: ignore[arg-type]
    shell.execute(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.02); RETURN NULL; END'"
    )
    shell.execute("CREATE TRIGGER slow AFTER INSERT ON audit FOR EACH STATEMENT EXECUTE FUNCTION slow()")
    with monkeypatch.context() as patch:
        patch.setattr(Database, "limit", property(lambda _: 1))
        with pytest.raises(StoreBusy):
            registry.hand_out(peer(9), {}, [some])
    assert registry.count() == 1
    assert give(registry, some) == ["10.8.0.2/32"]  # type: ignore[arg-type]


def test_the_log_has_the_addresses_that_were_given_out(registry: LabPostgres) -> None:
    registry.hand_out(peer(1, "10.1.0.0/24", name="a"), {"team": "x"}, [pool("10.8.0.0/24")])
    entry = registry.audit.page(AuditFilter(), 1).entries[0]
    assert dict(entry.details) == {
        "name": [None, "a"],
        "allowed_ips": [None, ["10.1.0.0/24", "10.8.0.1/32"]],
        "labels": [None, {"team": "x"}],
    }


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
def test_against_a_plain_model(registry: LabPostgres, shell: Shell, steps: list[tuple[str, int]]) -> None:
    """Whatever happens: given is what is free and out of quarantine, and refused only if nothing is."""
    registry.remove_all([each.public_key for each in registry.every()])
    shell.execute("DELETE FROM pools")
    prefix = ipaddress.IPv4Network("10.8.0.0/27")
    some = Pool(prefix, DAY, (ipaddress.ip_address("10.8.0.1"),))
    registry.peers._known, registry.peers._numbers = (some,), {}
    usable = set(prefix.hosts()) - set(some.reserved)
    owned: dict[PublicKey, ipaddress.IPv4Network] = {}
    freed: dict[ipaddress.IPv4Address, int] = {}
    now = int(time.time())

    def taken() -> set[ipaddress.IPv4Address]:
        return {address for network in owned.values() for address in network}

    for number, (verb, value) in enumerate(steps, 1):
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
            wanted = ipaddress.IPv4Network(
                (int(prefix[value if verb == "take" else 4 * value]), 32 if verb == "take" else 30)
            )
            if not taken() & set(wanted):
                registry.add([Peer(key(number), (wanted,))])
                owned[key(number)] = wanted
        elif verb == "wait":
            age(shell, value)  # type: ignore[arg-type]
            freed = {address: at - value for address, at in freed.items()}

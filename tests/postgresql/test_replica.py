"""A replica is like the registry of record, whatever happens there."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from lab.postgresql import Cluster
from lab.registry import LAB, LabPostgres, LabRegistry
from tests.contracts.store import FULL, claim, inferred, key, peer
from tests.postgresql.conftest import Shell
from tests.postgresql.replicas import Gateways, equal, gateways, holding, of_record, of_replica, until, whole
from wgjit.errors import StoreDeferred, StoreError
from wgjit.model import Registration, Removed
from wgjit.stores.replica import process


@pytest.fixture
def fleet(url: str, tmp_path: Path) -> Iterator[Gateways]:
    with gateways(url, tmp_path) as made:
        yield made


def smaller(monkeypatch: pytest.MonkeyPatch, **sizes: int) -> None:
    """Followers that copy in small steps: `STEP` and `RUN`, and `PAUSE`, milliseconds after each step."""
    monkeypatch.setattr(process, "COMMAND", (sys.executable, "-P", "-c", f"""
import time
from wgjit.stores.replica.follower import following, reading
from wgjit.stores.replica.follower.copy import addresses, copying, loading, ranges
ranges.STEP = loading.STEP = {sizes.get("STEP", 50)}
ranges._BOUNDS = ranges._BOUNDS.replace("5000", str(ranges.STEP))
addresses.RUN, addresses.MOVED = {sizes.get("RUN", 300)}, {sizes.get("MOVED", 400)}
copying.STEPS, copying.CHUNK, following.CHUNK, reading.MOST, following.TURN = 3, 7, 20, 30, 0.0
step = copying.Copy.step
def slow(self, server):
    if self.after is not None:
        time.sleep({sizes.get("PAUSE", 0)} / 1000)
    return step(self, server)
copying.Copy.step = slow
from wgjit.stores.replica.follower.main import run
run()
"""))  # fmt: skip


def fill(shell: psycopg.Connection[Any], count: int = 2000) -> None:
    """Peers of every kind, with claims and holdings of some."""
    shell.execute(
        """
        INSERT INTO wgjit.peers (public_key, allowed_ips, name, preshared_key, keepalive)
        SELECT sha256(n::text::bytea),
               ARRAY[('10.0.0.1'::inet + n * 256)::cidr]
               || CASE WHEN n %% 3 = 0 THEN ARRAY[('fd00::'::inet + n)::cidr] ELSE '{}' END
               || CASE WHEN n %% 11 = 0
                       THEN ARRAY[('172.16.0.0'::inet + n)::cidr, set_masklen('10.0.0.64'::inet + n * 256, 28)::cidr]
                       ELSE '{}' END,
               CASE WHEN n %% 2 = 1 THEN 'name ' || n END,
               CASE WHEN n %% 5 = 0 THEN sha256(n::text::bytea || 'psk') END,
               CASE WHEN n %% 7 = 0 THEN 25 ELSE 0 END
        FROM generate_series(0, %s - 1) AS n""",
        (count,),
    )
    shell.execute(
        """
        INSERT INTO wgjit.claims (public_key, timestamp, gateway, endpoint, proven_at, proven)
        SELECT public_key, substr(public_key, 1, 12), 'gw' || keepalive,
               substr(public_key, 1, CASE WHEN name IS NULL THEN 6 ELSE 18 END), 1.1e9 + keepalive / 3.0,
               CASE WHEN keepalive > 0 THEN substr('\\x00'::bytea || public_key, 1, 12) END
        FROM wgjit.peers WHERE substr(public_key, 1, 1) > '\\x40'"""
    )
    shell.execute(
        """
        INSERT INTO wgjit.holdings (public_key, timestamp, takeovers, gateway, epoch, endpoint, since, until, before)
        SELECT public_key, timestamp, 3, gateway, 1700000000001, endpoint, proven_at,
               CASE WHEN proven IS NULL THEN 5 END, 'Zoë'
        FROM wgjit.claims"""
    )


# --- the copy ---------------------------------------------------------------------------------------------------


def test_a_new_replica_is_a_copy(registry: LabPostgres, fleet: Gateways, url: str) -> None:
    registry.add([FULL, peer(1, "10.0.0.1/32", name="alice"), peer(2)])
    registry.save_claims([claim(1, 1000.0), claim(2, 5.0), inferred(7, 9.0, proven=8.0)])
    registry.remove(key(2))
    store = fleet.make()
    assert store.lookup(FULL.public_key) == Registration(FULL, inferred(7, 9.0, proven=8.0))
    assert store.lookup(key(1)) == Registration(peer(1, "10.0.0.1/32", name="alice"), claim(1, 1000.0))
    assert store.lookup(key(2)) is None
    assert store.lookup(key(3), for_knock=False) is None
    assert store.former(key(2)) == Removed(key(2), claim(2, 5.0))
    assert not store.fleet.is_behind()
    equal(store, url)


def test_a_peer_that_psql_pins_is_pinned_in_the_replica(registry: LabPostgres, fleet: Gateways, shell: Shell) -> None:
    registry.add([peer(1), peer(2)])
    store = fleet.make()
    before = store.pinned_version()
    assert store.pinned() == []
    shell.execute("UPDATE peers SET idle_timeout = 0 WHERE public_key = ?", (key(1),))
    until(lambda: store.pinned() == [key(1)])
    changed = store.pinned_version()
    assert changed != before
    shell.execute("INSERT INTO peers (public_key, idle_timeout) VALUES (?, 0)", (key(3),))
    until(lambda: store.pinned() == sorted([key(1), key(3)]))
    assert store.pinned_version() != changed


def test_an_empty_registry_is_copied_too(registry: LabPostgres, fleet: Gateways, url: str) -> None:
    store = fleet.make()
    registry.add([peer(1, "10.0.0.1/32")])
    until(lambda: store.lookup(key(1)))
    equal(store, url)


def test_peers_of_every_kind_in_many_steps(
    shell: Shell, fleet: Gateways, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    smaller(monkeypatch)
    fill(shell.connection)
    store = fleet.make()
    assert of_replica(store.path) == of_record(url)


def test_a_follower_that_is_killed_in_the_copy_goes_on_where_it_was(
    shell: Shell, fleet: Gateways, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    smaller(monkeypatch, PAUSE=400)
    fill(shell.connection)
    store = fleet.make(wait=False)
    reached = 0
    for _ in range(3):
        more = reached + 1
        assert store.fleet.wait_for(lambda state, more=more: state.get("copied", 0) >= more, 60.0), store.figures()
        reached = store.figures()["copied"]
        os.kill(store.figures()["pid"], signal.SIGKILL)
        deaths = store.figures()["restarts"]
        until(lambda deaths=deaths: store.figures()["restarts"] > deaths)
        assert store.fleet.wait_for(lambda state, reached=reached: state.get("copied", 0) >= reached, 60.0)
    whole(store)
    assert of_replica(store.path) == of_record(url)


def test_while_it_is_copied_other_keys_are_asked_for_and_absence_is_never_certain(
    registry: LabPostgres, shell: Shell, fleet: Gateways, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    smaller(monkeypatch, PAUSE=400)
    fill(shell.connection)
    late = peer(0xFFFFFFFE, "10.200.0.1/32", name="late")
    registry.add([late])
    store = fleet.make(wait=False)
    assert store.fleet.wait_for(lambda state: state.get("stage") == "copying", 60.0)
    assert store.fleet.is_behind()
    assert store.lookup(late.public_key) is None
    with pytest.raises(StoreDeferred, match="being made"):
        store.lookup(late.public_key, for_knock=False)
    assert store.fleet.ask(late.public_key) == Registration(late)
    until(lambda: store.lookup(late.public_key) == Registration(late))
    registry.replace(peer(0xFFFFFFFE, "10.200.0.2/32", name="later"))  # what was asked for is followed at once
    until(lambda: store.lookup(late.public_key) == Registration(peer(0xFFFFFFFE, "10.200.0.2/32", name="later")))
    store.save_claims([claim(0xFFFFFFFD, 5.0)])  # the gateway writes as well
    registry.remove(late.public_key)
    until(lambda: store.lookup(late.public_key) is None)
    assert store.lookup(late.public_key, for_knock=False) is None, "it was removed, so that is certain"
    assert store.figures()["stage"] == "copying"
    whole(store)
    store.lookup(key(5), for_knock=False)
    equal_but(store.path, url, "claims")


def equal_but(path: Path, url: str, table: str) -> None:
    until(lambda: {**of_replica(path), table: 0} == {**of_record(url), table: 0})


def test_writers_go_on_while_it_is_copied(
    shell: Shell, cluster: Cluster, fleet: Gateways, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    smaller(monkeypatch, PAUSE=10)
    fill(shell.connection, 1000)
    with Writers(cluster, url, 7) as writers:
        store = fleet.make(wait=False)
        whole(store)
        writers.check()
    equal(store, url)


# --- what is new ------------------------------------------------------------------------------------------------


def test_it_follows(registry: LabPostgres, fleet: Gateways, url: str) -> None:
    registry.add([peer(1, "10.0.0.1/32", name="alice"), peer(2, "10.0.0.2/32"), peer(4)])
    store = fleet.make()
    before = store.last_change()
    registry.add([peer(3, "10.0.0.3/32")])
    registry.replace(peer(2, "10.0.0.22/32", name="bob"))
    registry.remove(key(1))
    registry.rotate(key(4), key(5))
    registry.save_claims([claim(2, 7.0)])
    until(lambda: store.lookup(key(1)) is None and store.lookup(key(5)))
    assert store.lookup(key(3)) == Registration(peer(3, "10.0.0.3/32"))
    equal(store, url)
    assert {change.public_key for change in store.changes(before)} == {key(1), key(2), key(4)}


def test_addresses_and_names_that_change_hands(registry: LabPostgres, shell: Shell, fleet: Gateways, url: str) -> None:
    registry.add([peer(n, f"10.0.0.{n}/32", f"10.{n}.0.0/24", name=f"n{n}") for n in (1, 2, 3)])
    store = fleet.make()
    shell.execute(
        "UPDATE peers SET allowed_ips = CASE name WHEN 'n1' THEN '{10.0.0.2,10.2.0.0/25}' WHEN 'n2' THEN "
        "'{10.0.0.3,10.3.0.0/23}' ELSE '{10.0.0.1,10.2.0.128/25}' END::cidr[]"
    )
    shell.execute("UPDATE peers SET name = NULL; UPDATE peers SET name = 'n1' WHERE '10.0.0.3' = ANY(allowed_ips)")
    equal(store, url)
    registry.remove(key(2))
    registry.add([peer(4, "10.0.0.3/32", "10.3.0.0/24", name="n1")])
    equal(store, url)


def test_a_reset_is_followed_and_nothing_else_deletes_a_claim(
    registry: LabPostgres, shell: Shell, fleet: Gateways, url: str
) -> None:
    registry.add([peer(1), peer(2), peer(3)])
    registry.save_claims([claim(n, 1000.0) for n in (1, 2, 3)])
    registry.remove(key(3))
    store = fleet.make()
    store.fleet.say([], [holding(1, 1000.0), holding(2, 1000.0)])
    until(lambda: (registry.lookup(key(2)) or Registration(peer(2))).holding)
    before = store.last_change()
    registry.claims.reset(key(1), by=LAB)
    registry.claims.reset(key(3), by=LAB)
    until(lambda: store.lookup(key(1)) == Registration(peer(1)))
    until(lambda: store.former(key(3)) is None)
    assert [change.public_key for change in store.changes(before)] == [key(1)], "the gateway forgets it, too"
    assert store.lookup(key(2)) == Registration(peer(2), claim(2, 1000.0), holding(2, 1000.0))
    store.fleet.say([claim(1, 5.0)], [holding(1, 5.0)])  # a clock that was set back
    until(lambda: registry.lookup(key(1)) == Registration(peer(1), claim(1, 5.0), holding(1, 5.0)))
    equal(store, url)


def test_what_happened_while_no_follower_ran(
    registry: LabPostgres, shell: Shell, fleet: Gateways, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than is read at once, and more than any log has: removed, reset, added, changed."""
    smaller(monkeypatch)
    fill(shell.connection)
    store = fleet.make()
    os.kill(store.figures()["pid"], signal.SIGSTOP)
    shell.execute("DELETE FROM peers WHERE keepalive > 0")
    shell.execute("DELETE FROM claims WHERE substr(public_key, 1, 1) > '\\xc0'")
    shell.execute("DELETE FROM removed WHERE substr(public_key, 2, 1) > '\\x80'")
    shell.execute("UPDATE peers SET idle_timeout = 300 WHERE name IS NULL")
    shell.execute("DELETE FROM changes")
    registry.add(peer(number, f"10.240.{number >> 8}.{number & 255}/32") for number in range(500))
    os.kill(store.figures()["pid"], signal.SIGCONT)
    equal(store, url)
    assert store.figures()["restarts"] == 0
    assert store.figures().get("made_anew") is None


class Writers:
    """Programs that write at random, with transactions that commit late, or not at all."""

    KEYS = 60

    def __init__(self, cluster: Cluster, url: str, seed: int) -> None:
        self._cluster, self._url, self._seed = cluster, url, seed
        self._end = threading.Event()
        self._errors: list[BaseException] = []
        self._committed = 0
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(4)]

    def __enter__(self) -> Writers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()
        self.check()
        assert self._committed > 20

    def check(self) -> None:
        assert self._errors == []

    def _run(self, number: int) -> None:
        chance = random.Random(1000 * self._seed + number)
        try:
            with self._cluster.shell(self._url) as shell:
                shell.execute("SET lock_timeout = '200ms'; SET deadlock_timeout = '20ms'; SET search_path = wgjit")
                while not self._end.is_set():
                    try:
                        with shell.transaction(force_rollback=chance.random() < 0.2):
                            for _ in range(chance.choice((1, 1, 2, 5))):
                                self._write(shell, chance)
                            if chance.random() < 0.3:
                                self._end.wait(chance.random() * 0.3)
                        self._committed += 1
                    except (psycopg.IntegrityError, psycopg.OperationalError, psycopg.DataError):
                        pass
        except BaseException as error:
            self._errors.append(error)

    def _write(self, shell: psycopg.Connection, chance: random.Random) -> None:
        n = chance.randrange(self.KEYS)
        k = bytes(key(n))
        address = f"10.250.0.{chance.randrange(40)}"
        name = f"name {chance.randrange(20)}"
        stamp = chance.randrange(1000).to_bytes(12, "big")
        writes: list[Callable[[], object]] = [
            lambda: shell.execute("INSERT INTO peers (public_key, allowed_ips) VALUES (%s, %s)", (k, f"{{{address}}}")),
            lambda: shell.execute("UPDATE peers SET allowed_ips = %s WHERE public_key = %s", (f"{{{address}}}", k)),
            lambda: shell.execute(
                "UPDATE peers SET allowed_ips = '{10.250.0.32/28,fd00::/64}' WHERE public_key = %s", (k,)
            ),
            lambda: shell.execute("UPDATE peers SET name = %s WHERE public_key = %s", (name, k)),
            lambda: shell.execute("UPDATE peers SET enabled = NOT enabled WHERE public_key = %s", (k,)),
            lambda: shell.execute("DELETE FROM peers WHERE public_key = %s", (k,)),
            lambda: shell.execute("DELETE FROM claims WHERE public_key = %s", (k,)),
            lambda: shell.execute("DELETE FROM removed WHERE public_key = %s", (k,)),
            lambda: shell.execute(
                "INSERT INTO claims VALUES (%s, %s, 'other', '\\x010203040506', 1) ON CONFLICT (public_key) DO UPDATE "
                "SET timestamp = excluded.timestamp WHERE excluded.timestamp > claims.timestamp",
                (k, stamp),
            ),
            lambda: shell.execute(
                "INSERT INTO holdings VALUES (%s, %s, 0, 'other', 1, '\\x010203040506', 1) ON CONFLICT (public_key) DO "
                "UPDATE SET timestamp = excluded.timestamp WHERE excluded.timestamp > holdings.timestamp",
                (k, stamp),
            ),
        ]
        chance.choice(writes)()


@pytest.mark.parametrize("seed", range(3))
def test_after_many_writers_at_once_it_is_like_the_registry(
    cluster: Cluster, fleet: Gateways, url: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    smaller(monkeypatch)
    store = fleet.make(poll=0.01)
    with Writers(cluster, url, seed):
        threading.Event().wait(4.0)
    equal(store, url)
    assert store.figures()["restarts"] == 0


# --- which file it is -------------------------------------------------------------------------------------------


def test_a_registry_of_its_own_is_never_overwritten(fleet: Gateways, tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    own = LabRegistry(path)
    own.add([peer(1)])
    own.close()
    with pytest.raises(StoreError, match="a registry of its own"):
        fleet.make(path=path, start=False)
    own = LabRegistry(path)
    assert own.count() == 1
    own.close()


def test_nobody_writes_to_a_replica_by_mistake(fleet: Gateways) -> None:
    store = fleet.make(start=False)
    with pytest.raises(StoreError, match="gateway's copy"):
        LabRegistry(store.path)
    reader = LabRegistry(store.path, read_only=True)
    assert reader.count() == 0
    reader.close()

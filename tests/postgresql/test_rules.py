"""The rules of the schema hold for whoever writes, and for many who write at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import psycopg
import pytest
from psycopg import errors as pg

from lab.postgresql import Cluster
from lab.registry import LabPostgres
from tests.contracts.store import claim, inferred, key, peer
from tests.postgresql.conftest import Shell
from wgjit.errors import AddressConflict
from wgjit.model import ChangeKind, Registration, Removed


def hexed(number: int) -> str:
    return f"'\\x{key(number).hex()}'"


@pytest.mark.parametrize(
    "statement",
    [
        f"UPDATE peers SET public_key = {hexed(9)} WHERE public_key = {hexed(1)}",
        f"INSERT INTO peers (public_key) VALUES ({hexed(1)})",
        f"INSERT INTO peers (public_key, name) VALUES ({hexed(9)}, 'alice')",
        f"INSERT INTO peers (public_key, name) VALUES ({hexed(9)}, '')",
        "INSERT INTO peers (public_key) VALUES ('short')",
        f"INSERT INTO peers (public_key, allowed_ips) VALUES ({hexed(9)}, '{{10.0.0.1}}')",
        f"INSERT INTO peers (public_key, allowed_ips) VALUES ({hexed(9)}, '{{10.0.0.0/24}}')",
        f"INSERT INTO peers (public_key, allowed_ips) VALUES ({hexed(9)}, '{{fd00::5}}')",
        f"INSERT INTO peers (public_key, allowed_ips) VALUES ({hexed(9)}, '{{::/0}}')",
        f"INSERT INTO peers (public_key, allowed_ips) VALUES ({hexed(9)}, '{{10.1.0.1,10.1.0.1}}')",
        f"INSERT INTO peers (public_key, allowed_ips) VALUES ({hexed(9)}, '{{10.1.0.0/24,10.1.0.1}}')",
        f"INSERT INTO peers (public_key, allowed_ips) VALUES ({hexed(9)}, '{{10.1.0.1,NULL}}')",
        f"INSERT INTO peers (public_key, allowed_ips) VALUES ({hexed(9)}, '{{{{10.1.0.1}},{{10.1.0.2}}}}')",
        f"INSERT INTO peers (public_key, keepalive) VALUES ({hexed(9)}, 65536)",
        f"INSERT INTO peers (public_key, idle_timeout) VALUES ({hexed(9)}, 5)",
        "UPDATE peers SET allowed_ips = '{10.0.0.0/30}' WHERE name = 'bob'",
        "UPDATE peers SET allowed_ips = '{10.7.0.1}'",
        "INSERT INTO addresses VALUES ('10.2.0.0/24', '')",
        "DELETE FROM addresses",
        "UPDATE addresses SET prefix = '10.2.0.0/24' WHERE prefix = '10.0.0.2'",
        "TRUNCATE peers CASCADE",
        "TRUNCATE addresses",
        "TRUNCATE claims",
        f"INSERT INTO labels VALUES ({hexed(9)}, 'team', 'infra')",
        "UPDATE claims SET timestamp = '\\x000000000000000000000000'",
        f"UPDATE claims SET public_key = {hexed(2)}",
        "UPDATE claims SET proven = '\\x000000000000000000000000'",
        "UPDATE audit SET actor = 'nobody'",
        "BEGIN ISOLATION LEVEL REPEATABLE READ; "
        f"INSERT INTO peers (public_key, allowed_ips) VALUES ({hexed(9)}, '{{10.3.0.0/24}}'); COMMIT",
    ],
)
def test_psql_cannot_break_them(registry: LabPostgres, shell: Shell, statement: str) -> None:
    registry.add([peer(1, "10.0.0.1/32", "fd00::/64", name="alice"), peer(2, "10.0.0.2/32", name="bob")])
    registry.save_claims([claim(1, 1000.0)])
    before = list(registry.every()), registry.lookup(key(1)), registry.last_change()
    with pytest.raises((psycopg.IntegrityError, psycopg.DataError, pg.FeatureNotSupported)):
        shell.execute(statement)
    shell.execute("ROLLBACK")
    assert (list(registry.every()), registry.lookup(key(1)), registry.last_change()) == before


def test_psql_may_do_the_rest_and_gateways_learn_of_it(registry: LabPostgres, shell: Shell) -> None:
    shell.execute(
        f"INSERT INTO peers (public_key, name, allowed_ips) VALUES ({hexed(1)}, 'alice', '{{10.0.0.1,fd00::/64}}'), "
        f"({hexed(2)}, 'bob', '{{10.0.0.2}}'), ({hexed(3)}, NULL, '{{}}')"
    )
    assert list(registry.every()) == [
        peer(1, "10.0.0.1/32", "fd00::/64", name="alice"),
        peer(2, "10.0.0.2/32", name="bob"),
        peer(3),
    ]
    registry.save_claims([claim(1, 5.0), claim(2, 5.0)])
    shell.execute(
        "UPDATE peers SET allowed_ips = CASE name WHEN 'bob' THEN '{10.0.0.1}' ELSE '{10.0.0.2}' END::cidr[] "
        "WHERE name IS NOT NULL"
    )
    shell.execute("DELETE FROM claims WHERE public_key = (SELECT public_key FROM peers WHERE name = 'bob')")
    shell.execute("DELETE FROM peers WHERE name = 'alice'")
    assert [(c.sequence, c.kind, c.public_key) for c in registry.changes(2)] == [
        (3, ChangeKind.UPDATED, key(2)),
        (4, ChangeKind.REMOVED, key(1)),
    ]
    assert registry.former(key(1)) == Removed(key(1), claim(1, 5.0))
    assert registry.count() == 2
    registry.save_claims([claim(1, 6.0)])
    shell.execute(f"INSERT INTO peers (public_key) VALUES ({hexed(1)})")
    assert registry.lookup(key(1)) == Registration(peer(1), claim(1, 6.0))


def test_a_claim_that_was_inferred_may_give_way_by_psql_as_by_us(registry: LabPostgres, shell: Shell) -> None:
    registry.add([peer(1)])
    registry.save_claims([inferred(1, 2000.0, proven=1000.0)])
    stamp = claim(1, 1500.0).timestamp.hex()
    shell.execute(f"UPDATE claims SET timestamp = '\\x{stamp}', proven = NULL")
    with pytest.raises(psycopg.IntegrityError, match="only grows"):
        shell.execute(f"UPDATE claims SET timestamp = '\\x{claim(1, 1499.0).timestamp.hex()}'")


def at_once(*calls: Callable[[], object]) -> list[object]:
    """Results or errors of calls that begin together."""
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], object]) -> object:
        barrier.wait()
        try:
            return call()
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


@pytest.mark.parametrize("mode", ["single after wide", "wide after single", "wide after wide", "equal"])
def test_who_comes_second_waits_for_the_first_and_is_refused(
    registry: LabPostgres, cluster: Cluster, url: str, mode: str
) -> None:
    """The first has written and not committed; the second may not miss it, whichever is the wide one."""
    one, other = {
        "single after wide": ("10.0.0.0/24", "10.0.0.5/32"),
        "wide after single": ("10.0.0.5/32", "10.0.0.0/24"),
        "wide after wide": ("10.0.0.0/24", "10.0.0.0/16"),
        "equal": ("10.0.0.5/32", "10.0.0.5/32"),
    }[mode]
    registry._database._timeout = 20.0
    with cluster.shell(url) as first, ThreadPoolExecutor(1) as pool:
        first.execute("BEGIN")
        first.execute(
            "INSERT INTO wgjit.peers (public_key, allowed_ips) VALUES (%s, %s)", (bytes(key(1)), f"{{{one}}}")
        )
        second = pool.submit(registry.add, [peer(2, other)])
        time.sleep(0.3)
        assert not second.done()
        first.execute("COMMIT")
        with pytest.raises(AddressConflict, match="overlaps"):
            second.result(timeout=20)
    assert registry.count() == 1


def test_what_does_not_overlap_does_not_wait(registry: LabPostgres, cluster: Cluster, url: str) -> None:
    with cluster.shell(url) as first:
        first.execute("BEGIN")
        first.execute("INSERT INTO wgjit.peers (public_key, allowed_ips) VALUES (%s, '{10.0.0.1}')", (bytes(key(1)),))
        assert registry.add([peer(2, "10.0.0.2/32")]) == 1
        first.execute("COMMIT")
    assert registry.count() == 2


def test_of_many_overlapping_at_once_the_registered_ones_are_disjoint(registry: LabPostgres) -> None:
    registry._database._timeout = 20.0
    for round_ in range(12):
        base = f"10.{round_}.0"
        texts = [
            f"{base}.0/24",
            f"{base}.5/32",
            f"{base}.0/25",
            f"{base}.128/25",
            f"{base}.5/32",
            f"10.{round_}.0.0/16",
        ]
        calls = [
            lambda number=10 * round_ + place, text=text: registry.add([peer(number, text)])
            for place, text in enumerate(texts, 1)
        ]
        results = at_once(*calls)
        assert all(result == 1 or isinstance(result, AddressConflict) for result in results), results
        assert 1 in results
    held = sorted((prefix for each in registry.every() for prefix in each.allowed_ips), key=int_of)
    assert not any(a.overlaps(b) for a, b in pairwise(held))


def int_of(prefix: object) -> tuple[int, int]:
    return int(prefix.network_address), prefix.prefixlen  # type: ignore[attr-defined]


def test_the_count_is_exact_whoever_writes_at_once(registry: LabPostgres, shell: Shell) -> None:
    """One statement in a hundred folds the tallies, by chance. Here another connection folds them all the time too."""

    def fold() -> int:
        for _ in range(100):
            shell.execute("SELECT wgjit.fold_tallies()")
        return 1

    def some(start: int) -> int:
        for number in range(start, start + 60):
            registry.add([peer(number)])
            if number % 3 == 0:
                registry.remove(key(number))
        return 1

    assert at_once(fold, *(lambda start=1000 * n: some(start) for n in range(1, 7))) == [1] * 7
    fold()
    real = shell.execute("SELECT count(*) FROM peers").fetchone()
    assert real is not None
    assert registry.count() == real[0] == 6 * 40
    rows = shell.execute("SELECT count(*) FROM tallies").fetchone()
    assert rows is not None
    assert rows[0] == 1


def test_numbers_of_changes_are_in_the_order_of_commits_without_a_hole(
    registry: LabPostgres, cluster: Cluster, url: str
) -> None:
    registry.add([peer(1), peer(2), peer(3)])
    with cluster.shell(url) as slow, cluster.shell(url) as undone:
        for shell, number in ((slow, 1), (undone, 3)):
            shell.execute("BEGIN")
            shell.execute("UPDATE wgjit.peers SET keepalive = 9 WHERE public_key = %s", (bytes(key(number)),))
        registry.replace(peer(2, name="bob"))
        assert [(c.sequence, c.public_key) for c in registry.changes(0)] == [(1, key(2))]
        undone.execute("ROLLBACK")
        slow.execute("COMMIT")
    assert [(c.sequence, c.public_key) for c in registry.changes(0)] == [(1, key(2)), (2, key(1))]


def test_many_changes_at_once_leave_no_hole(registry: LabPostgres) -> None:
    registry._database._timeout = 20.0
    registry.add(peer(number) for number in range(1, 161))
    seen: list[int] = []
    done = threading.Event()

    def follow() -> None:
        while True:
            last = done.is_set()
            seen.extend(change.sequence for change in registry.changes(len(seen)))
            if last:
                return

    def change(start: int) -> int:
        for number in range(start, start + 20):
            registry.replace(peer(number, name=f"n{number}"))
        return 1

    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(follow)
        results = at_once(*(lambda start=20 * n + 1: change(start) for n in range(8)))
        done.set()
        following.result(timeout=20)
    assert results == [1] * 8
    assert seen == list(range(1, 161))


def test_the_log_is_bounded(registry: LabPostgres, shell: Shell) -> None:
    registry.add([peer(1), peer(2)])
    shell.execute("UPDATE numbers SET value = 100000")
    shell.execute("INSERT INTO changes (sequence, kind, public_key, opens) VALUES (1, 'updated', 'x', false)")
    registry.replace(peer(1, name="a"))
    assert [c.sequence for c in registry.changes(0)] == [100_001]


class Follower:
    """What the head of the schema tells a reader to do."""

    def __init__(self, shell: psycopg.Connection) -> None:
        self.shell = shell
        self.place = "1:1:"

    def poll(self) -> tuple[set[bytes], set[bytes]]:
        """Keys that were written, and keys that were removed, since the last poll."""
        self.shell.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        new = "{0} >= pg_snapshot_xmin(%(p)s) AND NOT pg_visible_in_snapshot({0}, %(p)s)"
        written = self.shell.execute(
            f"SELECT public_key FROM wgjit.peers WHERE {new.format('written')}", {"p": self.place}
        ).fetchall()
        gone = self.shell.execute(
            f"SELECT public_key FROM wgjit.changes WHERE kind = 'removed' AND {new.format('xid')}", {"p": self.place}
        ).fetchall()
        (self.place,) = self.shell.execute("SELECT pg_current_snapshot()::text").fetchone()  # type: ignore[misc]
        self.shell.execute("COMMIT")
        return {key for (key,) in written}, {key for (key,) in gone}


def test_a_follower_misses_nothing_that_commits_late_and_waits_for_nothing(
    registry: LabPostgres, cluster: Cluster, url: str
) -> None:
    registry.add([peer(1), peer(2)])
    with cluster.shell(url) as reader, cluster.shell(url) as slow:
        follower = Follower(reader)
        assert follower.poll() == ({key(1), key(2)}, set())
        slow.execute("BEGIN")
        slow.execute("INSERT INTO wgjit.peers (public_key) VALUES (%s)", (bytes(key(3)),))
        slow.execute("DELETE FROM wgjit.peers WHERE public_key = %s", (bytes(key(1)),))
        registry.add([peer(4)])
        registry.replace(peer(2, name="bob"))
        assert follower.poll() == ({key(2), key(4)}, set())
        assert follower.poll() == (set(), set())
        slow.execute("COMMIT")
        assert follower.poll() == ({key(3)}, {key(1)})
        assert follower.poll() == (set(), set())

"""Filters, pages and the search: held to a plain reading of all peers, and to the indexes that they must walk along."""

import contextlib
import itertools
import random
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lab.registry import LabRegistry
from tests.contracts.store import key, peer
from wgjit.errors import InvalidValue
from wgjit.model import Peer, Standing
from wgjit.stores.entries import Filter
from wgjit.stores.sqlite.rows import listing

NOW = int(time.time())


@pytest.fixture
def registry(path: Path) -> Iterator[LabRegistry]:
    with contextlib.closing(LabRegistry(path, timeout=0.5)) as registry:
        yield registry


@pytest.fixture
def crowd(registry: LabRegistry) -> list[tuple[Peer, dict[str, str]]]:
    """Peers of all kinds, in key order."""
    chance = random.Random(4)
    made = []
    for number in range(1, 201):
        new = replace(
            peer(number, name=chance.choice([None, f"team-{number}", f"Team-{number}", f"x{number}"])),
            enabled=chance.random() < 0.7,
            expires_at=chance.choice([None, NOW - 1000, NOW + 10_000 + number % 3, NOW + 90_000]),
        )
        labels = {"team": chance.choice("ab")} if chance.random() < 0.6 else {}
        if chance.random() < 0.3:
            labels["place"] = "north"
        registry.hand_out(new, labels)
        made.append((new, labels))
    return made


def fits(wanted: Filter, new: Peer, labels: dict[str, str]) -> bool:
    return (
        wanted.labels.items() <= labels.items()
        and wanted.state in (None, new.standing(NOW))
        and (wanted.name_prefix is None or (new.name or "").startswith(wanted.name_prefix))
        and (wanted.name_prefix is None or new.name is not None)
        and (wanted.expires_before is None or (new.expires_at is not None and new.expires_at < wanted.expires_before))
    )


FILTERS = [
    Filter(labels, state, name, before)
    for labels, state, name, before in itertools.product(
        ({}, {"team": "a"}, {"team": "b", "place": "north"}, {"team": "none"}),
        (None, *Standing),
        (None, "team-", "team-11"),
        (None, NOW + 20_000),
    )
]


def test_every_filter_gives_what_fits_whatever_the_size_of_a_page(
    registry: LabRegistry, crowd: list[tuple[Peer, dict[str, str]]]
) -> None:
    for wanted in FILTERS:
        expected = {new.public_key for new, labels in crowd if fits(wanted, new, labels)}
        whole = [entry.peer for entry in registry.peers.entries(wanted)]
        assert {new.public_key for new in whole} == expected, wanted
        assert len(whole) == len(expected) == registry.peers.count(wanted)
        for size in (1, 7):
            pages, after = [], None
            while True:
                page = registry.peers.page(wanted, size, after)
                pages += page.entries
                after = page.cursor
                if after is None:
                    break
                assert len(page.entries) == size
            assert [entry.peer for entry in pages] == whole, wanted
            assert all(entry.labels == dict(crowd)[entry.peer] for entry in pages)


def test_the_order_is_the_documented_one(registry: LabRegistry, crowd: list[tuple[Peer, dict[str, str]]]) -> None:
    def listed(wanted: Filter) -> list[Peer]:
        return [entry.peer for entry in registry.peers.entries(wanted)]

    assert listed(Filter()) == [new for new, _ in crowd]
    by_name = listed(Filter(name_prefix="t"))
    assert by_name == sorted(by_name, key=lambda new: str(new.name))
    by_expiry = listed(Filter(expires_before=NOW + 20_000))
    assert by_expiry == sorted(by_expiry, key=lambda new: (new.expires_at, new.public_key))
    assert len(by_name) > 10
    assert len(by_expiry) > 10


def test_a_page_goes_on_behind_a_peer_that_was_removed(registry: LabRegistry) -> None:
    registry.add(peer(number) for number in range(1, 10))
    page = registry.peers.page(Filter(), 3)
    registry.remove(key(3))
    registry.remove(key(4))
    assert [entry.peer for entry in registry.peers.page(Filter(), 2, page.cursor).entries] == [peer(5), peer(6)]


@pytest.mark.parametrize(
    ("wanted", "cursor"),
    [
        (Filter(), "alice"),
        (Filter(), f"5:{key(1)}"),
        (Filter(expires_before=5), str(key(1))),
        (Filter(state=Standing.EXPIRED), f"x:{key(1)}"),
        (Filter({"team": "a"}), ""),
    ],
)
def test_a_cursor_of_another_listing_is_refused(registry: LabRegistry, wanted: Filter, cursor: str) -> None:
    with pytest.raises(InvalidValue, match=r"^after .*the same filters"):
        registry.peers.page(wanted, 5, cursor)


@pytest.mark.parametrize("wanted", FILTERS, ids=str)
def test_every_page_walks_along_an_index(registry: LabRegistry, shell: sqlite3.Connection, wanted: Filter) -> None:
    last = replace(peer(1, name="team-1"), expires_at=5)
    for after in (None, wanted.cursor(last)):
        query, parameters = listing._query(wanted, NOW, after)
        rows = shell.execute(f"EXPLAIN QUERY PLAN {query} LIMIT 5", parameters).fetchall()
        plan = [row[3] for row in rows]
        assert not any("TEMP B-TREE" in step for step in plan), plan
        if wanted.labels:
            assert "labels_by_value (key=? AND value=?" in plan[0]
            assert ("public_key>?" in plan[0]) == (after is not None)
        elif wanted.name_prefix is not None:
            assert "peers_by_name (name>? AND name<?)" in plan[0]
        elif wanted.expires_before is not None or wanted.state is Standing.EXPIRED:
            assert "SEARCH p USING INDEX peers_by_expiry" in plan[0]
            assert ("expires_at,public_key)>" in plan[0]) == (after is not None)
        elif wanted.state is Standing.DISABLED:
            assert "peers_disabled" in plan[0]
        if after is not None:
            assert "SEARCH" in plan[0]


def test_a_later_page_of_names_begins_at_its_cursor(registry: LabRegistry, shell: sqlite3.Connection) -> None:
    query, _ = listing._query(Filter(name_prefix="a"), NOW, "ab")
    assert "+p.name >= :name" in query  # so the index has one lower bound, the cursor
    assert "p.name > :after" in query


# --- search -------------------------------------------------------------------------------------------------


def found(registry: LabRegistry, text: str, limit: int = 20, *, anywhere: bool = False) -> list[int]:
    return [int.from_bytes(e.peer.public_key[:4], "big") for e in registry.peers.search(text, limit, anywhere=anywhere)]


def test_the_search_finds_by_what_people_know(registry: LabRegistry) -> None:
    registry.hand_out(peer(1, "10.8.0.2/32", "fd00::2/128", name="anna-phone"), {"team": "infra"})
    registry.hand_out(peer(2, "10.8.0.3/32", name="anna-laptop"), {"team": "infra"})
    registry.hand_out(peer(3, "10.8.4.0/24", name="site-anna"), {"team": "sales"})
    registry.hand_out(peer(4, "10.8.5.0/24"), {})
    assert found(registry, "anna") == [2, 1]
    assert found(registry, "anna", 1) == [2]
    assert found(registry, "anna", anywhere=True) == [2, 1, 3]
    assert found(registry, "Anna", anywhere=True) == []
    assert found(registry, str(key(4))) == [4]
    assert found(registry, str(key(4))[:8]) == [4]
    assert found(registry, "10.8.0.2") == [1]
    assert found(registry, "10.8.4.77") == [3]
    assert found(registry, "10.8.4.128/25") == [3]
    assert found(registry, "10.8.0.0/16") == [1, 2, 3, 4]
    assert found(registry, "fd00::/16") == [1]
    assert found(registry, "team=infra") == [1, 2]
    assert found(registry, "team=") == []
    assert found(registry, "nobody") == []
    assert registry.peers.search("team=sales", 5)[0].labels == {"team": "sales"}


def test_no_search_but_anywhere_looks_at_all_peers(registry: LabRegistry, shell: sqlite3.Connection) -> None:
    texts = ["anna", "10.8.0.0/16", "team=infra", str(key(1)), str(key(1))[:6]]
    for text in texts:
        for query, parameters in listing._searches(text, False):
            rows = shell.execute(f"EXPLAIN QUERY PLAN {query} LIMIT 5", parameters).fetchall()
            steps = [row[3] for row in rows if "(subquery" not in row[3]]
            assert steps
            assert all(step.startswith("SEARCH") for step in steps), steps

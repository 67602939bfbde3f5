"""A page by one statement is the page by several: the same peers, labels and cut."""

from __future__ import annotations

import base64
import json
import random
import time
from contextlib import closing
from typing import Any

import pytest

from lab.registry import LabPostgres
from tests.contracts.store import key, peer
from tests.postgresql.conftest import Shell
from wgjit.database_url import DatabaseUrl
from wgjit.model import Standing
from wgjit.stores.entries import EVERY, Filter, Page
from wgjit.stores.pages import PAGE_SIZE
from wgjit.stores.postgresql.rows import listing

A_KEY = base64.b64encode(bytes(range(32))).decode()


@pytest.fixture
def crowd(registry: LabPostgres, shell: Shell) -> LabPostgres:
    chance = random.Random(7)
    for number in range(1, 121):
        labels = {f"k{n}": chance.choice(("a", "ä", "\U0001f600", '"', "\\")) * 9 for n in range(chance.randrange(5))}
        registry.hand_out(peer(number, f"10.0.0.{number}/32", f"fd00::{number:x}/128", name=f"n{number}"), labels)
    for number in range(1, 121, 7):
        shell.execute("INSERT INTO labels VALUES (?, 'copied', ?)", (bytes(key(number)), A_KEY))
    return registry


def several(registry: LabPostgres, wanted: Filter, limit: int, after: str | None = None) -> Any:
    with registry._database.view() as db:
        return listing.page(db, wanted, time.time(), limit, after)


@pytest.mark.parametrize(
    "wanted", [EVERY, Filter(name_prefix="n1"), Filter(state=Standing.ENABLED), Filter({"k0": "aaaaaaaaa"})]
)
def test_at_once_and_step_by_step_are_the_same(crowd: LabPostgres, wanted: Filter) -> None:
    for limit in (1, 13, 200):
        after = None
        while True:
            page = crowd.peers.page(wanted, limit, after)
            assert page == several(crowd, wanted, limit, after)
            assert any(entry.withheld for entry in page.entries) or limit < 200 or wanted.labels
            if (after := page.cursor) is None:
                break
    for number in range(1, 121):
        with crowd._database.view() as db:
            assert crowd.peers.entry(key(number)) == listing.entry(db, key(number))


def test_large_labels_do_not_come_along(crowd: LabPostgres, shell: Shell) -> None:
    text = "word " * 400 + "end"
    for number in (4, 50, 51):
        insert = "INSERT INTO labels SELECT ?, 'large-' || n, ? FROM generate_series(1, 100) AS n"
        shell.execute(insert, (bytes(key(number)), text))
    with crowd._database.look() as db:
        assert listing.page_at_once(db, EVERY, time.time(), 200) is None
        size = f"SELECT sum(length(t::text)) FROM (SELECT {listing._WITH_LABELS} FROM wgjit.peers AS p) AS t"
        assert db.execute(size).fetchone()[0] < 100_000  # type: ignore[index]
    assert crowd.peers.page(EVERY, 200) == several(crowd, EVERY, 200)
    assert crowd.peers.entry(key(4)).labels["large-100"] == text
    assert [entry.peer for entry in crowd.peers.entries(EVERY, page=50)] == list(crowd.every())


def test_a_page_of_many_labels_ends_where_its_json_would_be_too_large(registry: LabPostgres) -> None:
    labels = {f"key-{n}": "\U0001f600" * 6 for n in range(60)}
    for number in range(1, 301):
        registry.hand_out(peer(number), labels)
    with registry._database.look() as db:
        page = listing.page_at_once(db, EVERY, time.time(), 300)
    assert page is not None
    assert page == several(registry, EVERY, 300)
    assert 100 < len(page.entries) < 300
    assert page.cursor is not None
    size = len(json.dumps([dict(entry.labels) for entry in page.entries]))
    assert PAGE_SIZE / 2 < size < PAGE_SIZE


def test_remove_fitting_leaves_a_peer_that_does_not_fit_any_more(
    registry: LabPostgres, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program changes a peer between the reading of the page and the removal."""
    for number in (1, 2):
        registry.hand_out(peer(number), {"team": "guests"})
    read, reads = listing.page, []

    def stale(*arguments: Any) -> Page:
        page = read(*arguments)
        reads.append(page)
        if len(reads) == 1:
            with closing(LabPostgres(DatabaseUrl(url), timeout=0.5)) as other:
                other.amend(key(1), lambda each: each, {"team": "staff"})
        return page

    monkeypatch.setattr("wgjit.stores.postgresql.peers.listing.page", stale)
    assert registry.remove_fitting(Filter({"team": "guests"})) == 1
    assert [each.public_key for each in registry.peers.every()] == [key(1)]

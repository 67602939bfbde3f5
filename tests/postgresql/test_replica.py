"""A replica is like the registry of record, whatever happens there, and hands on what its gateway says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.registry import LabPostgres
from tests.contracts.store import FULL, claim, key, peer
from tests.postgresql.replicas import Gateways, gateways, of_record, of_replica, until
from wgjit.model import Endpoint, Holding, Registration, Removed, Tai64n


@pytest.fixture
def fleet(url: str, tmp_path: Path) -> Iterator[Gateways]:
    with gateways(url, tmp_path) as made:
        yield made


def holding(number: int, seconds: float, gateway: str = "gw1", takeovers: int = 0, **more: object) -> Holding:
    values: dict[str, object] = {"epoch": 1_700_000_000_000, "since": seconds, "until": None, "before": None} | more
    return Holding(
        key(number), Tai64n.from_unix(seconds), takeovers, gateway, endpoint=Endpoint.parse("192.0.2.1:5000"), **values
    )  # type: ignore[arg-type]


def test_a_new_replica_is_a_copy(registry: LabPostgres, fleet: Gateways, url: str) -> None:
    registry.add([FULL, peer(1, "10.0.0.1/32", name="alice"), peer(2)])
    registry.save_claims([claim(1, 1000.0), claim(2, 5.0)])
    registry.remove(key(2))
    store = fleet.make()
    assert store.lookup(FULL.public_key) == Registration(FULL)
    assert store.lookup(key(1)) == Registration(peer(1, "10.0.0.1/32", name="alice"), claim(1, 1000.0))
    assert store.lookup(key(2)) is None
    assert store.former(key(2)) == Removed(key(2), claim(2, 5.0))
    assert of_replica(store.path) == of_record(url)


def test_it_follows(registry: LabPostgres, fleet: Gateways, url: str) -> None:
    registry.add([peer(1, "10.0.0.1/32", name="alice"), peer(2, "10.0.0.2/32")])
    store = fleet.make()
    registry.add([peer(3, "10.0.0.3/32")])
    registry.replace(peer(2, "10.0.0.22/32", name="bob"))
    registry.remove(key(1))
    until(lambda: store.lookup(key(1)) is None)
    assert store.lookup(key(3)) == Registration(peer(3, "10.0.0.3/32"))
    assert of_replica(store.path) == of_record(url)


def test_what_one_says_the_other_hears(registry: LabPostgres, fleet: Gateways, url: str) -> None:
    registry.add([peer(1), peer(2)])
    one, two = fleet.make("gw1"), fleet.make("gw2")
    one.fleet.say([claim(1, 1000.0)], [holding(1, 1000.0)])
    until(lambda: two.fleet.hear(0)[0])
    heard, place = two.fleet.hear(0)
    assert heard == [holding(1, 1000.0)]
    assert two.fleet.hear(place) == ([], place)
    assert one.fleet.hear(0)[0] == []
    two.fleet.say([], [holding(1, 1001.0, "gw2")])
    until(lambda: one.fleet.hear(0)[0])
    assert one.fleet.hear(0)[0] == [holding(1, 1001.0, "gw2", before="gw1")]
    assert registry.lookup(key(1)) == Registration(peer(1), claim(1, 1000.0), holding(1, 1001.0, "gw2", before="gw1"))
    until(lambda: of_replica(one.path) == of_replica(two.path) == of_record(url))


def test_asked_for_before_it_is_copied(registry: LabPostgres, fleet: Gateways) -> None:
    store = fleet.make(poll=30.0)
    registry.add([peer(1, "10.0.0.1/32")])
    assert store.lookup(key(1)) is None
    assert store.fleet.ask(key(1)) == Registration(peer(1, "10.0.0.1/32"))
    assert store.fleet.ask(key(2)) is None
    until(lambda: store.lookup(key(1)))

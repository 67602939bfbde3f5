"""Who is held at an endpoint, by a replica's own word: no server and no follower is needed for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.contracts.store import claim, key, peer
from wgjit.model import Endpoint, Holding, PrivateKey, PublicKey, Tai64n
from wgjit.stores import packing
from wgjit.stores.replica.messages import Description, Terms
from wgjit.stores.replica.store import ReplicaStore

SOMEWHERE = Endpoint.parse("192.0.2.1:4000")
MAPPED = Endpoint(bytes(10) + b"\xff\xff" + SOMEWHERE.address, SOMEWHERE.port)
OTHER = Endpoint.parse("[2001:db8::7]:9")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ReplicaStore]:
    gateway = Description("g", 1, PrivateKey(b"\x42" * 32).public(), "wg0", "0")
    store = ReplicaStore(tmp_path / "g.db", Terms("postgresql://nobody@127.0.0.1:9/none", gateway))
    yield store
    store.close()


def put(store: ReplicaStore, number: int, gateway: str = "a", endpoint: Endpoint = SOMEWHERE) -> Holding:
    """A registered peer with a claim and a holding, as the follower writes them."""
    registered = peer(number, f"10.9.{number >> 8}.{number & 255}/32")
    holding = Holding(key(number), Tai64n.from_unix(9.0), 0, gateway, 1, endpoint, 9.0)
    marks = ", ".join("?" * len(packing.PEER_COLUMNS))
    with store.fleet.writing() as db:
        db.execute(f"INSERT INTO peers ({packing.columns()}) VALUES ({marks})", packing.peer_row(registered))
    store.fleet.say([claim(number, 7.0)], [holding])
    return holding


def at(store: ReplicaStore, endpoint: Endpoint) -> list[PublicKey]:
    return [found.peer.public_key for found in store.fleet.held_at(endpoint)]


def test_a_peer_is_found_at_its_endpoint_with_all_that_is_known(store: ReplicaStore) -> None:
    holding = put(store, 1)
    (found,) = store.fleet.held_at(SOMEWHERE)
    assert found == store.lookup(key(1))
    assert (found.holding, found.claim) == (holding, claim(1, 7.0))
    assert at(store, replace_port(SOMEWHERE)) == []


@pytest.mark.parametrize(("held", "seen"), [(SOMEWHERE, MAPPED), (MAPPED, SOMEWHERE), (MAPPED, MAPPED)])
def test_an_ipv4_address_may_be_written_as_ipv6(store: ReplicaStore, held: Endpoint, seen: Endpoint) -> None:
    put(store, 1, endpoint=held)
    assert at(store, seen) == [key(1)]


def test_only_open_holdings_of_registered_peers_count(store: ReplicaStore) -> None:
    left = put(store, 1)
    put(store, 2, endpoint=OTHER)
    store.fleet.say([], [replace(left, until=10.0)])
    store.fleet.say([], [replace(left, public_key=key(3))])  # nobody is registered with this key
    assert at(store, SOMEWHERE) == []
    assert at(store, OTHER) == [key(2)]


def test_that_there_are_several_shows_and_it_does_not_matter_how_many(store: ReplicaStore) -> None:
    for number in range(1, 7):
        put(store, number, "g" if number == 1 else "a")
    assert 1 < len(at(store, SOMEWHERE)) <= 3


def test_all_that_others_hold_is_read_in_pages(store: ReplicaStore) -> None:
    wanted = set()
    for number in range(1, 26):
        endpoint = Endpoint(bytes([10, 0, 0, number]), 4000)
        holding = put(store, number, "g" if number % 5 == 0 else "a", endpoint)
        if number % 7 == 0:
            store.fleet.say([], [replace(holding, until=10.0)])
        elif number % 5:
            wanted.add(endpoint)
    found: list[Endpoint] = []
    after: PublicKey | None = None
    for _ in range(10):
        some, after = store.fleet.held_elsewhere(after, 4)
        found += some
        if after is None:
            break
    assert len(found) == len(wanted)
    assert set(found) == wanted
    assert store.fleet.held_elsewhere(None, 1000) == (found, None)


def test_the_lookup_uses_its_index(store: ReplicaStore) -> None:
    """A gateway looks up 500 a second, among millions."""
    from wgjit.stores.replica import fleet

    with store.fleet.reading() as db:
        plan = " ".join(row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {fleet._HELD_AT}", (b"", b"")))
    assert "SEARCH h USING INDEX holdings_by_endpoint" in plan
    assert "SCAN" not in plan


def replace_port(endpoint: Endpoint) -> Endpoint:
    return endpoint._replace(port=endpoint.port + 1)

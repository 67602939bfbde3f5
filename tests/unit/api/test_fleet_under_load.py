"""The two ends of a fleet's protocol under load: the real `wgjit api` process and the real remote store.

200 clients come at 20 a second, and stay. What is counted is requests and failures. The store's rounds, each of which
may ask again for every resident, are ten times as fast as they are: so the stay is as long for it as ten times the
seconds. With a real gateway and real clients: tests/contracts/fleet.py.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lab.api_service import ApiService
from lab.registry_service import wait_until
from wgjit.config import load_config
from wgjit.daemon.open_store import open_store
from wgjit.errors import StoreError
from wgjit.model import Peer, PresharedKey, PrivateKey, PublicKey
from wgjit.stores.remote import client
from wgjit.stores.remote import store as remote
from wgjit.stores.remote.store import RemoteStore

CLIENTS = 200
RATE = 20.0
MOST = 1.2
"""Requests for each new peer."""


def peers(count: int) -> list[Peer]:
    first = ipaddress.IPv4Address("10.8.0.2")
    return [
        Peer(
            PrivateKey.generate().public(),
            (ipaddress.ip_network(f"{first + number}/32"),),
            PresharedKey.generate() if number % 2 else None,
            name=f"client-{number}",
        )
        for number in range(count)
    ]


class Residents:
    """Who is in; counts how often the store asked who that is."""

    def __init__(self) -> None:
        self.keys: set[PublicKey] = set()
        self.rounds = 0

    def __call__(self) -> set[PublicKey]:
        self.rounds += 1
        return self.keys.copy()


@pytest.fixture
def api(tmp_path: Path) -> Iterator[ApiService]:
    with ApiService(tmp_path / "api") as api:
        yield api


@pytest.fixture
def store(api: ApiService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RemoteStore]:
    monkeypatch.setattr(remote, "ROUND", 0.1)
    (tmp_path / "gateway.toml").write_text(api.settings)
    store = open_store("wg0", load_config(tmp_path / "gateway.toml"))
    assert isinstance(store, RemoteStore)
    # All as it is by default, but the patience: this machine may be busy, and what is counted is requests.
    monkeypatch.setattr(client, "PATIENCE", 60.0)
    store._terms = dataclasses.replace(store._terms, timeout=60.0)
    yield store
    store.close()


def test_200_clients_at_20_a_second_cost_a_request_each_and_nothing_while_they_stay(
    api: ApiService, store: RemoteStore
) -> None:
    clients, residents = peers(CLIENTS), Residents()
    api.registry.add(clients)
    store.keep_fresh(residents)
    wait_until(lambda: store.figures()["following"] == "yes")
    failed: list[StoreError] = []

    def knock(peer: Peer) -> None:
        """As a gateway does: ask, install, and ask once more for a packet that came meanwhile."""
        try:
            for _ in range(2):
                found = store.lookup(peer.public_key)
                assert found is not None
                assert found.peer == peer
                residents.keys.add(peer.public_key)
        except StoreError as error:
            failed.append(error)

    began = time.monotonic()
    with ThreadPoolExecutor(32) as threads:
        knocks = []
        for number, peer in enumerate(clients):
            time.sleep(max(0.0, began + number / RATE - time.monotonic()))  # the load's pace; nothing waits for it
            knocks.append(threads.submit(knock, peer))
        for one in knocks:
            one.result()
    assert failed == []
    end = residents.rounds + 30
    wait_until(lambda: residents.rounds > end, 60)
    figures = store.figures()
    assert figures["requests"] <= MOST * CLIENTS
    assert (figures["failures"], figures["throttled"], figures["reachable"]) == (0, 0, True)

    # It is the stream that keeps them valid: what it says counts at once, and costs a request for whom it concerns.
    before, gone = store.last_change(), clients[7].public_key
    api.registry.remove(gone)
    wait_until(lambda: store.last_change() > before)
    assert store.lookup(gone) is None
    assert store.figures()["requests"] == figures["requests"]


def test_all_who_are_in_may_be_asked_for_at_once_without_a_refusal(api: ApiService, store: RemoteStore) -> None:
    """After `reset` every answer is asked for anew, while others knock."""
    clients = peers(125)
    here, coming = clients[:100], clients[100:]
    api.registry.add(clients)
    wait_until(lambda: store.figures()["following"] == "yes")
    with ThreadPoolExecutor(16) as threads:
        assert all(threads.map(store.lookup, [peer.public_key for peer in here]))
        residents = Residents()
        residents.keys = {peer.public_key for peer in here}
        store.keep_fresh(residents)
        store._loop.call_soon_threadsafe(store.all_may_have_changed)
        assert all(threads.map(store.lookup, [peer.public_key for peer in coming]))
    wait_until(lambda: store.figures()["requests"] >= 100 + 25 + 100, 60)
    figures = store.figures()
    assert (figures["failures"], figures["throttled"], figures["reachable"]) == (0, 0, True)

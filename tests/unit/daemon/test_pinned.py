"""Pinned peers: read from the registry, installed by a running loop, whoever pins them."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from tests.contracts.store import claim, key, peer
from tests.fakes.store import FakeRegistry
from tests.unit.daemon.conftest import Running, running, until
from tests.unit.daemon.test_loop import in_loop
from wgjit.core.vocabulary.events import Pinned
from wgjit.daemon.effects import pinned
from wgjit.daemon.effects.pinned import PART, PinnedPeers
from wgjit.daemon.faults import Faults
from wgjit.daemon.metrics import Metrics
from wgjit.daemon.registry_watch import RegistryWatch
from wgjit.errors import StoreDeferred, StoreError
from wgjit.model import NEVER, Peer, PeerChange, PrivateKey, PublicKey, Registration


def pin(number: int) -> Peer:
    return replace(peer(number), idle_timeout=NEVER)


class Watched:
    """Pinned peers of a registry, on a clock of the test's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *peers: Peer) -> None:
        self.now = 1000.0
        monkeypatch.setattr(pinned.time, "monotonic", lambda: self.now)
        self.store = FakeRegistry(peers)
        self.residents: set[PublicKey] = set()
        self.peers = PinnedPeers(self.store, lambda key: key in self.residents)
        self.failures: list[Exception] = []

    def round(self) -> list[Pinned]:
        return [event for event in self.peers.round(self.failures) if isinstance(event, Pinned)]


def test_the_core_hears_of_those_that_are_not_in_the_device_until_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(monkeypatch, pin(1), peer(2), pin(3))
    watched.store.save_claims([claim(3, 5.0)])
    watched.residents = {key(1)}
    assert watched.round() == [Pinned((Registration(pin(3), claim(3, 5.0)),))]
    assert watched.round() == [], "no news within two seconds"
    watched.now += pinned.INTERVAL
    assert [len(event.found) for event in watched.round()] == [1]
    watched.residents.add(key(3))
    watched.now += pinned.INTERVAL
    assert watched.round() == [Pinned(())], "all are there"
    watched.now += pinned.INTERVAL
    assert watched.round() == []


def test_a_registry_without_pinned_peers_costs_no_lookup(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watched = Watched(monkeypatch, peer(1), peer(2))
    watched.peers = PinnedPeers(watched.store, lambda key: pytest.fail("nobody has to be here"))
    for _ in range(5):
        assert watched.round() == []
        watched.now += pinned.INTERVAL
    assert watched.store.calls.count("pinned") == 1
    assert "lookup" not in watched.store.calls


@pytest.mark.parametrize("how", ["added", "changed", "enabled", "another registry"])
def test_a_peer_that_becomes_pinned_is_told_in_the_next_round(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    watched = Watched(monkeypatch, peer(1), replace(pin(2), enabled=False))
    assert watched.round() == []
    wanted = {"added": 3, "changed": 1, "enabled": 2, "another registry": 4}[how]
    match how:
        case "added":
            watched.store.add([pin(3)])
        case "changed" | "enabled":
            watched.store.replace(pin(wanted))
        case "another registry":
            watched.store.put_in_place(FakeRegistry([pin(4)]))
    assert watched.round() == [Pinned((Registration(pin(wanted)),))]


def test_many_come_in_parts_and_the_last_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(monkeypatch, *(pin(number) for number in range(1, 2 * PART + 2)))
    monkeypatch.setattr(pinned, "PAGE", 10)
    events = watched.round()
    assert [len(event.found) for event in events] == [PART, PART, 1]
    assert [event.more for event in events] == [True, True, False]


def test_a_damaged_row_hides_no_other_and_a_busy_service_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(monkeypatch, pin(1), pin(2))
    looked: list[PublicKey] = []
    whole = watched.store.lookup

    def lookup(which: PublicKey, *, for_knock: bool = True) -> Registration | None:
        looked.append(which)
        if len(looked) == 1:
            raise StoreError("damaged")
        if len(looked) == 2:
            raise StoreDeferred("knocks come first")
        return whole(which, for_knock=for_knock)

    monkeypatch.setattr(watched.store, "lookup", lookup)
    assert watched.round() == [Pinned((), more=True)]
    assert [str(failure) for failure in watched.failures] == ["damaged"]
    (event,) = watched.round()
    assert [found.peer.public_key for found in event.found] == [looked[1]]
    assert not event.more


def test_claims_are_saved_while_the_pinned_cannot_be_read() -> None:
    store = FakeRegistry([pin(1)])
    watch = RegistryWatch(store, Faults(Metrics()), set)
    store.fail(StoreError("damaged"), "pinned")
    watch.save(claim(1, 5.0))
    assert len(watch.round()) == 1
    store.fail(None)
    assert any(isinstance(event, Pinned) for event in watch.round())


# --- a running loop -------------------------------------------------------------------------------------------


@in_loop
async def test_they_are_installed_when_the_gateway_starts() -> None:
    def before(stage: Running) -> None:
        stage.store.replace(replace(stage.clients[0].peer, idle_timeout=NEVER))

    async with running(clients=2, before=before) as stage:
        await until(lambda: stage.device.keys == {stage.clients[0].key})
        assert (await stage.loop.status(stage.about)).arrivals == {"pinned": 1}


@in_loop
async def test_who_becomes_pinned_comes_and_who_is_taken_out_comes_back() -> None:
    async with running(clients=1) as stage:
        await until(lambda: "pinned" in stage.store.calls)
        stage.store.replace(replace(stage.clients[0].peer, idle_timeout=NEVER))
        await until(lambda: stage.device.keys == {stage.clients[0].key})
        stage.store.replace(replace(stage.clients[0].peer, idle_timeout=NEVER, enabled=False))
        await until(lambda: stage.device.keys == set())
        stage.store.replace(replace(stage.clients[0].peer, idle_timeout=NEVER))
        await until(lambda: stage.device.keys == {stage.clients[0].key})


@in_loop
async def test_an_address_that_a_foreign_peer_has_is_told_in_log_and_status() -> None:
    foreign = PrivateKey(b"\x07" * 32).public()

    def before(stage: Running) -> None:
        stage.store.replace(replace(stage.clients[0].peer, idle_timeout=NEVER))
        stage.device.apply([PeerChange(foreign, allowed_ips=stage.clients[0].peer.allowed_ips)])

    with capture_logs() as log:
        async with running(before=before) as stage:
            await until(lambda: bool(stage.metrics.pins_absent))
            assert (await stage.loop.status(stage.about)).pins_absent == {"conflict": 1}
            assert stage.device.keys == {foreign}
            began = time.monotonic()
            stage.device.apply([PeerChange(foreign, remove=True)])
            stage.loop._gateway.residency.remove(foreign)  # a look would find it gone, half a minute later
            await until(lambda: stage.device.keys == {stage.clients[0].key})
            await until(lambda: not stage.metrics.pins_absent)
            assert time.monotonic() - began < 30
    told = [line for line in log if "pinned" in line["event"]]
    assert [line["log_level"] for line in told] == ["warning", "info"]
    assert "take the peer that the registry does not know" in told[0]["do"]

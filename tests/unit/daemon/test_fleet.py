"""A gateway of a fleet: what it says and hears, and how the loop asks the registry of record."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from tests.contracts.store import claim, key, peer
from tests.fakes.fleet import FakeFleet
from tests.fakes.store import FakeRegistry
from tests.unit.daemon.conftest import Running, running, until
from tests.unit.daemon.test_loop import in_loop
from tests.unit.daemon.test_registry_watch import Watched
from wgjit.control.status import GatewayStatus
from wgjit.core.vocabulary.commands import SessionOver, SessionUp
from wgjit.core.vocabulary.events import FleetClock, HeldElsewhere, RegistryChanged
from wgjit.daemon.effects.fleet_work import AT_ONCE
from wgjit.errors import StoreDeferred, StoreError, StoreUnreachable
from wgjit.model import Delivery, Endpoint, Holding, Registration, Removed, Tai64n
from wgjit.record import Decision
from wgjit.refusal import Refusal


def holding(number: int, at: float = 1000.0, gateway: str = "other") -> Holding:
    return Holding(key(number), Tai64n.from_unix(at), 0, gateway, 1, Endpoint.parse("192.0.2.7:4000"), at)


@pytest.fixture
def fleet() -> FakeFleet:
    return FakeFleet()


@pytest.fixture
def watched(fleet: FakeFleet) -> Watched:
    watched = Watched()
    watched.store.fleet = fleet
    watched.watch.round()
    return watched


# --- the registry's thread -------------------------------------------------------------------------------------------


def test_only_what_concerns_the_fleet_is_said(watched: Watched, fleet: FakeFleet) -> None:
    quiet, loud = claim(1, 1000), claim(2, 1000)
    watched.watch.save(quiet)
    watched.watch.save(loud, said=True)
    watched.watch.say(holding(2, gateway="g"))
    watched.watch.round()
    assert fleet.said == [loud, holding(2, gateway="g")]
    assert watched.store._claims == {quiet.public_key: quiet}
    watched.watch.round()
    assert len(fleet.said) == 2


def test_of_two_holdings_of_a_peer_the_newer_is_said(watched: Watched, fleet: FakeFleet) -> None:
    watched.watch.say(holding(1, 2000, "g"))
    watched.watch.say(holding(1, 1000, "g"))
    watched.watch.round()
    assert fleet.said == [holding(1, 2000, "g")]


def test_what_cannot_be_said_is_said_in_the_next_round(watched: Watched, fleet: FakeFleet) -> None:
    fleet.failure = StoreError("the disk is full")
    watched.watch.save(claim(1, 1000), said=True)
    watched.watch.say(holding(1, gateway="g"))
    watched.watch.round()
    fleet.failure = None
    watched.watch.round()
    assert fleet.said == [claim(1, 1000), holding(1, gateway="g")]


def test_other_gateways_holdings_of_residents_are_heard_once(watched: Watched, fleet: FakeFleet) -> None:
    fleet.arrived += [holding(1), holding(99)]
    assert watched.watch.round() == [HeldElsewhere((holding(1),))]
    assert watched.watch.round() == []


def test_what_was_held_before_the_start_comes_with_the_registrations(fleet: FakeFleet) -> None:
    watched = Watched()
    watched.store.fleet = fleet
    fleet.arrived += [holding(1)]
    assert not any(isinstance(event, HeldElsewhere) for event in watched.watch.round())


def test_the_fleets_clock_is_told_when_it_changes(watched: Watched, fleet: FakeFleet) -> None:
    fleet.offset = 3600.0
    assert watched.watch.round() == [FleetClock(3600.0)]
    fleet.offset = 3600.001
    assert watched.watch.round() == []
    fleet.offset = 3600.5
    assert watched.watch.round() == [FleetClock(3600.5)]


def test_a_peer_that_a_replica_lacks_so_far_is_not_revoked(watched: Watched, fleet: FakeFleet) -> None:
    """Its copy is being made, and the peer was let in by the registry of record."""
    fleet.behind = True
    watched.store._peers.pop(key(1))
    watched.watch.recheck([key(1)])
    assert watched.watch.round() == []
    fleet.behind = False
    assert watched.watch.round() == [RegistryChanged({key(1): None}, rechecked=True)]


def test_a_peer_that_was_removed_is_revoked_whatever_is_behind(watched: Watched, fleet: FakeFleet) -> None:
    fleet.behind = True
    watched.store.remove(key(1))
    (event,) = watched.watch.round()
    assert isinstance(event, RegistryChanged)
    assert event.removed == {key(1)}


# --- the loop -----------------------------------------------------------------------------------------------------


@in_loop
async def test_the_first_data_makes_a_gateway_the_holder() -> None:
    fleet = FakeFleet()
    async with running(delivery=Delivery.HOLD, fleet=fleet) as stage:
        assert stage.confirmations is not None
        client = stage.clients[0]
        stage.knock()
        await stage.told()
        assert client.key in stage.confirmations.watched, "it is looked for before the client can send data"
        assert not any(isinstance(said, Holding) for said in fleet.said)
        stage.confirmations.came(client.key)
        await until(lambda: any(isinstance(said, Holding) for said in fleet.said))
        status = await stage.loop.status(GatewayStatus(interface="wg0"))
        assert status.holding == 1
        assert status.said == {"taken": 1}


@in_loop
async def test_news_is_read_at_once_and_a_moved_peer_leaves() -> None:
    fleet = FakeFleet()
    async with running(delivery=Delivery.HOLD, fleet=fleet) as stage:
        client = stage.clients[0]
        stage.knock()
        await stage.told()
        await until(lambda: len(fleet.said) == 1)
        fleet.arrived.append(replace(holding(1, time.time() + 60), public_key=client.key))
        fleet.news()
        await until(lambda: client.key not in stage.device.keys)
        await until(lambda: stage.metrics.departures["moved"] == 1)


@in_loop
async def test_the_restraint_is_told_together_and_last_word_last() -> None:
    async with running(delivery=Delivery.HOLD, fleet=FakeFleet()) as stage:
        assert stage.restraint is not None
        ends = [Endpoint(bytes([10, 0, number >> 8, number & 255]), 4000) for number in range(AT_ONCE + 12)]
        work = stage.loop._fleet
        for end in ends:
            work.session_up(SessionUp(end, 100.0))
        work.session_over(SessionOver(ends[0]))
        work.session_over(SessionOver(ends[1]))
        work.session_up(SessionUp(ends[1], 50.0))
        assert stage.restraint.calls == [], "no knock waits for it"
        await until(lambda: len(stage.restraint.calls) == 3)
        assert stage.restraint.calls == [f"put {AT_ONCE}", "put 11", "forget 1"]
        assert stage.restraint.sessions == dict.fromkeys(ends[2:], 100.0) | {ends[1]: 50.0}


@in_loop
async def test_before_a_call_the_restraint_hears_what_it_has_yet_to_hear() -> None:
    """Else the call would be held back for 25 s: the client was here a moment ago, went, and is led here again."""
    async with running(delivery=Delivery.HOLD, fleet=FakeFleet()) as stage:
        assert stage.restraint is not None
        work = stage.loop._fleet
        gone, other = (Endpoint(bytes([10, 0, 0, number]), 4000) for number in (1, 2))
        work.session_over(SessionOver(gone))
        work.session_over(SessionOver(gone, at_once=True))
        assert stage.restraint.calls == ["forget 1"]
        work.session_over(SessionOver(other, at_once=True))
        assert stage.restraint.calls == ["forget 1"], "it knows nothing of this one"


@in_loop
async def test_a_peer_that_has_left_may_be_called_again() -> None:
    fleet = FakeFleet()
    async with running(delivery=Delivery.HOLD, fleet=fleet) as stage:
        assert stage.restraint is not None
        client = stage.clients[0]
        stage.restraint.sessions[client.endpoint] = 100.0
        stage.knock()
        await stage.told()
        await until(lambda: len(fleet.said) == 1)
        fleet.arrived.append(replace(holding(1, time.time() + 60), public_key=client.key))
        fleet.news()
        await until(lambda: stage.restraint.sessions == {})
        assert client.key not in stage.device.keys, "while it is there, WireGuard may still call it"


@in_loop
async def test_a_restraint_that_fails_is_a_fault_and_no_more() -> None:
    async with running(delivery=Delivery.HOLD, fleet=FakeFleet()) as stage:
        assert stage.restraint is not None
        stage.restraint.broken = True
        stage.loop._fleet.session_up(SessionUp(stage.clients[0].endpoint, 100.0))
        await until(lambda: stage.restraint.calls == ["put 1"])
        await until(lambda: stage.metrics.faults["restraint"] >= 1)
        stage.knock()
        assert (await stage.told()).decision is Decision.INSTALLED
        beats = stage.restraint.beats
        await until(lambda: stage.restraint.beats > beats)
        status = await stage.loop.status(GatewayStatus(interface="wg0"))
        assert status.calls_held == 7


async def unknown(stage: Running) -> object:
    """A client knocks whom the replica does not know; what became of it."""
    stage.store._peers.pop(stage.clients[0].key, None)
    stage.knock()
    record = await stage.told()
    return record.refusal or record.decision


@in_loop
async def test_the_registry_of_record_lets_a_new_peer_in() -> None:
    fleet = FakeFleet()
    async with running(delivery=Delivery.HOLD, fleet=fleet) as stage:
        fleet.answers[stage.clients[0].key] = Registration(stage.clients[0].peer)
        assert await unknown(stage) is Decision.INSTALLED
        assert stage.device.keys == {stage.clients[0].key}


@in_loop
async def test_the_registry_of_record_knows_nobody() -> None:
    fleet = FakeFleet()
    async with running(delivery=Delivery.HOLD, fleet=fleet) as stage:
        assert await unknown(stage) is Refusal.UNKNOWN


@in_loop
async def test_a_registry_of_record_that_is_away_says_nothing_against_a_whole_replica() -> None:
    fleet = FakeFleet()
    async with running(delivery=Delivery.HOLD, fleet=fleet) as stage:
        fleet.answers[stage.clients[0].key] = StoreUnreachable("away")
        assert await unknown(stage) is Refusal.UNKNOWN


@in_loop
async def test_a_replica_that_is_behind_refuses_nobody_as_unknown() -> None:
    fleet = FakeFleet()
    fleet.behind = True
    async with running(delivery=Delivery.HOLD, fleet=fleet) as stage:
        fleet.answers[stage.clients[0].key] = StoreUnreachable("away")
        assert await unknown(stage) is Refusal.STORE_FAILED
        assert stage.metrics.faults["record"] >= 1


@in_loop
async def test_too_many_questions_are_overload_and_no_answer() -> None:
    fleet = FakeFleet()
    fleet.behind = True
    async with running(delivery=Delivery.HOLD, fleet=fleet) as stage:
        fleet.answers[stage.clients[0].key] = StoreDeferred("too many")
        assert await unknown(stage) is Refusal.OVERLOADED


@in_loop
async def test_a_removed_peer_stays_removed() -> None:
    fleet = FakeFleet()
    async with running(delivery=Delivery.HOLD, fleet=fleet) as stage:
        client = stage.clients[0]
        fleet.answers[client.key] = Removed(client.key)
        stage.store.remove(client.key)
        stage.knock()
        assert (await stage.told()).refusal is Refusal.UNKNOWN


@in_loop
async def test_a_registry_of_record_that_is_away_is_told_and_its_return() -> None:
    fleet = FakeFleet()
    fleet.troubled = StoreUnreachable("registry postgresql://db/wgjit: connection refused")
    with capture_logs() as log:
        async with running(delivery=Delivery.HOLD, fleet=fleet) as stage:
            await until(lambda: stage.metrics.faults["record"] >= 2)
            fleet.troubled = None
            await until(lambda: any(line["event"] == "fault passed" for line in log))
    assert sum("connection refused" in str(line) for line in log) == 1


@in_loop
async def test_trouble_of_a_fleet_is_told_once() -> None:
    fleet = FakeFleet()
    fleet.taken, fleet.keys = StoreError("gateway name 'g': another has it"), ["ams1"]
    with capture_logs() as log:
        async with running(delivery=Delivery.HOLD, fleet=fleet) as stage:
            await until(lambda: stage.metrics.faults["fleet"] >= 2)
    said = [line["event"] for line in log]
    assert sum("another has it" in str(line) for line in log) == 1
    assert sum("another private key" in event for event in said) == 1


def test_a_fleet_is_nobodys_without_a_replica() -> None:
    assert FakeRegistry([peer(1)]).fleet is None

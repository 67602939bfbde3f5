"""The loop: commands become effects, and no fault of the surroundings ends it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import wraps
from typing import Any

import pytest

from tests.unit.daemon.conftest import Running, running, until
from wgjit.control.status import GatewayStatus
from wgjit.daemon.effects.device_work import HEAD_START
from wgjit.errors import CaptureError, DeviceError, DeviceFull, InjectError, StoreError
from wgjit.model import Delivery, PeerChange, PrivateKey
from wgjit.record import Decision
from wgjit.refusal import Refusal


def in_loop(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run an async test."""

    @wraps(test)
    def run() -> None:
        asyncio.run(asyncio.wait_for(test(), 120))

    return run


@in_loop
async def test_a_copy_is_installed_and_replayed_and_told_with_its_stages() -> None:
    async with running() as stage:
        stage.knock()
        record = await stage.told()
        assert (record.decision, record.delivery) == (Decision.INSTALLED, Delivery.REPLAY)
        assert list(record.stages) == ["identify", "lookup", "prove", "install", "deliver", "total"]
        assert all(microseconds > 0 for microseconds in record.stages.values())
        assert stage.device.keys == {stage.clients[0].key}
        assert [captured.packet for captured in stage.injector.injected] != []


@in_loop
async def test_a_held_packet_is_released_once() -> None:
    async with running(delivery=Delivery.HOLD) as stage:
        stage.knock()
        await stage.told()
        assert stage.capture.released == [1]
        assert stage.injector.injected == []


@pytest.mark.parametrize("delivery", list(Delivery))
def test_wireguard_is_done_with_a_packet_before_a_copy_of_it_has_effects(
    delivery: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened: list[str] = []
    monkeypatch.setattr(time, "sleep", lambda seconds: happened.append(f"slept {seconds}"))

    @in_loop
    async def once() -> None:
        async with running(delivery=delivery) as stage:
            apply = stage.device.apply
            stage.device.apply = lambda changes: happened.append("installed") or apply(changes)  # type: ignore
            stage.knock()
            await stage.told()

    once()
    expected = ["installed"] if delivery is Delivery.HOLD else [f"slept {HEAD_START}", "installed"]
    assert happened[: len(expected)] == expected


@in_loop
async def test_a_burst_of_clients_is_installed_in_few_calls() -> None:
    async with running(clients=40, delivery=Delivery.HOLD) as stage:
        calls = 0
        apply = stage.device.apply

        def counted(changes: Any) -> None:
            nonlocal calls
            calls += 1
            apply(changes)

        stage.device.apply = counted  # type: ignore[method-assign]
        for number in range(40):
            stage.knock(number)
        for _ in range(40):
            assert (await stage.told()).decision is Decision.INSTALLED
        assert calls <= 6  # of 1, 2, 4, 8 and twice up to 16
        assert sorted(stage.capture.released) == list(range(1, 41))


@in_loop
async def test_the_claim_reaches_the_store() -> None:
    async with running() as stage:
        stage.knock()
        record = await stage.told()
        key = stage.clients[0].key
        await until(lambda: stage.store.lookup(key).claim is not None)  # type: ignore[union-attr]
        found = stage.store.lookup(key)
        assert found
        assert found.claim
        assert found.claim.timestamp == record.timestamp


@in_loop
async def test_claims_are_written_at_the_end_too() -> None:
    async with running() as stage:
        stage.knock()
        await stage.told()
    found = stage.store.lookup(stage.clients[0].key)
    assert found
    assert found.claim


@in_loop
async def test_residents_of_before_are_left_in_peace() -> None:
    def put_there(stage: Running) -> None:
        stage.device.apply([PeerChange.install(stage.clients[0].peer)])
        stage.device.applied.clear()

    async with running(delivery=Delivery.HOLD, before=put_there) as stage:
        stage.knock()
        record = await stage.told()
        assert record.decision is Decision.RESIDENT
        assert stage.device.applied == []
        assert stage.capture.released == [1]


@in_loop
async def test_one_bad_install_of_a_batch_fails_alone() -> None:
    async with running(clients=3, delivery=Delivery.HOLD) as stage:
        stage.device.fail(DeviceError("no"), after=1)
        for number in range(3):
            stage.knock(number)
        decisions = [(await stage.told()).decision for _ in range(3)]
        # The batch failed in its middle; each was then tried alone, and the fault had passed.
        assert decisions == [Decision.INSTALLED] * 3
        assert stage.device.keys == {client.key for client in stage.clients}


@in_loop
async def test_a_full_device_is_a_refusal() -> None:
    async with running(delivery=Delivery.HOLD) as stage:
        stage.device.fail(DeviceFull("full"))
        stage.knock()
        record = await stage.told()
        assert record.refusal is Refusal.FULL
        assert stage.capture.released == [1]
        assert stage.metrics.faults["device"] == 1


@in_loop
async def test_a_store_that_fails_is_not_a_store_that_knows_nobody() -> None:
    async with running(delivery=Delivery.HOLD) as stage:
        stage.store.fail(StoreError("the disk is on fire"), "lookup")
        stage.knock()
        assert (await stage.told()).refusal is Refusal.STORE_FAILED
        assert stage.capture.released == [1]
        stage.store.fail(None)
        stage.knock()
        assert (await stage.told()).decision is Decision.INSTALLED


@in_loop
async def test_claims_that_could_not_be_written_are_written_later() -> None:
    async with running() as stage:
        stage.store.fail(StoreError("locked"), "save_claims")
        stage.knock()
        await stage.told()
        await until(lambda: stage.metrics.faults["registry"] >= 1)
        stage.store.fail(None)
        await until(lambda: stage.store.lookup(stage.clients[0].key).claim is not None)  # type: ignore[union-attr]


@in_loop
async def test_a_remote_store_that_hangs_holds_no_packet_beyond_its_deadline() -> None:
    async with running(delivery=Delivery.HOLD, store_is_local=False, hold_deadline=0.05) as stage:
        gate = threading.Event()
        stage.store.on_call = lambda method: gate.wait(60) if method == "lookup" else None  # type: ignore[assignment,return-value]
        stage.knock()
        await until(lambda: stage.capture.released == [1])
        assert stage.device.keys == set()
        gate.set()
        record = await stage.told()
        assert (record.decision, record.delivery) == (Decision.INSTALLED, Delivery.NONE)
        assert stage.capture.released == [1]


@in_loop
async def test_an_injector_that_fails_is_counted_and_the_peer_stays() -> None:
    async with running() as stage:
        stage.injector.failure = InjectError("no such device")
        stage.knock()
        await stage.told()
        assert stage.metrics.faults["inject"] == 1
        assert stage.device.keys == {stage.clients[0].key}


@in_loop
async def test_a_capture_that_stumbles_goes_on() -> None:
    async with running() as stage:
        await until(lambda: stage.capture.heartbeats == 1)
        stage.capture.failure = CaptureError("no buffer space")
        stage.knock()
        assert (await stage.told()).decision is Decision.INSTALLED
        assert stage.metrics.faults["capture"] == 1


@in_loop
async def test_a_peer_disabled_by_another_process_leaves_the_device() -> None:
    async with running() as stage:
        stage.knock()
        await stage.told()
        stage.store.replace(replace(stage.clients[0].peer, enabled=False))
        await until(lambda: stage.device.keys == set())
        stage.knock()
        assert (await stage.told()).refusal is Refusal.DISABLED


@in_loop
async def test_garbage_is_counted_and_not_told() -> None:
    async with running() as stage:
        stage.capture.arrive(b"\x45rubbish")
        stage.knock()
        assert (await stage.told()).decision is Decision.INSTALLED
        assert stage.metrics.refusals == {"not_udp": 1}
        assert (await stage.loop.status(GatewayStatus(interface="wgtest"))).waiting == 0


@in_loop
async def test_the_capture_hears_that_we_are_alive() -> None:
    async with running() as stage:
        await until(lambda: stage.capture.heartbeats >= 1)


@in_loop
async def test_a_flip_ends_with_its_keepalive_set_back() -> None:
    async with running(delivery=Delivery.FLIP) as stage:
        stage.knock()
        await stage.told()
        (peer,) = stage.device.peers()
        assert (peer.endpoint, peer.keepalive) == (stage.clients[0].endpoint, 25)
        stage.device.shake_hands(peer.public_key, at=1.0)
        await until(lambda: next(iter(stage.device.peers())).keepalive == 0)
        assert stage.metrics.flips == {"completed": 1}


@in_loop
async def test_a_slow_listener_loses_records_and_harms_nobody() -> None:
    async with running(clients=2) as stage:
        stage.feed.subscribe(capacity=1)
        stage.knock(0)
        stage.knock(1)
        await stage.told()
        await stage.told()
        assert stage.feed.dropped == 1


# --- what is tried until it is done, and bugs -------------------------------------------------------------------


@in_loop
async def test_a_removal_that_the_device_refuses_is_tried_again() -> None:
    async with running() as stage:
        stage.knock()
        await stage.told()
        stage.device.fail(DeviceError("busy"))
        stage.store.replace(replace(stage.clients[0].peer, enabled=False))
        await until(lambda: stage.metrics.faults["device"] >= 1)
        await until(lambda: stage.device.keys == set())


@in_loop
async def test_a_change_whose_lookup_failed_is_looked_up_again() -> None:
    async with running() as stage:
        stage.knock()
        await stage.told()
        stage.store.fail(StoreError("busy"), "lookup")
        stage.store.replace(replace(stage.clients[0].peer, enabled=False))
        await until(lambda: stage.metrics.faults["registry"] >= 1)
        stage.store.fail(None)
        await until(lambda: stage.device.keys == set())


@in_loop
async def test_a_change_log_with_a_hole_makes_all_residents_be_looked_up() -> None:
    async with running(clients=2) as stage:
        stage.knock(0)
        await stage.told()
        stage.store.on_call = lambda method: stage.store.forget_changes() if method == "last_change" else None  # type: ignore[assignment,return-value]
        stage.store.replace(replace(stage.clients[1].peer, name="another"))
        stage.store.replace(replace(stage.clients[0].peer, enabled=False))
        await until(lambda: stage.device.keys == set())


@in_loop
async def test_peers_disabled_while_no_gateway_ran_leave_at_the_start_and_foreign_ones_stay() -> None:
    foreign = PrivateKey(b"\x07" * 32).public()

    def before(stage: Running) -> None:
        stage.device.apply([PeerChange.install(client.peer) for client in stage.clients])
        stage.device.apply([PeerChange(foreign)])
        stage.store.replace(replace(stage.clients[0].peer, enabled=False))
        stage.store.remove(stage.clients[1].key)

    async with running(clients=3, before=before) as stage:
        await until(lambda: stage.device.keys == {stage.clients[2].key, foreign})


@in_loop
async def test_what_is_as_registered_is_not_touched_at_the_start() -> None:
    def before(stage: Running) -> None:
        stage.device.apply([PeerChange.install(client.peer) for client in stage.clients])
        stage.device.applied.clear()

    async with running(clients=3, before=before) as stage:
        await until(lambda: stage.store.calls.count("lookup") == 3)
        stage.knock()
        await stage.told()
        assert stage.device.applied == []


@in_loop
async def test_a_bug_in_the_store_is_a_fault_and_not_the_end() -> None:
    async with running(delivery=Delivery.HOLD) as stage:

        def broken(method: str) -> None:
            if method == "lookup":
                raise ZeroDivisionError

        stage.store.on_call = broken
        stage.knock()
        assert (await stage.told()).refusal is Refusal.STORE_FAILED
        assert stage.capture.released == [1]


@in_loop
async def test_a_bug_in_the_device_locks_nobody_out() -> None:
    async with running(delivery=Delivery.HOLD) as stage:
        apply = stage.device.apply

        def broken(changes: Any) -> None:
            stage.device.apply = apply  # type: ignore[method-assign]
            raise ZeroDivisionError

        stage.device.apply = broken  # type: ignore[method-assign]
        stage.knock()
        assert (await stage.told()).refusal is Refusal.DEVICE_FAILED
        assert stage.capture.released == [1]
        stage.knock()
        assert (await stage.told()).decision is Decision.INSTALLED


@in_loop
async def test_a_bug_in_the_core_releases_the_packet_and_serves_the_next() -> None:
    async with running(delivery=Delivery.HOLD) as stage:
        handle = stage.gateway.handle

        def broken(event: Any, now: Any) -> Any:
            stage.gateway.handle = handle  # type: ignore[method-assign]
            raise ZeroDivisionError

        await until(lambda: stage.store.calls.count("last_change") >= 1)
        stage.gateway.handle = broken  # type: ignore[method-assign]
        stage.knock()
        await until(lambda: stage.capture.released == [1])
        stage.knock()
        assert (await stage.told()).decision is Decision.INSTALLED
        assert stage.metrics.faults["core"] == 1


@in_loop
async def test_claims_wait_for_a_registry_that_is_held_at_the_end() -> None:
    async with running() as stage:
        stage.store.fail(StoreError("locked"), "save_claims")
        stage.knock()
        await stage.told()
        asyncio.get_running_loop().call_later(0.5, stage.store.fail, None)
    found = stage.store.lookup(stage.clients[0].key)
    assert found
    assert found.claim

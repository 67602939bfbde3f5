"""A session lives 180 s after its handshake (REJECT_AFTER_TIME): no peer leaves before, idle or to make room."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.unit.core.conftest import START, Stage
from tests.unit.core.test_gateway import told
from tests.unit.core.test_upkeep import install, seen
from wgjit.core.vocabulary.commands import Evict
from wgjit.core.vocabulary.events import DeviceRead
from wgjit.core.vocabulary.told import Tell
from wgjit.model import Delivery
from wgjit.refusal import Refusal


@pytest.mark.parametrize(("idle", "leaves"), [(179.0, False), (179.9, False), (180.0, True)])
def test_nobody_leaves_within_the_time_of_a_session(
    make_stage: Callable[..., Stage], idle: float, leaves: bool
) -> None:
    """However short the gateway's idle time is."""
    stage = make_stage(Delivery.NONE, idle_timeout=1.0)
    client = stage.client()
    stage.hear(DeviceRead(stage.monotonic, ()))
    install(stage, client)
    stage.wait(1)
    stage.hear(DeviceRead(stage.monotonic, [seen(client, START, 1)]))
    stage.wait(idle)
    commands = stage.hear(DeviceRead(stage.monotonic, [seen(client, START, 1)]))
    assert (Evict((client.key,)) in commands) is leaves


@pytest.mark.parametrize(("idle", "leaves"), [(179.0, False), (179.9, False), (180.0, True)])
def test_nobody_makes_room_within_the_time_of_a_session(
    make_stage: Callable[..., Stage], idle: float, leaves: bool
) -> None:
    stage = make_stage(Delivery.NONE, capacity=1)
    first, second = stage.client(1), stage.client(2)
    stage.hear(DeviceRead(stage.monotonic, ()))
    install(stage, first)
    stage.wait(1)
    stage.hear(DeviceRead(stage.monotonic, [seen(first, START, 1)]))
    stage.wait(idle)
    stage.arrive(second.packet(stage.wall))
    stage.answer(second.registration())
    commands = stage.hear(DeviceRead(stage.monotonic, [seen(first, START, 1)]))
    assert (Evict((first.key,)) in commands) is leaves
    refusals = [told([command]).refusal for command in commands if isinstance(command, Tell)]
    assert refusals == ([] if leaves else [Refusal.FULL])

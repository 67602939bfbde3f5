"""When a held packet goes on: verdicts are sent together, but never behind what takes time, and none is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from tests.unit.daemon.conftest import Running, running, until
from wgjit.core.vocabulary.events import Event, FollowUpDue
from wgjit.core.vocabulary.moment import Now
from wgjit.daemon import loop
from wgjit.errors import CaptureError
from wgjit.model import Delivery, PeerChange
from wgjit.record import Decision


def first_is_resident(stage: Running) -> None:
    """Client 0 is in the device."""
    stage.device.apply([PeerChange.install(stage.clients[0].peer)])


def test_a_verdict_waits_for_no_install_and_no_follow_up() -> None:
    at_install: list[list[int]] = []
    at_follow_up: list[list[int]] = []

    async def scenario() -> None:
        async with running(clients=3, delivery=Delivery.HOLD, before=first_is_resident) as stage:
            apply, handle = stage.device.apply, stage.gateway.handle

            def watched_apply(changes: Sequence[PeerChange]) -> None:
                at_install.append(list(stage.capture.released))
                apply(changes)

            def watched_handle(event: Event, now: Now) -> Any:
                if isinstance(event, FollowUpDue):
                    at_follow_up.append(list(stage.capture.released))
                return handle(event, now)

            stage.device.apply, stage.gateway.handle = watched_apply, watched_handle  # type: ignore[method-assign]
            for client in (1, 2, 0):  # one is read alone; then two, the resident's behind the one to be installed
                stage.knock(client)
            decisions = [(await stage.told()).decision for _ in range(3)]
            assert sorted(decisions) == sorted([Decision.INSTALLED, Decision.INSTALLED, Decision.RESIDENT])

    asyncio.run(scenario())
    assert at_install == [[], [1, 3]]
    assert at_follow_up == [[1, 3, 2]]


def test_the_verdicts_of_a_batch_are_sent_together() -> None:
    async def scenario() -> None:
        async with running(delivery=Delivery.HOLD, before=first_is_resident) as stage:
            flushes: list[int] = []
            flush = stage.capture.flush

            def watched() -> None:
                before = len(stage.capture.released)
                flush()
                flushes.append(len(stage.capture.released) - before)

            stage.capture.flush = watched  # type: ignore[method-assign]
            for _ in range(31):
                stage.capture.arrive(bytes(40))
            await until(lambda: len(stage.capture.released) == 31)
            assert [count for count in flushes if count] == [1, 2, 4, 8, 16]

    asyncio.run(scenario())


def test_a_verdict_that_could_not_be_sent_goes_with_the_next_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "HEARTBEAT", 0.01)

    async def scenario() -> None:
        async with running(delivery=Delivery.HOLD) as stage:
            with monkeypatch.context() as patch:

                def no_memory() -> None:
                    raise CaptureError("verdicts: no buffer space")

                patch.setattr(stage.capture, "flush", no_memory)
                stage.knock()
                assert (await stage.told()).decision is Decision.INSTALLED
                await until(lambda: stage.metrics.faults["capture"] >= 1)
                assert stage.capture.released == []
            await until(lambda: stage.capture.released == [1])

    asyncio.run(scenario())

"""What interfaces of one daemon have in common: their start, and the supervisor's watch over them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack

from tests.unit.daemon.conftest import Running, running
from wgjit.control.status import GatewayStatus
from wgjit.daemon.loop import BATCH
from wgjit.daemon.process.serve import DaemonSupervisor


class Heard:
    """What the supervisor is told, in order."""

    def __init__(self) -> None:
        self.words: list[str] = []

    def ready(self, status: str) -> None:
        self.words.append(status)

    def alive(self) -> None:
        self.words.append("alive")


class Stage:
    """A start of some interfaces that fails at the end of a `with`, unless they were ready."""

    def __init__(self, undo: ExitStack, *names: str) -> None:
        self.heard, self.told, self.undone = Heard(), list[str](), list[str]()
        undo.callback(self.undone.append, "undone")
        self.start = DaemonSupervisor(list(names), asyncio.Event(), self.heard, self._tell, undo)  # type: ignore[arg-type]

    def _tell(self, about: GatewayStatus) -> None:
        self.told.append(about.interface)

    def ready(self, name: str, port: int) -> None:
        self.start.ready(name, GatewayStatus(interface=name, listen_port=port, delivery="hold"))


def test_it_is_ready_once_all_are_and_says_so_in_order() -> None:
    with ExitStack() as undo:
        stage = Stage(undo, "wg0", "wg1")
        stage.ready("wg1", 2)
        assert (stage.heard.words, stage.told) == ([], [])
        stage.ready("wg0", 1)
        assert stage.heard.words == ["wg0: port 1, delivery hold; wg1: port 2, delivery hold"]
        assert stage.told == ["wg0", "wg1"]
        stage.ready("wg1", 3)
        assert stage.heard.words[1:] == ["wg0: port 1, delivery hold; wg1: port 3, delivery hold"]
        assert stage.told == ["wg0", "wg1"]
    assert stage.undone == []


def test_what_was_made_is_taken_back_as_long_as_one_is_not_ready() -> None:
    with ExitStack() as undo:
        stage = Stage(undo, "wg0", "wg1")
        stage.ready("wg1", 2)
    assert stage.undone == ["undone"]


def test_one_alone_is_told_as_ever() -> None:
    with ExitStack() as undo:
        stage = Stage(undo, "wg0")
        assert stage.start.alone
        stage.ready("wg0", 1)
        stage.start.alive("wg0")
    assert stage.heard.words == ["port 1, delivery hold", "alive"]


def test_the_watchdog_hears_only_of_rounds_of_all() -> None:
    with ExitStack() as undo:
        stage = Stage(undo, "wg0", "wg1")
        for _ in range(10):
            stage.start.alive("wg0")
        assert stage.heard.words == []
        stage.start.alive("wg1")
        assert stage.heard.words == ["alive"]
        stage.start.alive("wg1")
        assert stage.heard.words == ["alive"]


def test_nobody_captures_before_all_are_prepared() -> None:
    order: list[str] = []

    async def prepare(stage: Stage, name: str, turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        order.append(f"{name} prepared")
        await stage.start.prepared()
        order.append("captures")

    async def scene() -> None:
        with ExitStack() as undo:
            stage = Stage(undo, "wg0", "wg1")
            await asyncio.gather(prepare(stage, "wg0", 0), prepare(stage, "wg1", 5))

    asyncio.run(scene())
    assert order == ["wg0 prepared", "wg1 prepared", "captures", "captures"]


def test_a_flood_on_one_interface_leaves_another_its_turn() -> None:
    """When a client of the quiet one knocks, no more than a batch or two of the flood come before it."""

    async def scene() -> int:
        async with running(clients=1) as flooded, running(clients=1) as quiet:
            for _ in range(40 * BATCH):
                flooded.capture.arrive(b"garbage")
            await turns_until(lambda: len(flooded.capture.waiting) <= 30 * BATCH)  # its batches have grown by then
            before = len(flooded.capture.waiting)
            quiet.knock()
            await turns_until(lambda: decided(quiet))
            assert flooded.capture.waiting, "there was no flood any more"
            return before - len(flooded.capture.waiting)

    assert asyncio.run(scene()) <= 2 * BATCH


async def turns_until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until something is so."""
    for _ in range(10_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it did not come about within 10,000 turns")


def decided(stage: Running) -> bool:
    return sum(stage.metrics.decisions.values()) > 0

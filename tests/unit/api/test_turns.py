"""Turns and quotas: each caller has its share, and nobody waits for a turn that another does not use."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

import pytest

from wgjit.api.entrance import turns
from wgjit.api.entrance.notices import PERIOD, Notices
from wgjit.api.entrance.quota import Quota
from wgjit.api.entrance.turns import Turns
from wgjit.api.problems import Problem


def test_a_callers_surplus_waits_and_others_go_on() -> None:
    async def main() -> None:
        some, order = Turns(most=3, share=2), list[str]()
        release = asyncio.Event()

        async def work(caller: str) -> None:
            async with some.turn(caller):
                order.append(caller)
                await release.wait()

        tasks = [asyncio.create_task(work("greedy")) for _ in range(5)]
        await asyncio.sleep(0)
        tasks.append(asyncio.create_task(work("other")))
        await asyncio.sleep(0)
        assert order == ["greedy", "greedy", "other"]
        release.set()
        await asyncio.gather(*tasks)
        assert order == ["greedy", "greedy", "other", "greedy", "greedy", "greedy"]
        async with some.turn("greedy"), some.turn("greedy"), some.turn("other"):
            pass  # all of them were given back

    asyncio.run(main())


def test_those_who_wait_are_served_a_turn_a_caller() -> None:
    async def main() -> None:
        some, order = Turns(most=1, share=1), list[str]()

        async def work(caller: str) -> None:
            async with some.turn(caller):
                order.append(caller)
                await asyncio.sleep(0)

        async with some.turn("first"):
            tasks = [asyncio.create_task(work(caller)) for caller in ("a", "a", "a", "b", "c")]
            await asyncio.sleep(0)
        await asyncio.gather(*tasks)
        assert order == ["a", "b", "c", "a", "a"]

    asyncio.run(main())


def test_a_turn_that_ends_is_one_turn_and_no_more() -> None:
    """In all, and for a caller that has others."""

    async def main() -> None:
        for share, second in ((2, "a"), (3, "b"), (2, "b")):
            some, order = Turns(most=3 if share == 2 else 2, share=share), list[int]()
            ends = [asyncio.Event() for _ in range(6)]

            async def work(number: int, caller: str, turns: Turns, order: list[int], ends: list[asyncio.Event]) -> None:
                async with turns.turn(caller):
                    order.append(number)
                    await ends[number].wait()

            callers = ["a", second, "a", "a", "a", "a"]
            tasks = [
                asyncio.create_task(work(number, caller, some, order, ends)) for number, caller in enumerate(callers)
            ]
            await asyncio.sleep(0)
            begun = len(order)
            for number in range(3):
                ends[order[number]].set()
                for _ in range(5):
                    await asyncio.sleep(0)
                free = number + 1 if second == "a" or share == 3 else None
                assert free is None or len(order) == begun + free
                assert some._total <= some._most
                assert all(count <= share for count in some._running.values())
            for end in ends:
                end.set()
            await asyncio.gather(*tasks)
            assert (some._total, dict(some._running), dict(some._waiting)) == (0, {}, {})

    asyncio.run(main())


def test_who_waits_too_long_is_told_and_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "PATIENCE", 0.01)

    async def main() -> None:
        some = Turns(most=1, share=1)
        async with some.turn("a"):
            for caller in ("a", "b"):
                with pytest.raises(Problem) as refused:
                    async with some.turn(caller):
                        pytest.fail("there is no room")
                assert refused.value.kind.status == 503
                assert "Retry-After" in (refused.value.headers or {})
        async with some.turn("b"):
            pass

    asyncio.run(main())


def test_who_gives_up_while_it_waits_takes_nothing() -> None:
    async def main() -> None:
        some = Turns(most=1, share=1)

        async def work() -> None:
            async with some.turn("a"):
                pass

        async with some.turn("b"):
            task = asyncio.create_task(work())
            await asyncio.sleep(0)
        task.cancel()  # its turn has just been given to it
        await asyncio.gather(task, return_exceptions=True)
        async with some.turn("c"):
            pass

    asyncio.run(main())


def test_a_quota_has_a_share_for_each_and_keeps_some_for_those_who_come_first() -> None:
    some = Quota("things", most=6, kept=2)
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(some.place("a", 3, comes_first=False))
        with pytest.raises(Problem, match="you have 3 things open"):
            some.place("a", 3, comes_first=False).__enter__()
        stack.enter_context(some.place("b", 3, comes_first=False))
        with pytest.raises(Problem, match="as many things are open as may be"):
            some.place("b", 3, comes_first=False).__enter__()
        for _ in range(2):
            stack.enter_context(some.place("gateway", 3, comes_first=True))
        with pytest.raises(Problem):
            some.place("gateway", 3, comes_first=True).__enter__()
        assert (some.total, some.refused) == (6, 3)
    assert some.total == 0


def test_a_place_that_is_given_back_is_one_place_and_no_more() -> None:
    some = Quota("things", most=6, kept=2)
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(some.place("a", 3, comes_first=False))
        with some.place("a", 3, comes_first=False), pytest.raises(Problem):
            some.place("a", 3, comes_first=False).__enter__()
        stack.enter_context(some.place("a", 3, comes_first=False))
        with pytest.raises(Problem, match="you have 3"):
            some.place("a", 3, comes_first=False).__enter__()
        stack.enter_context(some.place("b", 3, comes_first=False))
        with pytest.raises(Problem, match="as many"):
            some.place("b", 3, comes_first=False).__enter__()
    assert not some._open, "callers that have none are not remembered"


def test_trouble_is_told_once_and_then_counted(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    some = Notices(lambda: now)
    for _ in range(1000):
        some.tell("trouble", 2, source="somewhere")
    now = PERIOD
    some.tell("trouble", 2, source="somewhere")
    some.tell("another")
    told = capsys.readouterr().out.splitlines()
    assert len([line for line in told if "trouble" in line]) == 3
    assert "not_told_before" in told[2]
    assert "998" in told[2]
    assert some.counts == {"trouble": 1001, "another": 1}

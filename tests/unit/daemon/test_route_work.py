"""Routes in the loop: what the core wants comes into the kernel, and stays there whatever others do."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from functools import wraps
from typing import Any, ParamSpec

import pytest

from tests.contracts.routes import route
from tests.fakes.routes import FakeRoutes
from tests.unit.daemon.conftest import running, until
from wgjit.core.settings import RouteRule
from wgjit.core.vocabulary.commands import PutRoutes, RoutesKnown, TakeRoutes
from wgjit.daemon.effects import route_work
from wgjit.daemon.effects.route_work import RouteWork
from wgjit.daemon.faults import Faults
from wgjit.daemon.metrics import Metrics
from wgjit.drivers.base import Route, RouteChange
from wgjit.model import AllowedIP

P = ParamSpec("P")


def in_loop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run an async test."""

    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(asyncio.wait_for(test(*args, **kwargs), 120))

    return run


def prefix(text: str) -> AllowedIP:
    return ipaddress.ip_network(text)


def put(*texts: str, metric: int = 1) -> PutRoutes:
    return PutRoutes(tuple((prefix(text), metric) for text in texts))


def take(*texts: str) -> TakeRoutes:
    return TakeRoutes(tuple(map(prefix, texts)))


class Bench:
    """The work over a kernel in memory."""

    def __init__(self, *left: Route) -> None:
        self.kernel = FakeRoutes()
        self.kernel.routes.update(dict.fromkeys(left))
        self.metrics = Metrics()
        self.work = RouteWork(self.kernel, Faults(self.metrics))

    def has(self, *routes: Route) -> bool:
        return set(self.kernel.routes) == set(routes)

    def status(self) -> dict[str, int]:
        found = self.work.status(0)
        assert found is not None
        return found

    async def idle(self) -> None:
        """Wait until there is nothing to do."""
        await until(lambda: self.work._is_read and self.status()["waiting"] == 0 and self.work._touched is None)


@asynccontextmanager
async def bench(*left: Route, kept: Iterable[str] = (), known: bool = True) -> AsyncIterator[Bench]:
    one = Bench(*left)
    loop = asyncio.get_running_loop()
    one.work.begin(loop)
    if known:
        one.work.known(RoutesKnown(tuple(map(prefix, kept))))
    try:
        yield one
    finally:
        one.work.end(loop)
        one.kernel.close()


ONE, TWO, SIX = route("10.8.0.1/32"), route("10.8.0.2/32"), route("fd08::1/128")


@in_loop
async def test_what_is_wanted_comes_and_goes() -> None:
    async with bench() as it:
        it.work.put(put("10.8.0.1/32", "fd08::1/128"))
        await until(lambda: it.has(ONE, SIX))
        it.work.take(take("10.8.0.1/32"))
        await until(lambda: it.has(SIX))
        assert it.status() | {"dumps": 0} == {
            "wanted": 1, "there": 1, "waiting": 0, "failing": 0, "left_out": 0, "put": 2, "taken": 1, "put_back": 0,
            "dumps": 0,
        }  # fmt: skip


@in_loop
async def test_what_is_to_go_can_go_at_once() -> None:
    async with bench() as it:
        it.work.put(put("10.8.0.1/32", "10.8.0.2/32"))
        await it.idle()
        it.work.take(take("10.8.0.1/32"))
        it.work.take_now()
        assert it.has(TWO)
        it.work.take_now()
        await it.idle()
        assert it.has(TWO)


@in_loop
async def test_it_can_go_at_once_before_it_is_known_what_is_there() -> None:
    async with bench(ONE._replace(metric=9), TWO) as it:
        it.work.put(put("10.8.0.1/32", "10.8.0.2/32"))
        it.work.take(take("10.8.0.1/32"))
        it.work.take_now()
        assert it.has(TWO)
        await it.idle()
        assert it.has(TWO)


@in_loop
async def test_taken_and_put_again_before_anything_is_done() -> None:
    async with bench() as it:
        it.work.put(put("10.8.0.1/32"))
        await it.idle()
        it.work.take(take("10.8.0.1/32"))
        it.work.put(put("10.8.0.1/32"))
        it.work.take_now()
        await it.idle()
        assert it.has(ONE)
        assert it.status()["taken"] == 0


@in_loop
async def test_another_metric_comes_before_the_old_one_goes() -> None:
    async with bench() as it:
        it.work.put(put("10.8.0.1/32", metric=50))
        await it.idle()
        it.work.put(put("10.8.0.1/32", metric=40))
        await it.idle()
        old, new = ONE._replace(metric=50), ONE._replace(metric=40)
        assert it.has(new)
        assert it.kernel.calls[-1] == [RouteChange(new, put=True), RouteChange(old, put=False)]


@in_loop
async def test_many_are_changed_in_small_batches() -> None:
    async with bench() as it:
        it.work.put(put(*(f"10.8.{number >> 8}.{number & 255}/32" for number in range(1000))))
        await it.idle()
        assert len(it.kernel.routes) == 1000
        assert max(map(len, it.kernel.calls)) == route_work.AT_ONCE


# --- an earlier process ---------------------------------------------------------------------------------------------


@in_loop
async def test_left_overs_go_once_the_residents_are_known_and_not_before() -> None:
    async with bench(ONE, TWO, SIX, known=False) as it:
        it.work.put(put("10.8.0.1/32"))
        await it.idle()
        assert it.has(ONE, TWO, SIX)
        it.work.known(RoutesKnown((prefix("fd08::1/128"),)))
        await until(lambda: it.has(ONE, SIX))
        await it.idle()
        assert it.has(ONE, SIX), "it may be of a resident of whom nothing is known yet"
        assert it.status()["put"] == 0, "what is there is not put in again"
        it.work.take(take("fd08::1/128"))
        await until(lambda: it.has(ONE))


@in_loop
async def test_left_overs_with_other_metrics_are_replaced() -> None:
    async with bench(ONE._replace(metric=7), ONE._replace(metric=9), TWO._replace(metric=7)) as it:
        it.work.put(put("10.8.0.1/32"))
        await until(lambda: it.has(ONE))


# --- what others do -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["flush", "vanish"])
@in_loop
async def test_what_others_take_away_is_put_back(how: str) -> None:
    async with bench() as it:
        it.work.put(put("10.8.0.1/32", "10.8.0.2/32"))
        await it.idle()
        getattr(it.kernel, how)()
        await until(lambda: it.has(ONE, TWO))
        assert it.status()["put_back"] == 2
        assert it.metrics.faults["routes_lost"] == 1


@in_loop
async def test_what_is_lost_and_then_taken_is_not_put_back() -> None:
    async with bench() as it:
        it.work.put(put("10.8.0.1/32"))
        await it.idle()
        it.kernel.flush()
        await until(lambda: it.metrics.faults["routes_lost"] == 1)
        it.work.take(take("10.8.0.1/32"))
        await it.idle()
        assert it.has()


@in_loop
async def test_a_program_that_flushes_again_and_again_is_met_less_eagerly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(route_work, "EAGER", 0.01)
    async with bench() as it:
        it.work.put(put("10.8.0.1/32"))
        await it.idle()
        pauses = []
        for _ in range(4):
            it.kernel.flush()
            await until(lambda: it.has(ONE))
            pauses.append(it.work._pause)
        assert pauses == [0.01, 0.02, 0.04, 0.08]


@in_loop
async def test_an_interface_that_goes_down_and_up() -> None:
    async with bench() as it:
        it.work.put(put("10.8.0.1/32"))
        await it.idle()
        it.kernel.set_down()
        await until(lambda: it.status()["failing"] == 1)
        it.work.put(put("10.8.0.2/32"))
        await until(lambda: it.status()["failing"] == 2)
        it.kernel.set_up()
        await until(lambda: it.has(ONE, TWO))
        assert it.status()["failing"] == 0


@in_loop
async def test_a_route_in_the_way_is_told_and_tried_again() -> None:
    async with bench() as it:
        it.kernel.replace(ONE)
        it.work.put(put("10.8.0.1/32", "10.8.0.2/32"))
        await it.idle()
        assert it.has(TWO)
        assert it.metrics.faults["routes"] == 1
        it.work.beat()
        await it.idle()
        assert it.metrics.faults["routes"] == 2
        it.kernel.give_way(ONE)
        it.work.beat()
        await until(lambda: it.has(ONE, TWO))


@in_loop
async def test_a_kernel_that_fails_is_asked_again() -> None:
    async with bench() as it:
        await it.idle()
        it.kernel.broken = True
        it.work.put(put("10.8.0.1/32"))
        await until(lambda: it.status()["failing"] == 1)
        assert it.metrics.faults["routes"] == 1
        it.kernel.broken = False
        it.work.beat()
        await until(lambda: it.has(ONE))


@in_loop
async def test_changes_during_a_dump_are_not_undone() -> None:
    many = [route(f"10.8.{number >> 8}.{number & 255}/32") for number in range(500)]
    async with bench(*many) as it:
        it.work.put(put(*(f"10.8.{number >> 8}.{number & 255}/32" for number in range(500))))
        await it.idle()
        it.work._look()
        for _ in range(1000):
            if it.kernel.dumps == 2:
                break
            await asyncio.sleep(0)
        it.work.take(take("10.8.0.1/32"))  # the dump has shown it
        it.work.put(put("fd08::1/128"))  # the dump does not show it
        await it.idle()
        assert set(it.kernel.routes) == {*many, SIX} - {ONE}
        assert it.status()["put_back"] == 0


@in_loop
async def test_a_failed_dump_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    async with bench(TWO) as it:
        await it.idle()
        it.kernel.broken = True
        it.work._look()
        await until(lambda: it.metrics.faults["routes"] == 1)
        it.kernel.broken = False
        it.kernel.routes[ONE] = None
        await until(lambda: it.has())


# --- with the loop --------------------------------------------------------------------------------------------------


@in_loop
async def test_a_connect_puts_a_route_and_status_shows_it() -> None:
    async with running(routes=RouteRule()) as stage:
        stage.knock()
        await stage.told()
        assert stage.routes is not None
        await until(lambda: len(stage.routes.routes) == 1)
        status = (await stage.loop.status(stage.about)).routes
        assert status is not None
        assert (status["wanted"], status["there"]) == (1, 1)


@in_loop
async def test_a_route_has_gone_when_its_peers_addresses_go() -> None:
    async with running(routes=RouteRule()) as stage:
        stage.knock()
        await stage.told()
        kernel = stage.routes
        await until(lambda: len(kernel.routes) == 1)
        seen: list[int] = []
        apply = stage.device.apply
        stage.device.apply = lambda changes: (seen.append(len(kernel.routes)), apply(changes))[1]  # type: ignore[method-assign]
        stage.store.remove(stage.clients[0].key)
        await until(lambda: not kernel.routes)
        await until(lambda: bool(seen))
        assert seen[0] == 0


@in_loop
async def test_without_routes_nothing_is_shown() -> None:
    async with running() as stage:
        assert (await stage.loop.status(stage.about)).routes is None

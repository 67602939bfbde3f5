"""Brings the kernel's routes in line with what the core wants, and keeps them so.

    PutRoutes, TakeRoutes ─┐
    news: lost             ├─▶ to do ── a few at a time, between packets ──▶ kernel
    a dump: lost, left over┘

The core says what is wanted, this module knows what is there. All work is the difference of both. So nothing has an
order to keep, what fails is tried again, and a dump can always repair what was missed.

Routes that a killed daemon has left stay until the residents are known (RoutesKnown); then those that nobody wants go.
Where another program flushes routes they are put back, less and less eagerly if it goes on.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Any

from wgjit.core.vocabulary.commands import PutRoutes, RoutesKnown, TakeRoutes
from wgjit.daemon.faults import Faults
from wgjit.drivers.base import Route, RouteChange, Routes
from wgjit.errors import RouteError
from wgjit.model import AllowedIP

AT_ONCE = 32
"""Most routes changed in one turn of the loop: some 0.2 ms, for which a packet may wait."""

PART = 512
"""Most routes that are only compared in one turn of the loop: as long."""

RETRY = 64
"""Most failed routes that are tried again each second."""

AUDIT = 300.0
"""Seconds between two dumps for no reason. The kernel does not tell of all routes that it takes away."""

EAGER, RELUCTANT = 0.1, 10.0
"""Seconds until lost routes are put back: at first, and at most. It doubles with each time they are lost again."""

CALM = 60.0
"""Seconds without a lost route after which the next one is put back eagerly again."""

_Destination = tuple[bytes, int]
_KEPT = 0
"""In place of a wanted metric: whatever an earlier process has put there stays."""

_ANY = 0
"""In place of a metric: to take away a route whatever its metric is."""


class RouteWork:
    """The routes of one gateway. Without a driver it does nothing."""

    def __init__(self, routes: Routes | None, faults: Faults) -> None:
        self._routes = routes
        self._faults = faults
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wanted: dict[_Destination, int] = {}
        self._there: dict[_Destination, int | tuple[int, ...]] = {}
        """The metric of our route for each destination; several if routes of an earlier process have others."""
        self._takes: dict[_Destination, None] = {}
        self._todo: dict[_Destination, None] = {}
        self._failed: dict[_Destination, None] = {}
        self._lost: dict[_Destination, None] = {}
        self._known = False
        self._is_read = False
        """A dump has been made, or has failed. Before, it is not known what is there."""
        self._scheduled = False
        self._pause = EAGER
        self._last_loss = float("-inf")
        self._putting_back: asyncio.TimerHandle | None = None
        self._dump: asyncio.Task[None] | None = None
        self._again = False
        """Another dump is needed after the one that is being made."""
        self._touched: set[_Destination] | None = None
        """Destinations that have changed since the running dump began: it may show them before or after."""
        self._audit_at = time.monotonic() + AUDIT
        self._counts: Counter[str] = Counter()

    # --- start and end ------------------------------------------------------------------------------------------

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Work on this loop, from now on."""
        self._loop = loop
        if self._routes is not None:
            loop.add_reader(self._routes.fileno(), self._news)
            self._look()

    def end(self, loop: asyncio.AbstractEventLoop) -> None:
        """Stop working. What the core wanted last is done first, if it is not much; all routes stay."""
        if self._routes is None or self._loop is None:
            return
        loop.remove_reader(self._routes.fileno())
        for timer in (self._putting_back, self._dump):
            if timer is not None:
                timer.cancel()
        self.take_now()
        self._loop = None

    # --- what the core wants ------------------------------------------------------------------------------------

    def put(self, command: PutRoutes) -> None:
        """Have these routes, soon."""
        if self._routes is None:
            return
        for prefix, metric in command.routes:
            destination = _destination(prefix)
            self._wanted[destination] = metric
            self._takes.pop(destination, None)
            self._mark(destination)
        self._schedule()

    def take(self, command: TakeRoutes) -> None:
        """Have these routes no more, at the latest after the next `take_now`."""
        if self._routes is None:
            return
        for prefix in command.prefixes:
            destination = _destination(prefix)
            self._wanted.pop(destination, None)
            self._takes[destination] = None
            self._mark(destination)
        self._schedule()

    def take_now(self) -> None:
        """Take away what is to be taken: its peer is about to go."""
        if not self._takes:
            return
        takes, self._takes = self._takes, {}
        self._do(takes)

    def known(self, command: RoutesKnown) -> None:
        """The residents are known: take away what an earlier process has left, but for what is kept."""
        if self._routes is None:
            return
        for prefix in command.kept:
            self._wanted.setdefault(_destination(prefix), _KEPT)
        self._known = True
        self._todo.update(dict.fromkeys(self._there))
        self._schedule()

    def _mark(self, destination: _Destination) -> None:
        self._todo[destination] = None

    # --- changes ------------------------------------------------------------------------------------------------

    def _schedule(self) -> None:
        if self._todo and self._is_read and not self._scheduled and self._loop is not None:
            self._scheduled = True
            self._loop.call_soon(self._do_some)

    def _do_some(self) -> None:
        self._scheduled = False
        if self._loop is not None:
            self._do(dict.fromkeys(islice(self._todo, AT_ONCE)))
            self._schedule()  # packets that wait come first

    def _do(self, destinations: dict[_Destination, None]) -> None:
        """Bring these destinations in line."""
        assert self._routes is not None
        changes: list[RouteChange] = []
        for destination in destinations:
            self._todo.pop(destination, None)
            self._takes.pop(destination, None)
            self._failed.pop(destination, None)
            changes += self._difference(destination)
        if not changes:
            return
        if self._touched is not None:
            self._touched.update(change.route[:2] for change in changes)
        try:
            failed = self._routes.apply(changes)
        except Exception as error:
            self._faults.occurred("routes", error)
            self._failed.update(dict.fromkeys(destinations))
            return
        for change in changes:
            if (trouble := failed.get(change)) is None:
                self._counts["put" if change.put else "taken"] += 1
                self._note(change)
            else:
                self._failed[change.route[:2]] = None
                self._faults.occurred("routes", trouble)

    def _difference(self, destination: _Destination) -> Iterator[RouteChange]:
        """What is to be changed: first put, then take, so that there is no moment without a route."""
        wanted, there = self._wanted.get(destination), self._metrics(destination)
        if wanted == _KEPT or (wanted is None and not self._known):
            return
        if wanted is None and not self._is_read:
            there = (_ANY,)
        if wanted is not None and wanted not in there:
            yield RouteChange(Route(*destination, wanted), put=True)
        for metric in there:
            if metric != wanted:
                yield RouteChange(Route(*destination, metric), put=False)

    def _metrics(self, destination: _Destination) -> tuple[int, ...]:
        there = self._there.get(destination, ())
        return there if isinstance(there, tuple) else (there,)

    def _note(self, change: RouteChange) -> None:
        """The kernel has made this change."""
        destination, metric = change.route[:2], change.route.metric
        others = tuple(other for other in self._metrics(destination) if other != metric)
        self._set_there(destination, (*others, metric) if change.put else others)

    def _set_there(self, destination: _Destination, metrics: tuple[int, ...]) -> None:
        if not metrics:
            self._there.pop(destination, None)
        else:
            self._there[destination] = metrics[0] if len(metrics) == 1 else metrics

    # --- what others do -----------------------------------------------------------------------------------------

    def _news(self) -> None:
        assert self._routes is not None
        try:
            news = self._routes.read()
        except Exception as error:
            self._faults.occurred("routes", error)
            return
        for route in news.lost:
            self._is_lost(route)
        if news.unsure:
            self._look()

    def _is_lost(self, route: Route) -> None:
        destination = route[:2]
        there = self._metrics(destination)
        if route.metric not in there:
            return
        self._set_there(destination, tuple(metric for metric in there if metric != route.metric))
        if self._touched is not None:
            self._touched.add(destination)
        if self._wanted.get(destination) == route.metric:
            self._put_back(destination)

    def _put_back(self, destination: _Destination) -> None:
        """Somebody has taken a route away that is wanted. Put it back, with others, after a pause."""
        assert self._loop is not None
        self._lost[destination] = None
        if self._putting_back is not None:
            return
        now = time.monotonic()
        self._pause = EAGER if now - self._last_loss > CALM else min(2 * self._pause, RELUCTANT)
        self._last_loss = now
        self._faults.occurred(
            "routes_lost",
            RouteError(
                "routes of residents were taken away, by another program or because the interface went down",
                advice="they are put back; if it happens again and again, let that program leave them alone",
            ),
        )
        self._putting_back = self._loop.call_later(self._pause, self._put_lost)

    def _put_lost(self) -> None:
        assert self._loop is not None
        for destination in list(islice(self._lost, PART)):
            del self._lost[destination]
            if destination in self._wanted and destination not in self._there:
                self._counts["put_back"] += 1
                self._mark(destination)
        self._putting_back = self._loop.call_later(0.0, self._put_lost) if self._lost else None
        self._schedule()

    # --- a dump -------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Compare with what the kernel has, now or after the dump that is being made."""
        assert self._loop is not None
        if self._dump is not None and not self._dump.done():
            self._again = True
            return
        self._dump = self._loop.create_task(self._compare())

    async def _compare(self) -> None:
        assert self._routes is not None
        self._audit_at = time.monotonic() + AUDIT
        self._again = False
        self._touched = set()
        seen: dict[_Destination, int | tuple[int, ...]] = {}
        try:
            for part in self._routes.dump():
                for address, length, metric in part:
                    destination = (address, length)
                    before = seen.get(destination)
                    if before is None:
                        seen[destination] = metric
                    else:
                        seen[destination] = (*(before if isinstance(before, tuple) else (before,)), metric)
                await asyncio.sleep(0)  # packets that wait come first
        except Exception as error:
            self._faults.occurred("routes", error)
            self._is_read = self._again = True
        else:
            self._counts["dumps"] += 1
            self._is_read = True
            await self._compare_with(seen)
        finally:
            self._touched = None
        self._schedule()
        if self._again and self._loop is not None:
            self._loop.call_later(1.0, self._look_again)

    def _look_again(self) -> None:
        if self._loop is not None:
            self._look()

    async def _compare_with(self, seen: dict[_Destination, int | tuple[int, ...]]) -> None:
        """Take over what the dump has shown; put back what is lost, take away what is left over."""
        assert self._touched is not None
        for step, destination in enumerate([*self._there]):
            if destination not in seen and destination not in self._touched:
                self._there.pop(destination, None)
                if destination in self._wanted:
                    self._put_back(destination)
            if step % PART == PART - 1:
                await asyncio.sleep(0)
        for step, (destination, metrics) in enumerate(seen.items()):
            if destination not in self._touched:
                before = self._there.get(destination)
                if before != metrics:
                    self._there[destination] = metrics
                wanted = self._wanted.get(destination)
                if metrics != wanted and (wanted or (wanted is None and self._known)):
                    self._todo[destination] = None
            if step % PART == PART - 1:
                await asyncio.sleep(0)
        self._todo.update(self._failed)  # what was in their way may be gone

    # --- each second --------------------------------------------------------------------------------------------

    def beat(self) -> None:
        """Try failed routes again, and look at the kernel's routes from time to time. Called every second."""
        if self._routes is None or self._loop is None:
            return
        for destination in list(islice(self._failed, RETRY)):
            self._mark(destination)
        if time.monotonic() >= self._audit_at:
            self._look()
        self._schedule()
        if not self._failed:
            self._faults.passed("routes")
        if time.monotonic() - self._last_loss > CALM:
            self._faults.passed("routes_lost")

    def status(self, left_out: int) -> dict[str, Any] | None:
        """The numbers that `wgjit status` shows; None without routes. `left_out`: prefixes that get no route."""
        if self._routes is None:
            return None
        return {
            "wanted": sum(1 for metric in self._wanted.values() if metric != _KEPT),
            "there": len(self._there),
            "waiting": len(self._todo) + len(self._lost),
            "failing": len(self._failed),
            "left_out": left_out,
            "put": self._counts["put"],
            "taken": self._counts["taken"],
            "put_back": self._counts["put_back"],
            "dumps": self._counts["dumps"],
        }


def _destination(prefix: AllowedIP) -> _Destination:
    return prefix.network_address.packed, prefix.prefixlen

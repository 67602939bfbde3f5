"""The requests to a remote registry: one a key at a time, within the budget, and one a second while it counts as down.

A caller may stop waiting for an answer, and the request goes on. All methods belong to the store's event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable

import structlog

from wgjit.errors import StoreError, StoreThrottled, StoreUnreachable
from wgjit.model import PublicKey, Registration
from wgjit.stores.remote.answer import Answer
from wgjit.stores.remote.breaker import Breaker
from wgjit.stores.remote.cached_answer import CachedAnswer
from wgjit.stores.remote.client import CONNECTIONS, RegistryClient
from wgjit.stores.remote.renewal import Renewal
from wgjit.stores.remote.request_budget import RequestBudget

log = structlog.get_logger()

AT_ONCE = 64
"""Greatest number of requests under way."""

RENEWING = CONNECTIONS // 2
"""Greatest number of them that are not for knocks: half of the connections are kept for knocks."""

TURN = 0.05
"""Seconds after which a request that gave way to knocks tries again."""

LONGEST_PAUSE = 1.0
"""Greatest time between two questions for a peer that changes while the service is asked for it, seconds."""

PEACE = 1.0
"""Seconds without requests after a 429 without Retry-After."""

Take = Callable[[PublicKey, CachedAnswer | None, Answer, float], Registration | None]
"""Takes an answer: the key, the known answer, the new answer, and when it was asked for (Unix seconds)."""


class Unanswered(Exception):
    """The service gave no answer. The known answer may be used instead."""

    def __init__(self, why: StoreError) -> None:
        super().__init__(str(why))
        self.why = why


class _KnocksFirst(Exception):
    """No request may go out just now, except for a knock."""


class _Flight:
    """A request under way. `outdated`: an event named its key since the request was sent."""

    __slots__ = ("for_knock", "outdated", "task")

    def __init__(self, *, for_knock: bool) -> None:
        self.for_knock = for_knock
        self.outdated = False
        self.task: asyncio.Task[Registration | None] | None = None


class Requests:
    """See the head of this file."""

    def __init__(
        self, url: str, rate: float, client: RegistryClient, renewal: Renewal, figures: Counter[str], take: Take
    ) -> None:
        """`rate`: requests a second at most. Failures are noted in `renewal`, and requests are counted in `figures`."""
        self._url, self._configured = url, rate
        self._client = client
        self._renewal = renewal
        self._figures = figures
        self._take = take
        self._budget = RequestBudget(rate)
        self._breaker = Breaker()
        self._flights: dict[PublicKey, _Flight] = {}
        self._is_told = False

    @property
    def service_is_down(self) -> bool:
        """Whether the service counts as down."""
        return self._breaker.is_down

    def has(self, key: PublicKey) -> bool:
        """Whether a request for this key is under way."""
        return key in self._flights

    def outdate(self, key: PublicKey) -> None:
        """Note that an event named this key. An answer under way may be older, so the key is asked for again."""
        if (flight := self._flights.get(key)) is not None:
            flight.outdated = True

    def outdate_all(self) -> None:
        """Note that any key may have changed."""
        for flight in self._flights.values():
            flight.outdated = True

    async def begin(
        self, key: PublicKey, entry: CachedAnswer | None, *, for_knock: bool
    ) -> asyncio.Task[Registration | None]:
        """The request for this key. A request without a knock waits for its turn. Raises Unanswered if none may go out.

        `entry` is the known answer for the key. The task raises Unanswered, or StoreError for an answer that cannot be
        used.
        """
        while True:
            try:
                return self._request(key, entry, for_knock=for_knock)
            except _KnocksFirst:
                await asyncio.sleep(TURN)

    def _request(
        self, key: PublicKey, entry: CachedAnswer | None, *, for_knock: bool
    ) -> asyncio.Task[Registration | None]:
        if (flight := self._flights.get(key)) is not None and flight.task is not None:
            return flight.task
        now = time.monotonic()
        if not for_knock and sum(not flight.for_knock for flight in self._flights.values()) >= RENEWING:
            raise _KnocksFirst
        if len(self._flights) >= AT_ONCE:
            raise Unanswered(StoreError(f"store.url: {AT_ONCE} requests are under way; the service is too slow"))
        if self._breaker.is_down and not self._breaker.may_ask(now):
            raise Unanswered(StoreUnreachable(f"{self._breaker.why} (the last of several failures)"))
        if not self._budget.take(now, for_knock=for_knock):
            if not for_knock:
                raise _KnocksFirst
            whose = "; the service allows no more" if self._budget.rate < self._configured else ""
            raise Unanswered(StoreError(f"store.url: {self._budget.rate:.3g} requests a second are used up{whose}"))
        flight = self._flights[key] = _Flight(for_knock=for_knock)
        flight.task = asyncio.get_running_loop().create_task(self._fly(key, entry, flight))
        flight.task.add_done_callback(_look_at)
        return flight.task

    async def _fly(self, key: PublicKey, entry: CachedAnswer | None, flight: _Flight) -> Registration | None:
        pause = TURN
        try:
            while True:
                flight.outdated = False
                asked_at = time.time()
                answer = await self._ask(key, entry)
                if not flight.outdated:
                    return self._take(key, entry, answer, asked_at)
                await asyncio.sleep(pause)  # the peer is changing just now, and may change again
                pause = min(LONGEST_PAUSE, 2 * pause)
        finally:
            del self._flights[key]

    async def _ask(self, key: PublicKey, entry: CachedAnswer | None) -> Answer:
        self._figures["requests"] += 1
        try:
            answer = await self._client.ask(key, entry.etag if entry is not None else None)
        except StoreThrottled as error:  # the service works
            self._breaker.succeeded()
            self._slow_down(error)
            raise Unanswered(error) from None
        except StoreUnreachable as error:
            self._figures["failures"] += 1
            now = time.monotonic()
            self._renewal.failed(key, now, error)
            self._breaker.failed(now, str(error), error.retry_after)
            raise Unanswered(error) from None
        except StoreError as error:
            self._breaker.succeeded()
            self._renewal.failed(key, time.monotonic(), error)
            raise
        self._breaker.succeeded()
        return answer

    def _slow_down(self, error: StoreThrottled) -> None:
        """Ask less from now on. A warning is logged once, until the rate is back at the configured rate."""
        self._figures["throttled"] += 1
        if self._budget.rate >= self._configured:
            self._is_told = False
        peace = PEACE if error.retry_after is None else error.retry_after
        if self._budget.slow_down(time.monotonic(), peace) and not self._is_told:
            self._is_told = True
            log.warning(
                "the registry allows fewer requests than a gateway may send; until that has settled, knocks may be "
                "refused with store_failed. Allow this token as many, or give each gateway a token of its own",
                url=self._url,
                requests=self._configured,
            )


def _look_at(task: asyncio.Task[Registration | None]) -> None:
    """Fetch the task's error, so that asyncio does not report it if no caller waits any more."""
    if not task.cancelled():
        task.exception()

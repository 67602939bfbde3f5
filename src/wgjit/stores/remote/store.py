"""A remote registry: a service of the operator, which is asked for each key over HTTP. docs/REMOTE.md

    lookup ─ unknown lately? ─ fresh in the cache? ─ one request per key ─ waits `timeout` ─┬─ the answer
                                                                                            └─ a stale one, or an error

The requests and the event stream belong to an event loop on a thread of its own. Any thread may look up. A request goes
on after a lookup has stopped waiting for it, so that the client's next try finds its answer.

Changes, found by an event or by a repeated question, are kept as a change log. The log begins with each process. A
gateway that follows it looks up all peers that matter to it at its start anyway.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import structlog

from wgjit.errors import StoreDeferred, StoreError, StoreUnreachable
from wgjit.model import AllowedIP, Change, ChangeKind, Claim, Peer, PublicKey, Registration, Removed
from wgjit.stores.base import Fleet
from wgjit.stores.remote.answer import Absent, Answer, Found
from wgjit.stores.remote.cache import AnswerCache
from wgjit.stores.remote.cached_answer import CachedAnswer, lives
from wgjit.stores.remote.client import RegistryClient
from wgjit.stores.remote.events import EventStream, Following
from wgjit.stores.remote.negatives import NEGATIVE_TIME_TO_LIVE, NEGATIVES, Negatives
from wgjit.stores.remote.renewal import Renewal
from wgjit.stores.remote.request_budget import REQUESTS
from wgjit.stores.remote.requests import Requests, Unanswered

log = structlog.get_logger()

ROUND = 1.0
"""Seconds between two searches for old answers."""

PRUNE = 60
"""Rounds between two prunings of the cache."""

LOG = 100_000
"""Greatest number of remembered changes."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How the service is asked; `config.StoreSettings` explains each field. Durations in seconds."""

    url: str
    token_file: Path | None
    ca_file: Path | None
    timeout: float
    time_to_live: float
    stale: float
    follow: bool
    negative_time_to_live: float = NEGATIVE_TIME_TO_LIVE
    negatives: int = NEGATIVES
    requests: float = REQUESTS


class RemoteStore:
    """Implements `wgjit.stores.base.Store` with a service; see the head of this file."""

    is_local = False
    fleet: Fleet | None = None

    def __init__(self, terms: Terms, cache: Path) -> None:
        """`cache`: the path of the cache's own file. Raises ConfigError if the token's or the CA file is unusable."""
        self._terms = terms
        self._client = RegistryClient(terms.url, token_file=terms.token_file, ca_file=terms.ca_file)
        self._cache = AnswerCache(cache, terms.url)
        self._negatives = Negatives(terms.negative_time_to_live, terms.negatives)
        self._figures: Counter[str] = Counter()
        self._renewal = Renewal()
        self._waiting: deque[PublicKey] = deque()  # keys to ask for again
        self._requests = Requests(terms.url, terms.requests, self._client, self._renewal, self._figures, self._take)
        self._lock = threading.Lock()  # negatives, log, concerned
        self._log: deque[Change] = deque(maxlen=LOG)
        self._sequence = 0
        self._concerned: Callable[[], Collection[PublicKey]] = tuple
        self._not_before = min(float(self._cache.mark("not_before") or 0), time.time())
        self._stream_is_broken = False
        self._stream = EventStream(self._client, self, self._cache.mark("last_event")) if terms.follow else None
        self._loop = asyncio.new_event_loop()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="wgjit-remote", daemon=True)
        self._thread.start()

    # --- Store ------------------------------------------------------------------------------------------------

    def lookup(self, key: PublicKey, *, for_knock: bool = True) -> Registration | None:
        """As `Store.lookup`. Waits `timeout` at most. Raises StoreError."""
        entry = self._known(key)
        return self._registration(entry) if entry is not None else self._call(self._answer(key, for_knock=for_knock))

    def _known(self, key: PublicKey) -> CachedAnswer | None:
        """The answer that counts without asking; None if the service must be asked."""
        with self._lock:
            if self._negatives.has(key, time.monotonic()):
                self._figures["hits"] += 1
                return CachedAnswer(key, None, None, 0.0, 0.0)
        entry = self._cache.get(key)
        if entry is None or not self._is_fresh(entry):
            return None
        self._figures["hits"] += 1
        return entry

    def _is_fresh(self, entry: CachedAnswer) -> bool:
        now = time.time()
        self._not_before = min(self._not_before, now)  # a clock that was set back must not make all answers old
        return entry.is_fresh(now, self._not_before)

    def former(self, key: PublicKey) -> Removed | None:
        """As far as this gateway's cache knows: a peer that the service knew, and has removed since."""
        entry = self._cache.get(key)
        if entry is None or entry.peer is not None or not entry.is_valid:
            return None
        return Removed(key, self._cache.claim(key))

    def identity(self) -> bytes:
        """The address of the service, which does not change while a gateway runs."""
        return self._terms.url.encode()

    def save_claims(self, claims: Sequence[Claim]) -> None:
        self._cache.save_claims(claims)

    def last_change(self) -> int:
        return self._sequence

    def changes(self, after: int, limit: int = 1000) -> list[Change]:
        with self._lock:
            return [change for change in self._log if change.sequence > after][:limit]

    def addresses_version(self) -> int:
        return 0

    def cover(self, within: Collection[AllowedIP], limit: int) -> None:
        """None, since a service tells only of one key at a time."""

    def pinned(self, after: PublicKey | None = None, limit: int = 10_000) -> list[PublicKey]:
        """Those in the cache, also of an earlier process: a service tells only of one key at a time."""
        return self._cache.pinned(after, limit)

    def pinned_version(self) -> int:
        return self._cache.pinned_version

    def keep_fresh(self, concerned: Callable[[], Collection[PublicKey]]) -> None:
        """Renew the answers for these keys. Changes of their peers then appear in the log."""
        self._concerned = concerned

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._cache.close()

    def figures(self) -> dict[str, Any]:
        """Figures for people: how often the service was asked, and its state."""
        stream = self._stream.following if self._stream else Following.NO
        return {
            "requests": self._figures["requests"],
            "failures": self._figures["failures"],
            "hits": self._figures["hits"],
            "stale_answers": self._figures["stale"],
            "throttled": self._figures["throttled"],
            "reachable": not self._requests.service_is_down,
            "following": stream.value,
        }

    # --- asking (on the store's own loop) ---------------------------------------------------------------------

    def _call(self, work: Coroutine[Any, Any, Registration | None]) -> Registration | None:
        if self._closed:
            work.close()
            raise StoreError("store.url: closed")
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(self._terms.timeout + 5.0)

    async def _answer(self, key: PublicKey, *, for_knock: bool) -> Registration | None:
        """Ask, or join a request under way, and wait. Without an answer the known one counts if it is usable."""
        if not self._requests.has(key) and (entry := self._known(key)) is not None:
            return self._registration(entry)  # another lookup has just asked
        try:
            if not for_knock and (lately := self._renewal.failure(key, time.monotonic())) is not None:
                raise Unanswered(lately) if isinstance(lately, StoreUnreachable) else lately
            async with asyncio.timeout(self._terms.timeout):
                request = await self._requests.begin(key, self._cache.get(key), for_knock=for_knock)
                return await asyncio.shield(request)
        except TimeoutError:
            if not for_knock and not self._requests.has(key):
                raise StoreDeferred("store.url: knocks come first") from None
            failure: StoreError = StoreUnreachable(
                f"store.url: no answer from {self._terms.url} within store.timeout, {self._terms.timeout:g} s"
            )
        except Unanswered as error:
            failure = error.why
        known = self._cache.get(key)  # an event may have named the key meanwhile
        if known is not None and known.is_usable(time.time(), self._terms.stale):
            self._figures["stale"] += 1
            return self._registration(known)
        raise failure

    def _take(
        self, key: PublicKey, before: CachedAnswer | None, answer: Answer, asked_at: float
    ) -> Registration | None:
        """Remember an answer. A change that it shows goes into the log."""
        now = time.time()
        match answer:
            case Found(peer, etag, max_age):
                entry = CachedAnswer(key, peer, etag, asked_at, self._lives(peer, now, max_age))
            case Absent():
                if before is None or before.peer is None:
                    with self._lock:
                        self._negatives.add(key, time.monotonic())
                    if before is None:
                        return None
                entry = CachedAnswer(key, None, None, asked_at, self._lives(None, now, None))
            case _:
                assert before is not None  # only an ETag can lead to "unchanged"
                seconds = self._lives(before.peer, now, answer.max_age)
                entry = replace(before, asked_at=asked_at, lives=seconds, is_valid=True)
        self._cache.put(entry)
        self._renewal.answered(key, time.monotonic(), entry.lives)
        if before is not None and before.peer != entry.peer:
            self._changed(key, ChangeKind.UPDATED if entry.peer is not None else ChangeKind.REMOVED)
        return self._registration(entry)

    def _lives(self, peer: Peer | None, now: float, max_age: float | None) -> float:
        terms = self._terms
        followed = self._stream is not None and self._stream.following is Following.YES
        return lives(peer, now, terms.time_to_live, terms.negative_time_to_live, max_age, followed=followed)

    def _registration(self, entry: CachedAnswer) -> Registration | None:
        return None if entry.peer is None else Registration(entry.peer, self._cache.claim(entry.key))

    def _changed(self, key: PublicKey, kind: ChangeKind) -> None:
        with self._lock:
            self._sequence += 1
            self._log.append(Change(self._sequence, kind, key))

    # --- events (see events.Listener) ------------------------------------------------------------------

    def changed(self, key: PublicKey) -> None:
        """This peer was added or updated: ask again."""
        self._spoken_of(key)
        self._cache.invalidate(key)
        self._changed(key, ChangeKind.UPDATED)

    def removed(self, key: PublicKey) -> None:
        """This peer was removed. The service need not be asked."""
        self._spoken_of(key)
        self._cache.put(CachedAnswer(key, None, None, time.time(), self._terms.negative_time_to_live))
        self._changed(key, ChangeKind.REMOVED)

    def _spoken_of(self, key: PublicKey) -> None:
        self._requests.outdate(key)
        self._renewal.spoken_of(key)
        with self._lock:
            self._negatives.forget(key)

    def all_may_have_changed(self) -> None:
        """Events were missed, so no older answer counts as fresh."""
        self._requests.outdate_all()
        self._not_before = time.time()
        self._cache.remember("not_before", repr(self._not_before))
        self._renewal.all_spoken_of()
        with self._lock:
            self._negatives.clear()

    def stream_opened(self) -> None:
        """The service can be reached. This is logged if the stream was reported as broken."""
        if self._stream_is_broken:
            self._stream_is_broken = False
            log.info("the registry's event stream is followed again", url=self._terms.url)

    def heard(self, last_id: str) -> None:
        """All events up to this one were reported."""
        self._cache.remember("last_event", last_id)

    def stream_failed(self, error: StoreUnreachable) -> None:
        """The stream ended, or could not be opened. This is logged once, until the stream is followed again.

        The log line matters because lookups show only whether the service answers, not that revocations come late.
        """
        self._figures["stream_failures"] += 1
        if not self._stream_is_broken:
            self._stream_is_broken = True
            log.warning("the registry's event stream broke; changes come by store.time_to_live", error=str(error))

    # --- background work ----------------------------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        tasks = [self._loop.create_task(self._rounds())]
        if self._stream is not None:
            tasks.append(self._loop.create_task(self._stream.run()))
        self._loop.run_forever()
        tasks = [task for task in asyncio.all_tasks(self._loop) if not task.done()]
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.run_until_complete(self._client.close())
        self._loop.close()

    async def _rounds(self) -> None:
        number = 0
        while True:
            await asyncio.sleep(ROUND)
            number += 1
            concerned = self._concerned()
            await self._renew(concerned)
            await asyncio.to_thread(self._cache.mend)
            if number % PRUNE == 0:
                self._renewal.keep(concerned)
                await asyncio.to_thread(self._cache.prune, concerned)

    async def _renew(self, concerned: Collection[PublicKey]) -> None:
        """Ask again for keys whose answers have grown old, as many as a round and the budget allow.

        Keys that are left over come first in the next round, so that all keys share a budget that is too small.
        """
        if not self._waiting:
            now = time.monotonic()
            self._waiting.extend(key for key in concerned if self._renewal.is_due(key, now))
        with suppress(TimeoutError, Unanswered):  # the round is over, or the service is down for all keys
            async with asyncio.timeout(ROUND):
                while self._waiting:
                    await self._ask_again(self._waiting[0], concerned)
                    self._waiting.popleft()

    async def _ask_again(self, key: PublicKey, concerned: Collection[PublicKey]) -> None:
        now = time.monotonic()
        if key not in concerned or not self._renewal.is_due(key, now):
            return
        entry = self._cache.get(key)
        if entry is None:
            self._renewal.answered(key, now, self._terms.time_to_live)  # never asked for: a lookup asks first
        elif self._is_fresh(entry):
            self._renewal.answered(key, now, entry.asked_at + entry.lives - time.time())
        else:
            await self._requests.begin(key, entry, for_knock=False)

"""Open registries for the threads that answer requests, so that a slow request does not delay the others.

Any thread may use a registry, but only one thread at a time may use a connection of it. So each request gets a registry
of its own. A few registries are kept open for later requests.

A database that hangs would hold all threads, `PATIENCE` long each. So after one request has waited in vain, the others
are refused at once, and one of them tries again every second.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from wgjit.errors import StoreUnreachable
from wgjit.stores.base import Registry
from wgjit.stores.entries import Pool
from wgjit.stores.opening import Where, open_registry

_KEPT = 8
"""Unused registries that are kept open."""

_LONGEST = 300.0
"""Seconds for which an unused registry is kept open."""

_CACHE = 2 << 10
"""KiB of page cache of each connection. It is small, since there may be many connections and the kernel also caches."""

PATIENCE = 10.0
"""Seconds that a request waits for a database's answer to one statement. Imports wait as long as it takes."""

SLOW = 1.0
"""Seconds after which a failure to reach the database was slow, so that others need not wait as long."""

PROBE = 1.0
"""Seconds after which one request tries again whether the database answers."""


class Registries:
    """Opens as many registries as are used at the same time. Threads may share this object."""

    def __init__(self, where: Where, pools: Sequence[Pool] = (), clock: Callable[[], float] = time.monotonic) -> None:
        self._where = where
        self._pools = pools
        self._clock = clock
        self._idle: list[tuple[float, Registry]] = []
        self._lock = threading.Lock()
        self._closed = False
        self._hangs: StoreUnreachable | None = None
        self._try_at = 0.0

    @contextmanager
    def use(self) -> Iterator[Registry]:
        """A registry that no other thread uses during the block. Raises StoreError if it cannot be opened.

        Raises StoreUnreachable at once while the database hangs.
        """
        began = self._clock()
        self._refuse_while_it_hangs(began)
        try:
            with self._lock:
                registry = self._idle.pop()[1] if self._idle else None
            if registry is None:
                registry = open_registry(self._where, pools=self._pools, patience=PATIENCE, cache=_CACHE)
            try:
                yield registry
            finally:
                self._give_back(registry)
        except StoreUnreachable as error:
            self._failed(error, began)
            raise
        except BaseException:
            self._answered()
            raise
        self._answered()

    def close(self) -> None:
        """Close the unused registries. The others are closed when their blocks end."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for _, registry in idle:
            registry.close()

    def _give_back(self, registry: Registry) -> None:
        now = self._clock()
        with self._lock:
            keep = not self._closed and len(self._idle) < _KEPT
            old = [each for since, each in self._idle if now - since >= _LONGEST]
            self._idle = [(since, each) for since, each in self._idle if now - since < _LONGEST]
            if keep:
                self._idle.append((now, registry))
        for each in old if keep else [*old, registry]:
            each.close()

    def _refuse_while_it_hangs(self, now: float) -> None:
        with self._lock:
            if self._hangs is None:
                return
            if now < self._try_at:
                raise StoreUnreachable(self._hangs.text)
            self._try_at = now + PROBE

    def _answered(self) -> None:
        with self._lock:
            self._hangs = None

    def _failed(self, error: StoreUnreachable, began: float) -> None:
        now = self._clock()
        with self._lock:
            if self._hangs is not None or now - began >= SLOW:
                self._hangs, self._try_at = error, now + PROBE

"""Open registries for the threads that answer requests, so that a slow request does not delay the others.

Any thread may use a registry, but only one thread at a time may use a connection of it. So each request gets a registry
of its own. A few registries are kept open for later requests.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from wgjit.stores.base import Registry
from wgjit.stores.entries import Pool
from wgjit.stores.opening import Where, open_registry

_KEPT = 8
"""Unused registries that are kept open."""

_CACHE = 2 << 10
"""KiB of page cache of each connection. It is small, since there may be many connections and the kernel also caches."""


class Registries:
    """Opens as many registries as are used at the same time. Threads may share this object."""

    def __init__(self, where: Where, pools: Sequence[Pool] = ()) -> None:
        self._where = where
        self._pools = pools
        self._idle: list[Registry] = []
        self._lock = threading.Lock()
        self._closed = False

    @contextmanager
    def use(self) -> Iterator[Registry]:
        """A registry that no other thread uses during the block. Raises StoreError if it cannot be opened."""
        with self._lock:
            registry = self._idle.pop() if self._idle else None
        if registry is None:
            registry = open_registry(self._where, pools=self._pools, cache=_CACHE)
        try:
            yield registry
        finally:
            with self._lock:
                keep = not self._closed and len(self._idle) < _KEPT
                if keep:
                    self._idle.append(registry)
            if not keep:
                registry.close()

    def close(self) -> None:
        """Close the unused registries. The others are closed when their blocks end."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for registry in idle:
            registry.close()

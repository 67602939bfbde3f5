"""Open registries for the threads that answer requests: a page that takes long holds up no other.

A registry may be used by any thread, but by one at a time on each of its connections. So each request has one to
itself; they are kept open, a few of them, for the next.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from wgjit.stores.base import Registry
from wgjit.stores.entries import Pool
from wgjit.stores.opening import Where, open_registry

_KEPT = 8
"""Registries kept open while nobody uses them."""

_CACHE = 2 << 10
"""KiB of pages that each connection keeps: there may be many at once, and the kernel keeps the file for all of them."""


class Registries:
    """Opens a registry as often as it is used at once. Threads may share it."""

    def __init__(self, where: Where, pools: Sequence[Pool] = ()) -> None:
        self._where = where
        self._pools = pools
        self._idle: list[Registry] = []
        self._lock = threading.Lock()
        self._closed = False

    @contextmanager
    def use(self) -> Iterator[Registry]:
        """A registry that nobody else uses meanwhile. Raises StoreError if it cannot be opened."""
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
        """Close what is not in use; the rest is closed when it is given back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for registry in idle:
            registry.close()

"""Open registries for the threads that answer requests: a page that takes long holds up no other.

A ManagedRegistry may be used by any thread, but by one at a time on each of its connections. So each request has one to
itself; they are kept open, a few of them, for the next.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wgjit.stores.managed import ManagedRegistry

_KEPT = 8
"""Registries kept open while nobody uses them."""

_PATIENCE = 5.0
"""Seconds to wait for another program that writes."""

_CACHE = 2 << 10
"""KiB of pages that each connection keeps: there may be many at once, and the kernel keeps the file for all of them."""


class Registries:
    """Opens a registry file as often as it is used at once. Threads may share it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._idle: list[ManagedRegistry] = []
        self._lock = threading.Lock()
        self._closed = False

    @contextmanager
    def use(self) -> Iterator[ManagedRegistry]:
        """A registry that nobody else uses meanwhile. Raises StoreError if it cannot be opened."""
        with self._lock:
            registry = self._idle.pop() if self._idle else None
        if registry is None:
            registry = ManagedRegistry(self.path, create=False, timeout=_PATIENCE, cache=_CACHE)
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

"""Which pinned peers are to be installed: read from the registry, for the core (`core/residents/pins.py`).

The registry is asked for its pinned peers when it has changed, by whatever program. It is asked for each that is not in
the device every `INTERVAL`, since something else than a registration may have been in the way.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Hashable

from wgjit.core.vocabulary.events import Event, Pinned
from wgjit.errors import StoreDeferred, StoreError
from wgjit.model import PublicKey, Registration
from wgjit.stores.base import Store

INTERVAL = 2.0
"""Seconds between two passes over the pinned peers that are not in the device."""

REST = 4.0
"""Least pause before the pinned peers are read again, as a multiple of the time that this took. A registry may change
all the time."""

PAGE = 10_000
"""Keys that are read at once."""

PART = 32
"""Peers that the core hears of at once. Waiting packets come after each part."""

LONGEST = 0.25
"""Most seconds of lookups per round: claims wait meanwhile."""


class PinnedPeers:
    """The pinned peers of one store that are not in the device."""

    def __init__(self, store: Store, is_here: Callable[[PublicKey], bool]) -> None:
        """`is_here` tells whether a peer is resident or being installed."""
        self._store = store
        self._is_here = is_here
        self._keys: list[PublicKey] = []
        self._version: Hashable = None
        self._read_not_before = 0.0
        self._next_pass = 0.0
        self._missing: deque[PublicKey] = deque()
        """Peers of the current pass that have not been looked up yet."""
        self._absent = False
        """The last pass had peers in it."""

    def round(self, failures: list[Exception]) -> list[Event]:
        """Pinned peers that are not in the device, for the core. Appends what failed. Raises StoreError."""
        now = time.monotonic()
        version = self._store.pinned_version()
        if version != self._version and now >= self._read_not_before:
            self._keys = self._read()
            self._version = version
            self._read_not_before = time.monotonic() + REST * (time.monotonic() - now)
            self._next_pass = now
        if now >= self._next_pass and not self._missing:
            self._next_pass = now + INTERVAL
            self._missing = deque(key for key in self._keys if not self._is_here(key))
            if not self._missing and self._absent:
                self._absent = False
                return [Pinned(())]
        return self._look_up(failures) if self._missing else []

    def _read(self) -> list[PublicKey]:
        keys: list[PublicKey] = []
        while page := self._store.pinned(keys[-1] if keys else None, PAGE):
            keys += page
            if len(page) < PAGE:
                break
        return keys

    def _look_up(self, failures: list[Exception]) -> list[Event]:
        """Look up the peers of this pass, for `LONGEST` seconds at most. A damaged row must not hide other peers."""
        found: list[Registration] = []
        end = time.monotonic() + LONGEST
        while self._missing and time.monotonic() < end:
            key = self._missing.popleft()
            try:
                registration = self._store.lookup(key, for_knock=False)
            except StoreDeferred:
                self._missing.appendleft(key)
                break
            except StoreError as error:
                failures.append(error)
                continue
            if registration is not None:
                found.append(registration)
        self._absent = True
        parts = [tuple(found[place : place + PART]) for place in range(0, len(found), PART)] or [()]
        last = len(parts) - 1
        return [Pinned(part, more=bool(self._missing) or place < last) for place, part in enumerate(parts)]

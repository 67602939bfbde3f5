"""The slow side of the registry: claims to it in batches, other processes' changes from it.

Runs on a thread, one round at a time, so a locked or full disk never holds up a packet. What it could not write it
keeps; a change is kept until it has been looked up, whatever fails in between.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Hashable, Iterable

from wgjit.core.placeholder import LIMIT
from wgjit.core.vocabulary import ClaimsSaved, Covered, Event, RegistryChanged
from wgjit.daemon.faults import Faults
from wgjit.errors import StoreDeferred, StoreError
from wgjit.model import AllowedIP, Claim, Cover, PublicKey, Registration
from wgjit.stores.base import Store

FAILURES = 3
"""Lookups that may fail in a round before the store is given up until the next: each may take a whole timeout."""

LONGEST_ROUND = 1.0
"""Seconds of a round that may go into lookups: a store elsewhere takes its time, and claims wait meanwhile."""

COVER_REST = 4.0
"""A cover that took a second to find is found anew after so many, at the earliest: a registry may change for ever."""

CLOSING = 3.0
"""Seconds for which the last writing is tried again."""


class RegistryWatch:
    """One store's claims on their way out and changes on their way in."""

    INTERVAL = 0.25
    """Seconds between two rounds: what a crash can lose of claims, and the delay of a change."""

    def __init__(self, store: Store, faults: Faults, residents: Callable[[], Collection[PublicKey]]) -> None:
        """`residents` gives the keys whose registration matters right now.

        The first round looks all of them up, and reads the whole log: it tells a resident that was removed from the
        registry while nobody looked from one that the registry never knew.
        """
        self._store = store
        self._faults = faults
        self._residents = residents
        self._at_work = threading.Lock()
        self._lock = threading.Lock()
        self._unsaved: dict[PublicKey, Claim] = {}
        self._changed: dict[PublicKey, None] = {}
        self._unsure: dict[PublicKey, None] | None = None
        """Residents to look up because the log does not tell; None before the first round."""
        self._found: dict[PublicKey, None] = {}
        self._within: frozenset[AllowedIP] = frozenset()
        self._covered: tuple[frozenset[AllowedIP], Hashable, Cover | None] = frozenset(), None, None
        """The last answer to `find_cover`, and what it was the answer to."""
        self._cover_not_before = 0.0
        self._seen = 0
        store.attend(residents)

    def save(self, claim: Claim) -> None:
        """Take a claim for the next round; of two for one peer the newer is enough."""
        with self._lock:
            known = self._unsaved.get(claim.public_key)
            if known is None or known.timestamp < claim.timestamp:
                self._unsaved[claim.public_key] = claim

    def recheck(self, keys: Iterable[PublicKey]) -> None:
        """Look these residents up in the next round: somebody else put them into the device."""
        with self._lock:
            self._found.update(dict.fromkeys(keys))

    def find_cover(self, within: frozenset[AllowedIP]) -> None:
        """Tell, from the next round on and after each change, which prefixes hold all registered ones inside these."""
        self._within = within

    def round(self) -> list[Event]:
        """Write what waits, read what is new; gives what the core must hear, whatever else failed.

        The two are apart: while nothing can be written, be it that an import holds the registry or that the disk is
        full, revocations are followed all the same.
        """
        events: list[Event] = []
        failures: list[Exception] = []
        with self._at_work:
            for step in (self._flush, self._follow, self._cover):
                try:
                    events += step(failures)
                except Exception as error:
                    failures.append(error)
        for failure in failures:
            self._faults.occurred("registry", failure)
        if not failures:
            self._faults.passed("registry")
        return events

    def close(self) -> None:
        """The last writing, at the end of the daemon; tried again while another process holds the registry."""
        end = time.monotonic() + CLOSING
        with self._at_work:
            while True:
                try:
                    self._flush([])
                    return
                except StoreError as error:
                    if time.monotonic() >= end:
                        self._faults.occurred("registry", error)
                        return
                time.sleep(0.1)

    def _flush(self, _failures: list[Exception]) -> list[Event]:
        with self._lock:
            claims = tuple(self._unsaved.values())
            self._unsaved.clear()
        if not claims:
            return []
        try:
            self._store.save_claims(claims)
        except BaseException:
            for claim in claims:
                self.save(claim)
            raise
        return [ClaimsSaved(claims)]

    def _follow(self, failures: list[Exception]) -> list[Event]:
        self._read_changes()
        self._take_found()
        events = self._look_up(self._changed, failures, rechecked=False)
        return events + self._look_up(self._unsure or {}, failures, rechecked=True)

    def _cover(self, _failures: list[Exception]) -> list[Event]:
        within, began = self._within, time.monotonic()
        if not within or began < self._cover_not_before:
            return []
        version = self._store.addresses_version()
        asked, known_version, known = self._covered
        is_answered = asked is within  # the same question; an equal one that is asked again wants an answer of its own
        if is_answered and version == known_version:
            return []
        cover = self._store.cover(within, LIMIT)
        self._cover_not_before = time.monotonic() + COVER_REST * (time.monotonic() - began)
        self._covered = within, version, cover
        return [] if is_answered and cover == known else [Covered(within, cover)]

    def _read_changes(self) -> None:
        """Note whose registration changed, in the order of the last change."""
        newest = self._store.last_change()
        if first := self._unsure is None:
            self._recheck()
        if newest < self._seen:  # another file is in the registry's place
            self._recheck()
            self._seen = newest
        while self._seen < newest:
            changes = self._store.changes(self._seen)
            if not changes or (changes[0].sequence != self._seen + 1 and not first):  # pruned: it holds so many
                self._recheck()
            if not changes:
                self._seen = newest
                return
            for change in changes:
                self._changed.pop(change.public_key, None)
                self._changed[change.public_key] = None
            self._seen = changes[-1].sequence

    def _take_found(self) -> None:
        with self._lock:
            found, self._found = self._found, {}
        self._unsure = {**(self._unsure or {}), **found}

    def _recheck(self) -> None:
        """The log does not tell what changed: look at all who are there."""
        self._unsure = dict.fromkeys(self._residents())

    def _look_up(self, keys: dict[PublicKey, None], failures: list[Exception], *, rechecked: bool) -> list[Event]:
        """How those stand that matter; one damaged row must not hide the changes of others."""
        if not keys:
            return []
        concerned = self._residents()
        found: dict[PublicKey, Registration | None] = {}
        failed = 0
        end = time.monotonic() + LONGEST_ROUND
        for key in list(keys):
            if key in concerned:
                if not self._store.is_local and time.monotonic() > end:
                    break
                try:
                    found[key] = self._store.lookup(key, for_knock=False)
                except StoreDeferred:
                    break
                except StoreError as error:
                    del keys[key]
                    keys[key] = None  # behind the others: those that always fail keep nobody from being looked up
                    failures.append(error)
                    failed += 1
                    if failed == FAILURES:
                        break
                    continue
            del keys[key]
        return [RegistryChanged(found, rechecked)] if found else []

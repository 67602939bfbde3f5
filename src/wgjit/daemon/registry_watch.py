"""The slow side of the registry: claims to it in batches, other processes' changes from it.

Runs on a thread, one round at a time, so a locked or full disk never holds up a packet. What it could not write it
keeps; a change is kept until it has been looked up, whatever fails in between.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Hashable, Iterable

import structlog

from wgjit.core.residents.placeholder import LIMIT
from wgjit.core.vocabulary import ClaimsSaved, Covered, Event, RegistryChanged
from wgjit.daemon.faults import Faults
from wgjit.errors import StoreDeferred, StoreError
from wgjit.model import AllowedIP, Change, Claim, Cover, PublicKey, Registration
from wgjit.stores.base import Store

log = structlog.get_logger()

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
        self._replaced: dict[PublicKey, None] = {}
        """Residents to look up because another registry is in the old one's place."""
        self._identity: bytes | None = None
        self._seen = 0
        self._last: Change | None = None
        """The change of that number."""
        self._context = structlog.contextvars.get_contextvars()
        store.attend(residents)

    def save(self, claim: Claim) -> None:
        """Take a claim for the next round; of two for one peer the newer is enough."""
        with self._lock:
            self._unsaved[claim.public_key] = claim.over(self._unsaved.get(claim.public_key))

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
        identity = self._store.identity()
        self._read_changes(identity)
        self._take_found()
        for key in self._replaced:  # of these the log tells less than it needs
            self._changed.pop(key, None)
        found = (
            self._look_up(self._replaced, failures, rechecked=True, replaced=True),
            self._look_up(self._changed, failures),
            self._look_up(self._unsure or {}, failures, rechecked=True),
        )
        events = [event for events in found for event in events]
        try:  # which of two has said it, if it was replaced meanwhile, is not known: the next round asks for all again
            return events if not events or self._store.identity() == identity else []
        except StoreError:
            return events

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

    def _read_changes(self, identity: bytes) -> None:
        """Note whose registration changed, in the order of the last change."""
        newest = self._store.last_change()
        first = self._unsure is None
        if first:
            self._recheck()
        elif identity != self._identity or newest < self._seen or not self._goes_on(newest):
            self._another_is_in_its_place(identity, newest)
            return
        self._identity = identity
        while self._seen < newest:
            changes = self._store.changes(self._seen)
            if not changes or (changes[0].sequence != self._seen + 1 and not first):  # pruned: it holds so many
                self._recheck()
            if not changes:
                self._seen, self._last = newest, None
                return
            for change in changes:
                self._changed.pop(change.public_key, None)
                self._changed[change.public_key] = None
            self._seen, self._last = changes[-1].sequence, changes[-1]

    def _goes_on(self, newest: int) -> bool:
        """Whether what follows in the log follows what we have read: an older copy may have grown beyond it."""
        if newest == self._seen or self._last is None:
            return True
        last = self._store.changes(self._seen - 1, limit=1)
        return not last or last[0].sequence != self._seen or last[0] == self._last

    def _another_is_in_its_place(self, identity: bytes, newest: int) -> None:
        """Look at all who are there; what the old one's log has told does not count any more."""
        log.warning(
            "another registry file is in the old one's place: all residents are looked up in it",
            **self._context,
        )
        self._replaced = dict.fromkeys(self._residents())
        self._changed, self._unsure = {}, {}
        self._identity, self._seen, self._last = identity, newest, None

    def _take_found(self) -> None:
        with self._lock:
            found, self._found = self._found, {}
        self._unsure = {**(self._unsure or {}), **found}

    def _recheck(self) -> None:
        """The log does not tell what changed: look at all who are there."""
        self._unsure = dict.fromkeys(self._residents())

    def _look_up(
        self,
        keys: dict[PublicKey, None],
        failures: list[Exception],
        *,
        rechecked: bool = False,
        replaced: bool = False,
    ) -> list[Event]:
        """How those stand that matter; one damaged row must not hide the changes of others."""
        if not keys:
            return []
        concerned = self._residents()
        found: dict[PublicKey, Registration | None] = {}
        removed: set[PublicKey] = set()
        failed = 0
        end = time.monotonic() + LONGEST_ROUND
        for key in list(keys):
            if key in concerned:
                if not self._store.is_local and time.monotonic() > end:
                    break
                try:
                    registration = self._store.lookup(key, for_knock=False)
                    if registration is None and self._store.former(key) is not None:
                        removed.add(key)
                    found[key] = registration
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
        return [RegistryChanged(found, rechecked, frozenset(removed), replaced)] if found else []

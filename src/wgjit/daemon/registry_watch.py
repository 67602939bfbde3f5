"""The slow side of the registry: claims to it in batches, other processes' changes from it.

Runs on a thread, one round at a time, so a locked or full disk never holds up a packet. What it could not write it
keeps; what it could not read it reads in the next round.
"""

from __future__ import annotations

import threading

from wgjit.core.vocabulary import ClaimsSaved, Event, RegistryChanged
from wgjit.daemon.faults import Faults
from wgjit.errors import StoreError
from wgjit.model import Claim, PublicKey
from wgjit.stores.base import Store


class RegistryWatch:
    """One store's claims on their way out and changes on their way in."""

    INTERVAL = 0.25
    """Seconds between two rounds: what a crash can lose of claims, and the delay of a change."""

    def __init__(self, store: Store, faults: Faults) -> None:
        self._store = store
        self._faults = faults
        self._lock = threading.Lock()
        self._unsaved: dict[PublicKey, Claim] = {}
        self._seen: int | None = None

    def save(self, claim: Claim) -> None:
        """Take a claim for the next round; of two for one peer the newer is enough."""
        with self._lock:
            known = self._unsaved.get(claim.public_key)
            if known is None or known.timestamp < claim.timestamp:
                self._unsaved[claim.public_key] = claim

    def begin(self) -> None:
        """Take the change log's end as it is now: nothing after it is missed. Before the first knock."""
        self.round()

    def round(self) -> list[Event]:
        """Write what waits, read what is new; gives what the core must hear."""
        try:
            events = self.flush()
            events += self._changes()
            self._faults.passed("registry")
        except StoreError as error:
            self._faults.occurred("registry", error)
            return []
        return events

    def close(self) -> None:
        """The last writing, at the end of the daemon."""
        try:
            self.flush()
        except StoreError as error:
            self._faults.occurred("registry", error)

    def flush(self) -> list[Event]:
        """Write the waiting claims. Raises StoreError, and keeps them."""
        with self._lock:
            claims = tuple(self._unsaved.values())
            self._unsaved.clear()
        if not claims:
            return []
        try:
            self._store.save_claims(claims)
        except StoreError:
            for claim in claims:
                self.save(claim)
            raise
        return [ClaimsSaved(claims)]

    def _changes(self) -> list[Event]:
        newest = self._store.last_change()
        if self._seen is None or newest < self._seen:
            # The first round, or the registry was put in another's place: what changed before is in what is looked up.
            self._seen = newest
            return []
        changed: dict[PublicKey, None] = {}
        while self._seen < newest and (changes := self._store.changes(self._seen)):
            changed |= dict.fromkeys(change.public_key for change in changes)
            self._seen = changes[-1].sequence
        return [event for key in changed if (event := self._now(key))]

    def _now(self, key: PublicKey) -> Event | None:
        """How a changed peer stands; one damaged row must not hide the changes of others."""
        try:
            return RegistryChanged(key, self._store.lookup(key))
        except StoreError as error:
            self._faults.occurred("registry", error)
            return None

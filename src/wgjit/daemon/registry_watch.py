"""Saves claims in the registry in batches, and reads other processes' changes from it.

A thread does one round at a time, so a locked or full disk never holds up a packet. A claim that cannot be saved is
kept for the next round. A change is kept until its peer has been looked up, whatever fails in between.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Hashable, Iterable

import structlog

from wgjit.core.residents.placeholder import LIMIT
from wgjit.core.vocabulary.events import (
    ClaimsSaved,
    Covered,
    Event,
    FleetClock,
    FleetMembers,
    HeldElsewhere,
    RegistryChanged,
)
from wgjit.daemon.effects.pinned import PinnedPeers
from wgjit.daemon.faults import Faults
from wgjit.errors import StoreDeferred, StoreError
from wgjit.model import AllowedIP, Change, Claim, Cover, Holding, OtherGateway, PublicKey, Registration
from wgjit.stores.base import Store

log = structlog.get_logger()

FAILURES = 3
"""Failed lookups after which a round stops asking the store, since each failure may take a whole timeout."""

LONGEST_ROUND = 1.0
"""Most seconds of lookups per round. A remote store may be slow, and claims wait meanwhile."""

COVER_REST = 4.0
"""Least pause before the next cover, as a multiple of the time that the last one took. A registry may change all the
time."""

CLOCK_STEP = 0.02
"""Seconds. A smaller change of the fleet's clock is not told."""

CLOSING = 3.0
"""Seconds for which the last write is tried again."""


class RegistryWatch:
    """The claims to save in one store, what to say to the fleet, and the changes to read."""

    INTERVAL = 0.25
    """Seconds between two rounds. A crash loses at most the claims of this time, and a change waits at most as long."""

    def __init__(
        self,
        store: Store,
        faults: Faults,
        residents: Callable[[], Collection[PublicKey]],
        is_resident: Callable[[PublicKey], bool] | None = None,
    ) -> None:
        """`residents` gives the keys whose registration matters now, `is_resident` tells it of one key.

        The first round looks all residents up and reads the whole change log. The log shows whether an unregistered
        resident was removed from the registry while no gateway ran, or was never registered.
        """
        self._store = store
        self._faults = faults
        self._residents = residents
        self._at_work = threading.Lock()
        self._lock = threading.Lock()
        self._unsaved: dict[PublicKey, Claim] = {}
        self._said: set[PublicKey] = set()
        """Keys of unsaved claims that the fleet has to hear of."""
        self._holdings: dict[PublicKey, Holding] = {}
        """Holdings to say to the fleet."""
        self._heard: int | None = None
        """The place up to which other gateways' holdings have been heard; None before the first round."""
        self._others: tuple[OtherGateway, ...] = ()
        """The other gateways that the core knows of."""
        self.heard: Callable[[list[Holding]], None] = lambda holdings: None
        """Called on the registry's thread with all that other gateways say they hold."""
        self._offset: float | None = None
        """The offset of the fleet's clock that the core knows of."""
        self._changed: dict[PublicKey, None] = {}
        self._unsure: dict[PublicKey, None] | None = None
        """Residents to look up because the change log does not name them; None before the first round."""
        self._found: dict[PublicKey, None] = {}
        self._within: frozenset[AllowedIP] = frozenset()
        self._covered: tuple[frozenset[AllowedIP], Hashable, Cover | None] = frozenset(), None, None
        """The last answer to `find_cover`: the prefixes asked for, the version of the addresses, and the cover."""
        self._cover_not_before = 0.0
        self._replaced: dict[PublicKey, None] = {}
        """Residents to look up because another registry has taken the old one's place."""
        self._identity: bytes | None = None
        self._seen = 0
        self._last: Change | None = None
        """The change with the number `_seen`."""
        self._pinned = PinnedPeers(store, is_resident or (lambda key: key in residents()))
        self._context = structlog.contextvars.get_contextvars()
        store.keep_fresh(residents)

    def save(self, claim: Claim, *, said: bool = False) -> None:
        """Save a claim in the next round. Of two claims for one peer only the newer is saved.

        `said`: tell the fleet, too.
        """
        with self._lock:
            self._unsaved[claim.public_key] = claim.over(self._unsaved.get(claim.public_key))
            if said:
                self._said.add(claim.public_key)

    def say(self, holding: Holding) -> None:
        """Tell the fleet of a holding in the next round. Of two holdings of one peer only the newer is told."""
        with self._lock:
            self._holdings[holding.public_key] = holding.over(self._holdings.get(holding.public_key))

    def recheck(self, keys: Iterable[PublicKey]) -> None:
        """Look these residents up in the next round, because a look found them in the device."""
        with self._lock:
            self._found.update(dict.fromkeys(keys))

    def find_cover(self, within: frozenset[AllowedIP]) -> None:
        """Find prefixes that hold all registered addresses inside `within`, in the next round and after each change."""
        self._within = within

    def round(self) -> list[Event]:
        """Save waiting claims and read changes; return events for the core, whatever failed.

        A failure to write does not stop the reading. So revocations count even while an import holds the registry or
        the disk is full.
        """
        events: list[Event] = []
        failures: list[Exception] = []
        with self._at_work:
            for step in (self._flush, self._hear, self._follow, self._cover, self._pinned.round):
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
        """Save the last claims, at the end of the daemon. Tries again for up to `CLOSING` seconds."""
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
            claims, said, holdings = self._unsaved, self._said, self._holdings
            self._unsaved, self._said, self._holdings = {}, set(), {}
        if not claims and not holdings:
            return []
        fleet = self._store.fleet
        try:
            if fleet is None:
                self._store.save_claims(tuple(claims.values()))
            else:
                self._store.save_claims([claim for key, claim in claims.items() if key not in said])
                fleet.say([claim for key, claim in claims.items() if key in said], tuple(holdings.values()))
        except BaseException:
            for claim in claims.values():
                self.save(claim, said=claim.public_key in said)
            for holding in holdings.values():
                self.say(holding)
            raise
        return [ClaimsSaved(tuple(claims.values()))]

    def _hear(self, _failures: list[Exception]) -> list[Event]:
        """Other gateways' holdings of the peers that matter here, the fleet's clock, and who is in the fleet."""
        fleet = self._store.fleet
        if fleet is None:
            return []
        events: list[Event] = []
        offset = fleet.clock_offset()
        if offset is not None and (self._offset is None or abs(offset - self._offset) > CLOCK_STEP):
            self._offset = offset
            events.append(FleetClock(offset))
        if (others := tuple(fleet.others())) != self._others:
            self._others = others
            events.append(FleetMembers(others))
        if self._heard is None:  # the first round looks all residents up, so that no holding is missed
            self._heard = fleet.hear(0, limit=0)[1]
        while True:
            holdings, place = fleet.hear(self._heard)
            if place == self._heard:
                return events
            self._heard, concerned = place, self._residents()
            self.heard(holdings)
            if here := tuple(holding for holding in holdings if holding.public_key in concerned):
                events.append(HeldElsewhere(here))

    def _follow(self, failures: list[Exception]) -> list[Event]:
        identity = self._store.identity()
        self._read_changes(identity)
        self._take_found()
        for key in self._replaced:  # a lookup for `_replaced` tells the core more than one for a change
            self._changed.pop(key, None)
        found = (
            self._look_up(self._replaced, failures, rechecked=True, replaced=True),
            self._look_up(self._changed, failures),
            self._look_up(self._unsure or {}, failures, rechecked=True),
        )
        events = [event for events in found for event in events]
        try:  # if the registry was replaced meanwhile, the answers may be either's: the next round asks for all again
            return events if not events or self._store.identity() == identity else []
        except StoreError:
            return events

    def _cover(self, _failures: list[Exception]) -> list[Event]:
        within, began = self._within, time.monotonic()
        if not within or began < self._cover_not_before:
            return []
        version = self._store.addresses_version()
        asked, known_version, known = self._covered
        is_answered = asked is within  # identity, not equality: each call of `find_cover` gets its own answer
        if is_answered and version == known_version:
            return []
        cover = self._store.cover(within, LIMIT)
        self._cover_not_before = time.monotonic() + COVER_REST * (time.monotonic() - began)
        self._covered = within, version, cover
        return [] if is_answered and cover == known else [Covered(within, cover)]

    def _read_changes(self, identity: bytes) -> None:
        """Note the keys whose registrations changed, in the order of their last change."""
        newest = self._store.last_change()
        first = self._unsure is None
        if first:
            self._recheck()
        elif self._is_another(identity) or newest < self._seen or not self._goes_on(newest):
            self._another_is_in_its_place(identity, newest)
            return
        self._identity = identity or self._identity
        while self._seen < newest:
            changes = self._store.changes(self._seen)
            if not changes or (changes[0].sequence != self._seen + 1 and not first):  # the log has been pruned
                self._recheck()
            if not changes:
                self._seen, self._last = newest, None
                return
            for change in changes:
                self._changed.pop(change.public_key, None)
                self._changed[change.public_key] = None
            self._seen, self._last = changes[-1].sequence, changes[-1]

    def _is_another(self, identity: bytes) -> bool:
        """Whether this is the identity of another registry. A replica has none before its first word of the record."""
        return bool(identity and self._identity and identity != self._identity)

    def _goes_on(self, newest: int) -> bool:
        """Whether the log still has the last change that was read. An older copy in its place may have grown beyond."""
        if newest == self._seen or self._last is None:
            return True
        last = self._store.changes(self._seen - 1, limit=1)
        return not last or last[0].sequence != self._seen or last[0] == self._last

    def _another_is_in_its_place(self, identity: bytes, newest: int) -> None:
        """Look all residents up, and forget the changes that the old registry's log named."""
        log.warning(
            "another registry is in the old one's place: all residents are looked up in it"
            if self._is_another(identity)
            else "an older or newly made registry file is in the old one's place: all residents are looked up in it",
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
        """Look all residents up, because the log does not tell what changed."""
        self._unsure = dict.fromkeys(self._residents())

    def _look_up(
        self,
        keys: dict[PublicKey, None],
        failures: list[Exception],
        *,
        rechecked: bool = False,
        replaced: bool = False,
    ) -> list[Event]:
        """Look up those of `keys` that matter now. A damaged row must not hide other peers' changes."""
        if not keys:
            return []
        concerned = self._residents()
        found: dict[PublicKey, Registration | None] = {}
        removed: set[PublicKey] = set()
        failed = 0
        fleet = self._store.fleet
        end = time.monotonic() + LONGEST_ROUND
        for key in list(keys):
            if key in concerned:
                if not self._store.is_local and time.monotonic() > end:
                    break
                try:
                    registration = self._store.lookup(key, for_knock=False)
                    if registration is None:
                        if self._store.former(key) is not None:
                            removed.add(key)
                        elif fleet is not None and fleet.is_behind():
                            continue  # perhaps the replica does not have the peer yet: ask again in the next round
                    found[key] = registration
                except StoreDeferred:
                    break
                except StoreError as error:
                    del keys[key]
                    keys[key] = None  # at the end: a key that always fails must not keep others from being looked up
                    failures.append(error)
                    failed += 1
                    if failed == FAILURES:
                        break
                    continue
            del keys[key]
        return [RegistryChanged(found, rechecked, frozenset(removed), replaced)] if found else []

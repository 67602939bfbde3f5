"""What happens to residents without a knock: the device is read, the registry speaks, time passes.

Tick ── ReadDevice ── DeviceRead ── who is there, who is idle ── Evict ── Evicted ── Left
RegistryChanged, expiry ── take the allowed IPs away at once ── Evict ── Evicted ── Left
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable
from itertools import islice

from wgjit.core.delivery.flips import Flips
from wgjit.core.knock.barred import put_back, refusal_of
from wgjit.core.knock.claims import Claims
from wgjit.core.knock.parking import Parking
from wgjit.core.residents.expiries import Expiries
from wgjit.core.residents.idleness import FRESH, INTERVAL, Idleness
from wgjit.core.residents.placeholder import Placeholder
from wgjit.core.residents.removals import Removals
from wgjit.core.residents.residency import Residency, Resident
from wgjit.core.settings import Settings
from wgjit.core.vocabulary import (
    Command,
    Configure,
    Covered,
    Departure,
    DeviceRead,
    Evict,
    Evicted,
    FindCover,
    Flipped,
    Left,
    Now,
    ReadDevice,
    Recheck,
    RegistryChanged,
    SaveClaim,
)
from wgjit.model import AllowedIP, DevicePeer, Peer, PeerChange, PublicKey, Registration

AT_ONCE = 256
"""Peers that the registry does not know which a look asks it for again: all of them, or a tenth of a crowd."""

HEADROOM = 64
"""One place in so many is kept free by looks, so that a knock seldom has to wait until somebody has left."""


class Upkeep:
    """The residents of one interface, from their install to their leaving."""

    def __init__(self, settings: Settings, claims: Claims, for_room: Parking, interface: PublicKey) -> None:
        """`for_room`: the knocks for which somebody has to leave; the gateway's, only counted here."""
        self._settings = settings
        self._for_room = for_room
        self._claims = claims
        self.residency = Residency()
        self.placeholder = Placeholder(interface, self.residency, settings.networks)
        self.flips = Flips()
        self._idleness = Idleness(settings)
        self._removals = Removals()
        self._expiries = Expiries(self.residency)
        self._foreign: dict[PublicKey, None] = {}
        """Residents that the registry was not seen to know; the one asked for longest ago first."""
        self._postponed: dict[PublicKey, Registration | None] = {}
        """What the registry said of peers whose removal was being made."""
        self._reading = False
        self._overdue: dict[PublicKey, Departure] = {}
        self._spare: dict[PublicKey, None] = {}
        self._flipped: dict[PublicKey, DevicePeer] = {}
        """Of the look that is being made: who should leave, who could, and what is to be seen of running flips."""
        self._recalled: dict[PublicKey, Departure] = {}
        """Called back by a knock that is not proven yet."""
        self._ask_not_before = -math.inf
        self._nobody_until = -math.inf
        """Until then it is known that nobody may."""
        self._began_watching = False
        self._suspected = -math.inf
        """When a peer that is revoked knocked last for which no look has been made yet."""
        self._unseen: set[PublicKey] = set()
        """Removed without a look: whether they are in the device is not known."""

    # --- coming and staying -----------------------------------------------------------------------------------

    def installed(self, peer: Peer, knocked: float, now: Now) -> Resident:
        """The peer is in the device, for a knock that arrived at `knocked`."""
        resident = self.residency.add(peer, now.monotonic)
        self.placeholder.taken(peer.allowed_ips)
        resident.last_knock = knocked
        self._stays(peer.public_key)
        self._register(peer, resident)
        if not peer.is_pinned:
            self._idleness.installed(peer.public_key, resident)
        return resident

    def knocked(self, key: PublicKey, now: Now) -> float | None:
        """The resident proved itself anew; gives the seconds since it did so last, None if it has left meanwhile."""
        resident = self.residency.get(key)
        if resident is None:
            return None
        since, resident.last_knock = now.monotonic - resident.last_knock, now.monotonic
        resident.active = now.monotonic
        self._idleness.knocked(key)
        self._stays(key)
        self.flips.replays.abandon(key)  # the client tries again by itself
        return since

    def is_leaving(self, key: PublicKey) -> bool:
        """Whether the peer's removal is being made, or as good as made: a knock has to wait until it is done."""
        return self._removals.is_settled(key)

    def hurry(self, key: PublicKey) -> None:
        """A proven knock waits for this peer's removal."""
        self._removals.hurry(key)

    def recall(self, key: PublicKey) -> None:
        """A knock claims to be this resident's: do not remove the peer until it is known whether it is."""
        if why := self._removals.recall(key):
            self._recalled[key] = why

    def was_forged(self, key: PublicKey) -> None:
        """It was not: a stranger's packets keep nobody here."""
        if (why := self._recalled.pop(key, None)) and key in self.residency:
            self._removals.retire_again(key, why)

    def may_suspect(self, now: Now) -> bool:
        """Whether the device may be looked at because a knock seems to have got no answer."""
        return now.monotonic >= self._idleness.relaxed_look

    def suspect(self, key: PublicKey, now: Now) -> list[Command]:
        """A peer that the registry has revoked proved itself: if somebody has put it back, it has to go at once.

        A look tells; where that takes long, the peer is removed, whether it is there or not: for WireGuard that is no
        work.
        """
        if key in self.residency or self._removals.is_settled(key):
            return []
        if not self._idleness.is_quick:
            self._unseen.add(key)
            self._removals.revoke(key)
            return []
        self._suspected = now.monotonic
        return self.read_device() if now.monotonic >= self._idleness.prompt_look else []

    def _stays(self, key: PublicKey) -> None:
        """What was to be done about this resident rests on what it was before."""
        self._removals.recall(key)
        self._recalled.pop(key, None)
        self._overdue.pop(key, None)
        self._spare.pop(key, None)

    def _register(self, peer: Peer, resident: Resident) -> None:
        """The registry knows the resident, with these values."""
        moment, key = resident.expires_at, peer.public_key
        if not resident.is_registered_as(peer):
            self._stays(key)
        resident.registered_as(peer)
        self._foreign.pop(key, None)
        self.placeholder.not_foreign(key)
        if peer.is_pinned:
            self._idleness.left(key)
        if peer.expires_at is not None and peer.expires_at != moment:
            self._expiries.await_(peer.expires_at, key)

    # --- room -------------------------------------------------------------------------------------------------

    def free(self) -> int:
        """How many more the device may take."""
        return self._settings.capacity - len(self.residency) - self._removals.revoked

    def room_may_come(self, now: Now) -> bool:
        """False if it is known that nobody may leave."""
        return bool(self._removals.settled or self._removals.retired) or (
            self._reading or now.monotonic >= self._nobody_until
        )

    # --- the device is read -----------------------------------------------------------------------------------

    def read_device(self, *, at_once: bool = False) -> list[Command]:
        """Look, unless it is being done."""
        if self._reading:
            return []
        self._reading = True
        self.residency.reading_begins()
        self._overdue, self._spare, self._flipped = {}, {}, {}
        return [ReadDevice(at_once)]

    def device_read(self, event: DeviceRead, now: Now) -> list[Command]:
        """One part of a look at the device, or all of it."""
        self._claims.watching(now)
        if event.began == float("-inf"):
            self._reading = False
            self.residency.reading_fails()
            self._idleness.looked(event.took, now.monotonic)
            return self._judge_flips(event.began, now)
        found = [peer.public_key for peer in event.peers if self._see(peer, event.began)]
        if not event.more and event.began >= self._ask_not_before:
            self._ask_not_before = event.began + INTERVAL
            found += self._ask_again()
        self._foreign.update(dict.fromkeys(found))
        commands: list[Command] = [Recheck(tuple(found))] if found else []
        if event.more:
            return commands
        self._reading, self._began_watching = False, True
        if event.began > self._suspected:
            self._suspected = -math.inf
        self._idleness.looked(event.took, now.monotonic)
        for key in self.residency.reading_ends(event.began):
            self._forget(key)
        self.placeholder.looked(event.began)
        commands += self._keep_addresses(now)
        commands += self._judge_flips(event.began, now)
        self._choose(now)
        return commands

    def _keep_addresses(self, now: Now) -> list[Command]:
        """Have registered addresses kept from peers that the registry does not know."""
        commands: list[Command] = []
        if (within := self.placeholder.news()) is not None:
            commands.append(FindCover(within))
        if changes := self.placeholder.mend(now.monotonic):
            commands.append(Configure(tuple(changes)))
        if told := self.placeholder.told():
            commands.append(told)
        return commands

    def covered(self, event: Covered, now: Now) -> list[Command]:
        """The registry has told which prefixes hold registered addresses."""
        self.placeholder.covered(event.within, event.cover)
        return self._keep_addresses(now)

    def _see(self, peer: DevicePeer, began: float) -> bool:
        """Follow what a look tells of one peer; True if nobody knew that it is there."""
        key = peer.public_key
        if self.placeholder.is_ours(peer, began):
            return False
        if self.flips.watches(key):
            self._flipped[key] = peer
        if self._removals.is_settled(key):
            self.residency.touch(key)  # it is being removed: what the look tells of it is over
            return False
        is_new = peer.is_whole and key not in self.residency
        resident = self.residency.read(peer, began)
        if resident is None:
            return False
        if not resident.registered:
            self.placeholder.foreign(key, resident.allowed_ips)
        self._idleness.observe(resident, peer, began)
        if is_new:
            resident.endpoint, resident.put_in = peer.endpoint, self._began_watching
        if self._claims.is_unsaved(key) or self.flips.watches(key):
            pass  # not before the registry has its claim: here, the kernel protects it
        elif why := self._idleness.overdue(key, resident, began):
            self._overdue[key] = why
        elif self._idleness.spare(key, resident, began):
            self._spare[key] = None
        return is_new

    def _ask_again(self) -> list[PublicKey]:
        """Has a peer that somebody put in by hand been registered since? An addition is in no change log."""
        keys = list(islice(self._foreign, max(AT_ONCE, len(self._foreign) // 10)))
        for key in keys:
            del self._foreign[key]  # to go to the end
        return keys

    def _choose(self, now: Now) -> None:
        """Who leaves after a look: those who should; if that makes too little room, the longest idle of the others."""
        departures = sorted(self._overdue.items(), key=lambda item: (item[1] is Departure.IDLE, self._active(item[0])))
        to_come = self.free() + self._removals.settled + len(departures)
        lacking = len(self._for_room) + self._settings.capacity // HEADROOM - to_come
        if lacking > 0 and to_come + len(self._spare) > 0:
            departures += [(key, Departure.ROOM) for key in heapq.nsmallest(lacking, self._spare, key=self._active)]
        elif self._for_room and to_come <= 0:
            self._nobody_until = self._idleness.urgent_look
        self._removals.retire(departures, now.monotonic + FRESH)
        self._overdue, self._spare, self._recalled = {}, {}, {}

    def _active(self, key: PublicKey) -> float:
        resident = self.residency.get(key)
        assert resident is not None  # who leaves is taken out of the look's findings
        return resident.active

    def _judge_flips(self, began: float, now: Now) -> list[Command]:
        changes, outcomes = self.flips.judge(self._flipped, began, now)
        self._flipped = {}
        anew = [prefix for change in changes for prefix in change.allowed_ips or ()]  # removed and installed again
        if kept := self.placeholder.take(anew, now.monotonic):
            self.placeholder.taken(anew)
            changes.insert(0, kept)
        commands: list[Command] = [Configure(tuple(changes))] if changes else []
        return commands + [Flipped(key, outcome) for key, outcome in outcomes.items()]

    # --- going ------------------------------------------------------------------------------------------------

    def evict(self, now: Now) -> list[Command]:
        """The next batch, if it is time for one. Not called while installs wait: they come first."""
        batch = self._removals.next_batch(now.monotonic)
        if not batch:
            return []
        residents = {key: resident.allowed_ips for key in batch if (resident := self.residency.get(key))}
        return [Evict(batch, self.placeholder.take_for_removal(residents, now.monotonic))]

    def evicted(self, event: Evicted, now: Now) -> list[Command]:
        """A batch has been removed, or could not be."""
        commands: list[Command] = []
        for key, why in self._removals.done(event.failed, event.took, now.monotonic).items():
            self.residency.touch(key)  # a look that has begun may still have it
            self.residency.remove(key)
            self._forget(key)
            if key in self._unseen:
                self._unseen.discard(key)
                continue
            commands.append(Left(key, why))
        for key in event.failed:
            if change := self.placeholder.give_back(key):
                commands.append(Configure((change,)))
            resident = self.residency.get(key)
            if resident is not None and resident.expires_at is not None:
                self._expiries.await_(resident.expires_at, key)  # it may have passed while the peer was on its way out
        postponed, self._postponed = self._postponed, {}
        if still_here := {key: said for key, said in postponed.items() if key in self.residency}:
            commands += self.registry_changed(RegistryChanged(still_here), now)
        return commands

    def _forget(self, key: PublicKey) -> None:
        self._foreign.pop(key, None)
        self.placeholder.not_foreign(key)
        self.placeholder.gone(key)
        self._claims.left(key)
        self._idleness.left(key)
        self._stays(key)
        self.flips.abandon(key)

    def _revoke(self, keys: Iterable[PublicKey]) -> list[PeerChange]:
        """These residents lose their sessions at once: without allowed IPs nothing passes, in either direction.

        That is cheap, also for many, which the removal is not; it follows.
        """
        changes = []
        for key in keys:
            self._removals.revoke(key)
            self.residency.remove(key)
            self._forget(key)
            changes.append(PeerChange(key, update_only=True, allowed_ips=()))
        return changes

    # --- the registry speaks ----------------------------------------------------------------------------------

    def registry_changed(self, event: RegistryChanged, now: Now) -> list[Command]:
        """Residents follow their registrations: who may stay keeps the session, who may not loses it at once."""
        stay: list[Peer] = []
        leave: list[PublicKey] = []
        told: list[Command] = []
        for key, registration in event.found.items():
            resident = self.residency.get(key)
            if resident is None:
                continue
            if self._removals.is_settled(key):
                self._postponed[key] = registration
                self.residency.release_prefixes(key)  # it will be gone: nobody has to wait for its addresses
                continue
            was_known = resident.registered or key in event.removed
            if registration is None and event.rechecked and not (was_known or self._settings.exclusive):
                continue
            if registration is None or refusal_of(registration.peer, now):
                leave.append(key)
                if resident.put_in and not resident.registered and (registration or key in event.removed):
                    told.append(put_back(key, registration, now))
                continue
            told += self._follow_claim(registration, resident, event.replaced, now)
            self._register(registration.peer, resident)
            if not event.rechecked and self._claims.was_reset(key, registration.claim):
                leave.append(key)  # the kernel's own memory of the greatest timestamp has to go, too
            elif not resident.is_as(registration.peer):
                stay.append(registration.peer)
        changes: list[PeerChange] = []
        updated: list[AllowedIP] = []
        kept = self._let_go((*leave, *(peer.public_key for peer in stay)), now)
        for peer in stay:
            if self.residency.owner_of_any(peer.allowed_ips, other_than=peer.public_key):
                leave.append(peer.public_key)  # an address of a peer that the registry does not know
            else:
                self.residency.update(peer)
                changes.append(PeerChange.update(peer))
                updated += peer.allowed_ips
        self.placeholder.taken(updated)
        changes = kept + self._revoke(leave) + changes
        return [Configure(tuple(changes)), *told] if changes else told

    def _follow_claim(self, registration: Registration, resident: Resident, replaced: bool, now: Now) -> list[Command]:
        """What the registry says of a resident's claim, and the device of its last handshake; what is to be saved."""
        key, stored = registration.peer.public_key, registration.claim
        if stored is not None:
            self._claims.learn(stored)
        claim = None
        if replaced:
            claim = self._claims.lacked(key, stored)
        elif not resident.registered and resident.handshake and resident.endpoint is not None:
            claim = self._claims.infer(key, stored, resident.handshake, resident.endpoint, now)
        return [] if claim is None else [SaveClaim(claim)]

    def _let_go(self, keys: Iterable[PublicKey], now: Now) -> list[PeerChange]:
        """These residents lose all their addresses before any of them takes another's; gives the change for that."""
        prefixes: list[AllowedIP] = []
        for key in keys:
            self.flips.abandon(key)
            prefixes += self.residency.release_prefixes(key)
        kept = self.placeholder.take(prefixes, now.monotonic)
        return [] if kept is None else [kept]

    # --- time passes ------------------------------------------------------------------------------------------

    def next_deadline(self, wall_offset: float, may_evict: bool) -> float | None:
        """When there is something to do, monotonic seconds. `wall_offset` is Unix minus monotonic seconds."""
        deadlines = [self._removals.next_deadline() if may_evict else None]
        if (expiry := self._expiries.next()) is not None:
            deadlines.append(expiry - wall_offset + 0.001)  # after it in both clocks, however rounded
        if not self._reading:
            deadlines.append(self.flips.next_deadline(self._idleness.relaxed_look))
            deadlines.append(self._next_look())
        return min((deadline for deadline in deadlines if deadline is not None and deadline < math.inf), default=None)

    def tick(self, now: Now) -> list[Command]:
        """Let expired residents go, look if it is time, remove who waits for it."""
        commands = self._expire(now)
        if now.monotonic >= self._next_look() or self.flips.due(now.monotonic, self._idleness.relaxed_look):
            commands += self.read_device()
        return commands

    def _next_look(self) -> float:
        due = self._idleness.relaxed_look if self._removals.ran_stale else self._idleness.next_look()
        if self._for_room:
            due = self._idleness.urgent_look
        return due if self._suspected == -math.inf else min(due, self._idleness.prompt_look)

    def _expire(self, now: Now) -> list[Command]:
        expired = self._expiries.take_due(now.wall, self._removals.is_settled)
        changes = self._let_go(expired, now) + self._revoke(expired)
        return [Configure(tuple(changes))] if changes else []

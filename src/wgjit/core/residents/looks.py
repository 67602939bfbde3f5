"""Looks: readings of the device. One look serves all decisions.

ReadDevice ── DeviceRead, in parts ── residents, idle residents, outcomes of flips ── Recheck, Configure, Came

WireGuard has no query for one peer, only for all peers. `idleness` tells when a look is due.
"""

from __future__ import annotations

import heapq
import math
from itertools import islice

from wgjit.core.knock.parking import Parking
from wgjit.core.residents.state import State
from wgjit.core.settings import Settings
from wgjit.core.vocabulary.commands import Command, Configure, ReadDevice, Recheck
from wgjit.core.vocabulary.events import DeviceRead
from wgjit.core.vocabulary.moment import Now
from wgjit.core.vocabulary.told import Arrival, Came, Departure, Flipped, Vanished
from wgjit.model import DevicePeer, PublicKey

AT_ONCE = 256
"""Number of unregistered peers that a look has looked up again; a tenth of them if that is more."""

SOME = 3
"""Residents that are named when several have vanished."""

HEADROOM = 64
"""Looks keep one place in this many free, so that a knock seldom has to wait until a peer has left."""


class Looks:
    """Looks at the device, one at a time, and what follows from each."""

    def __init__(self, settings: Settings, state: State, for_room: Parking) -> None:
        """`for_room`: the gateway's knocks for which a peer has to leave. They are only counted here."""
        self._settings = settings
        self._state = state
        self._for_room = for_room
        self._reading = False
        self._flipped: dict[PublicKey, DevicePeer] = {}
        """The peers of running flips, as the current look shows them."""
        self._ask_not_before = -math.inf
        self._nobody_until = -math.inf
        """Until this time it is known that no peer may leave."""
        self._began_watching = False
        self._suspected = -math.inf
        """When a revoked peer last knocked, if no look has been made since."""

    # --- when a look is due -----------------------------------------------------------------------------------

    def may_suspect(self, now: Now) -> bool:
        """Whether the device may be looked at because a knock seems to have got no answer."""
        return now.monotonic >= self._state.idleness.relaxed_look

    def suspect(self, key: PublicKey, now: Now) -> list[Command]:
        """A revoked peer has sent a proven knock. If another program has put the peer back, it has to go at once.

        A look shows whether the peer is there. If a look takes long, the peer is removed without a look: for WireGuard,
        removing a peer that is not there is no work.
        """
        state = self._state
        if key in state.residency or state.removals.is_settled(key):
            return []
        if not state.idleness.is_quick:
            state.unseen.add(key)
            state.removals.revoke(key)
            return []
        self._suspected = now.monotonic
        return self.read_device() if now.monotonic >= state.idleness.prompt_look else []

    def room_may_come(self, now: Now) -> bool:
        """False if it is known that no peer may leave."""
        removals = self._state.removals
        return bool(removals.settled or removals.retired) or self._reading or now.monotonic >= self._nobody_until

    def next_deadline(self) -> float | None:
        """When the next look is due, monotonic seconds; None while a look is being made."""
        if self._reading:
            return None
        flips = self._state.flips.next_deadline(self._state.idleness.relaxed_look)
        return min(self._due(), math.inf if flips is None else flips)

    def tick(self, now: Now) -> list[Command]:
        """Look at the device if a look is due."""
        state = self._state
        if now.monotonic >= self._due() or state.flips.due(now.monotonic, state.idleness.relaxed_look):
            return self.read_device()
        return []

    def _due(self) -> float:
        idleness = self._state.idleness
        due = idleness.relaxed_look if self._state.removals.ran_stale else idleness.next_look()
        if self._for_room:
            due = idleness.urgent_look
        return due if self._suspected == -math.inf else min(due, idleness.prompt_look)

    # --- the look ---------------------------------------------------------------------------------------------

    def read_device(self, *, at_once: bool = False) -> list[Command]:
        """Look at the device, unless a look is being made already."""
        if self._reading:
            return []
        state = self._state
        self._reading = True
        state.residency.reading_begins()
        state.overdue, state.spare, self._flipped = {}, {}, {}
        return [ReadDevice(at_once)]

    def device_read(self, event: DeviceRead, now: Now) -> list[Command]:
        """One part of a look at the device, or all of it."""
        state = self._state
        state.claims.watching(now)
        if event.began == -math.inf:
            self._reading = False
            state.residency.reading_fails()
            state.idleness.looked(event.took, now.monotonic)
            return self._judge_flips(event.began, now)
        found = [peer.public_key for peer in event.peers if self._see(peer, event.began, now)]
        commands: list[Command] = [Came(key, Arrival.FOUND) for key in found]
        if not event.more and event.began >= self._ask_not_before:
            self._ask_not_before = event.began + self._settings.pace.interval
            found += self._ask_again()
        state.foreign.update(dict.fromkeys(found))
        if found:
            commands.append(Recheck(tuple(found)))
        if event.more:
            return commands
        self._reading = False
        if not self._began_watching:
            self._began_watching = True
            state.routes.taken_over()
        if event.began > self._suspected:
            self._suspected = -math.inf
        state.idleness.looked(event.took, now.monotonic)
        gone = state.residency.reading_ends(event.began)
        for key in gone:
            state.forget(key, now)
        if ours := [(key, resident.name) for key, resident in gone.items() if resident.registered]:
            commands.append(Vanished(len(ours), tuple(ours[:SOME])))
        state.placeholder.looked(event.began)
        commands += state.placeholder.keep(now)
        commands += self._judge_flips(event.began, now)
        commands += state.completion.judge(event.began)
        self._choose(now)
        return commands

    def _see(self, peer: DevicePeer, began: float, now: Now) -> bool:
        """Update all data from one peer of a look; True if the peer was not known to be in the device."""
        state, key = self._state, peer.public_key
        if state.placeholder.is_ours(peer, began):
            return False
        if state.flips.watches(key):
            self._flipped[key] = peer
        if state.removals.is_settled(key):
            state.residency.touch(key)  # the peer is being removed: the look is outdated for it
            return False
        is_new = peer.is_whole and key not in state.residency
        resident = state.residency.read(peer, began)
        if resident is None:
            return False
        if not resident.registered:
            state.placeholder.foreign(key, resident.allowed_ips)
        if self._settings.fleet:
            state.holders.seen(key, resident, peer, now)
        state.routes.at(key, peer.endpoint, resident)
        if state.idleness.observe(resident, peer, began) and not is_new:
            state.completion.completed(key, began)
        if is_new:
            resident.endpoint, resident.put_in = peer.endpoint, self._began_watching
        if state.claims.is_unsaved(key) or state.flips.watches(key):
            pass  # the peer stays until the registry has its claim: while it is resident, the kernel protects it
        elif why := state.idleness.overdue(key, resident, began):
            state.overdue[key] = why
        elif state.idleness.spare(key, resident, began):
            state.spare[key] = None
        return is_new

    def _ask_again(self) -> list[PublicKey]:
        """Some foreign peers to look up again: they may have been registered, and no change log names a new peer."""
        foreign = self._state.foreign
        keys = list(islice(foreign, max(AT_ONCE, len(foreign) // 10)))
        for key in keys:
            del foreign[key]  # the caller adds the key again, at the end
        return keys

    def _choose(self, now: Now) -> None:
        """Choose the residents that leave: all overdue ones, and the longest idle of the others if room is lacking."""
        state = self._state
        departures = sorted(state.overdue.items(), key=lambda item: (item[1] is Departure.IDLE, self._active(item[0])))
        to_come = state.free() + state.removals.settled + len(departures)
        lacking = len(self._for_room) + state.pins_lack_room + self._settings.capacity // HEADROOM - to_come
        if lacking > 0 and to_come + len(state.spare) > 0:
            departures += [(key, Departure.ROOM) for key in heapq.nsmallest(lacking, state.spare, key=self._active)]
        elif self._for_room and to_come <= 0:
            self._nobody_until = state.idleness.urgent_look
        state.removals.retire(departures, now.monotonic + self._settings.pace.fresh)
        state.overdue, state.spare, state.recalled = {}, {}, {}

    def _active(self, key: PublicKey) -> float:
        resident = self._state.residency.get(key)
        assert resident is not None  # a peer that leaves is taken out of `overdue` and `spare`
        return resident.active

    def _judge_flips(self, began: float, now: Now) -> list[Command]:
        state = self._state
        changes, outcomes = state.flips.judge(self._flipped, began, now)
        self._flipped = {}
        anew = [prefix for change in changes for prefix in change.allowed_ips or ()]  # of peers that are reinstalled
        if kept := state.placeholder.take(anew, now.monotonic):
            state.placeholder.taken(anew)
            changes.insert(0, kept)
        commands: list[Command] = [Configure(tuple(changes))] if changes else []
        return commands + [Flipped(key, outcome) for key, outcome in outcomes.items()]

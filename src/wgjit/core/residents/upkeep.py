"""What happens to residents without a knock: a reading of the device, a change in the registry, or time.

Tick ── ReadDevice ── DeviceRead ── residents, idle residents ── Evict ── Evicted ── Left
RegistryChanged, expiry ── take the allowed IPs away at once ── Evict ── Evicted ── Left
"""

from __future__ import annotations

import math

from wgjit.core.knock.claims import Claims
from wgjit.core.knock.parking import Parking
from wgjit.core.residents.looks import Looks
from wgjit.core.residents.news import News
from wgjit.core.residents.state import State
from wgjit.core.settings import Settings
from wgjit.core.vocabulary.commands import Command, Configure, Evict
from wgjit.core.vocabulary.events import Covered, Evicted
from wgjit.core.vocabulary.moment import Now
from wgjit.core.vocabulary.told import Left
from wgjit.model import Endpoint, PublicKey


class Upkeep:
    """The residents of one interface, from the install to the removal."""

    def __init__(self, settings: Settings, claims: Claims, for_room: Parking, interface: PublicKey) -> None:
        """`claims` and `for_room` are the gateway's own. `for_room` has the knocks for which a peer has to leave."""
        self.state = State(settings, claims, interface)
        self.looks = Looks(settings, self.state, for_room)
        self.news = News(settings, self.state)

    # --- a resident knocks --------------------------------------------------------------------------------------

    def knocked(self, key: PublicKey, source: Endpoint, now: Now) -> float | None:
        """The resident has sent a proven knock. Return the seconds since its last one, None if the peer has left."""
        state = self.state
        resident = state.residency.get(key)
        if resident is None:
            return None
        since, resident.last_knock = now.monotonic - resident.last_knock, now.monotonic
        resident.active = now.monotonic
        state.idleness.knocked(key)
        state.completion.knocked(key, source, now.monotonic)
        state.stays(key)
        state.flips.replays.abandon(key)  # the client has tried again by itself
        return since

    def is_leaving(self, key: PublicKey) -> bool:
        """Whether the peer's removal is being made or is certain. A knock of the peer has to wait for it."""
        return self.state.removals.is_settled(key)

    def recall(self, key: PublicKey) -> None:
        """A knock claims this resident's key. Do not remove the peer until the knock is proven or refused."""
        if why := self.state.removals.recall(key):
            self.state.recalled[key] = why

    def was_forged(self, key: PublicKey) -> None:
        """The knock was forged or old. The peer may be removed again, since a stranger's packets must keep no peer."""
        state = self.state
        if (why := state.recalled.pop(key, None)) and key in state.residency:
            state.removals.retire_again(key, why)

    # --- residents leave ----------------------------------------------------------------------------------------

    def evict(self, now: Now) -> list[Command]:
        """The next batch of removals, if one is due. Not called while installs wait, because installs come first."""
        state = self.state
        batch = state.removals.next_batch(now.monotonic)
        if not batch:
            return []
        for key in batch:
            state.routes.touch(key)
        residents = {key: resident.allowed_ips for key in batch if (resident := state.residency.get(key))}
        return [Evict(batch, state.placeholder.take_for_removal(residents, now.monotonic))]

    def evicted(self, event: Evicted, now: Now) -> list[Command]:
        """The device has removed a batch, or failed to."""
        state = self.state
        commands: list[Command] = []
        for key, why in state.removals.done(event.failed, event.took, now.monotonic).items():
            resident = state.residency.get(key)
            name = state.names.pop(key, None) if resident is None else resident.name
            state.residency.touch(key)  # a look that has begun may still show the peer
            state.residency.remove(key)
            state.forget(key, now)
            if key in state.unseen:
                state.unseen.discard(key)
                continue
            commands.append(Left(key, why, name))
        for key in event.failed:
            state.routes.touch(key)
            if change := state.placeholder.give_back(key):
                commands.append(Configure((change,)))
            resident = state.residency.get(key)
            if resident is not None and resident.expires_at is not None:
                state.expiries.await_(resident.expires_at, key)  # the peer may have expired during the removal
        return commands + self.news.after_removals(now)

    # --- the placeholder keeps addresses ------------------------------------------------------------------------

    def covered(self, event: Covered, now: Now) -> list[Command]:
        """The registry has told which prefixes hold registered addresses."""
        self.state.placeholder.covered(event.within, event.cover)
        return self.state.placeholder.keep(now)

    # --- time passes --------------------------------------------------------------------------------------------

    def next_deadline(self, wall_offset: float, may_evict: bool) -> float | None:
        """When the next tick is due, monotonic seconds. `wall_offset` is Unix minus monotonic seconds."""
        deadlines = [self.looks.next_deadline(), self.state.removals.next_deadline() if may_evict else None]
        if (expiry := self.state.expiries.next()) is not None:
            deadlines.append(expiry - wall_offset + 0.001)  # after the expiry in both clocks, in spite of rounding
        return min((deadline for deadline in deadlines if deadline is not None and deadline < math.inf), default=None)

    def tick(self, now: Now) -> list[Command]:
        """Revoke expired residents, and look at the device if a look is due."""
        return self.news.expire(now) + self.looks.tick(now)

"""The order of the checks: one knock from capture to verdict. Cheapest first.

    Arrived ─ shape, mac1, limits, es (claimed key) ─┬─ resident ── Release, FollowUp ── prove, follow claim ── Tell
                                                     └─ Lookup ── LookedUp ─ enabled? proven (ss)? newer? free? room?
                                                                              └─ Install ── Installed ─ deliver ─ Tell

A store that is not local is asked for proven keys only, so `ss` then comes before the Lookup.
A refused packet that is held is released unchanged: the kernel has its own answer to it, and its own defence.
A knock waits while its peer is being removed, or while another peer has to leave first. Then it is looked up (again).
The module `residents/upkeep.py` has what happens to residents without a knock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from wgjit.core.delivery.flips import initiation
from wgjit.core.knock.admission import RecentRefusals
from wgjit.core.knock.barred import refusal_of
from wgjit.core.knock.claims import Claims
from wgjit.core.knock.door import Door
from wgjit.core.knock.inquiries import Inquiries
from wgjit.core.knock.knocks import Knock, Knocks
from wgjit.core.knock.parking import REKEY_TIMEOUT, Parking
from wgjit.core.knock.takeovers import Takeovers
from wgjit.core.residents.pins import Pins
from wgjit.core.residents.residency import Residency
from wgjit.core.residents.upkeep import Upkeep
from wgjit.core.settings import Settings
from wgjit.core.takeover.strays import Strays
from wgjit.core.vocabulary.commands import Ask, Command, FollowUp, Install, Lookup, Recheck, Release, Replay, SaveClaim
from wgjit.core.vocabulary.events import (
    Arrived,
    ClaimsSaved,
    Confirmed,
    Covered,
    DeviceRead,
    Drain,
    Event,
    Evicted,
    FleetClock,
    FleetMembers,
    FollowUpDue,
    HeldElsewhere,
    HoldersFound,
    Installed,
    LookedUp,
    Pinned,
    RegistryChanged,
    Stray,
    Tick,
    Undrain,
)
from wgjit.core.vocabulary.moment import Now
from wgjit.core.vocabulary.told import Arrival, Came, Count, Tell
from wgjit.model import Claim, Delivery, Endpoint, Holding, Peer, PeerChange, PublicKey, Registration, Removed
from wgjit.record import Decision, FeedRecord
from wgjit.refusal import Refusal
from wgjit.wire.messages import parse_initiation
from wgjit.wire.noise import Responder
from wgjit.wire.packets import peel

SUSPICION_INTERVAL = 10.0
"""Least seconds between two readings of the device because residents' knocks seem to get no answer."""

_FINAL = frozenset({Refusal.UNKNOWN, Refusal.DISABLED, Refusal.EXPIRED})
"""Answers of a registry that a moment later are still the same."""


class Gateway:
    """All decisions for one interface. Pure: the same events at the same times give the same commands."""

    def __init__(self, responder: Responder, settings: Settings) -> None:
        self._responder = responder
        self._settings = settings
        self._door = Door(settings.exchanges, settings.source_rate)
        self._refusals = RecentRefusals()
        self._claims = Claims(settings.gateway, settings.max_skew)
        self._knocks = Knocks()
        self._takeovers = Takeovers()
        self._installing: dict[PublicKey, tuple[Peer, list[Knock]]] = {}
        self._inquiries = Inquiries()
        self._after_removal = Parking()
        """Knocks of peers that are just being removed."""
        self._for_room = Parking()
        """Knocks for which another peer has to leave first."""
        self._for_look = Parking()
        """Knocks that wait for a reading of the device before the install. Only for devices with few residents."""
        self._upkeep = Upkeep(settings, self._claims, self._for_room, responder.public_key)
        self._strays = Strays(settings, self._upkeep.state, self._upkeep.looks, lambda: self._takeovers.is_draining)
        self._pins = Pins(settings, self._upkeep.state, self._upkeep.looks, lambda: self._takeovers.is_draining)
        self._last_suspicion = float("-inf")
        self._wall_offset = 0.0
        self._handlers: dict[type, Callable[[Any, Now], list[Command]]] = {
            Arrived: self._arrived,
            LookedUp: self._looked_up,
            Installed: self._installed,
            Evicted: self._evicted,
            FollowUpDue: self._follow_up,
            DeviceRead: self._device_read,
            RegistryChanged: self._registry_changed,
            Pinned: self._pinned,
            Covered: self._upkeep.covered,
            ClaimsSaved: self._claims_saved,
            Confirmed: self._confirmed,
            HeldElsewhere: self._held_elsewhere,
            FleetClock: self._fleet_clock,
            FleetMembers: self._fleet_members,
            Drain: self._drain,
            Undrain: self._undrain,
            Stray: self._strays.came,
            HoldersFound: self._holders_found,
            Tick: self._tick,
        }

    @property
    def settings(self) -> Settings:
        """The operator's settings."""
        return self._settings

    @property
    def residency(self) -> Residency:
        """The table of residents."""
        return self._upkeep.state.residency

    @property
    def holding(self) -> int:
        """Number of residents that this gateway holds; 0 without a fleet."""
        return len(self._upkeep.state.holders)

    @property
    def drains(self) -> bool:
        """Whether the gateway takes over no clients of other gateways, since it is to leave."""
        return self._takeovers.is_draining

    @property
    def others(self) -> int:
        """Number of other gateways of the fleet that live and do not drain, as far as is known."""
        return self._takeovers.serving

    @property
    def left(self) -> int:
        """Number of residents that this gateway holds or awaits; 0 without a fleet. A drain is over when it is 0."""
        return self._upkeep.state.holders.residents

    @property
    def routes_left_out(self) -> int:
        """Number of prefixes of held peers that get no route, since it would do harm."""
        return self._upkeep.state.routes.left_out

    @property
    def takes_nobody_over(self) -> str | None:
        """Why this gateway does not take over clients that the network leads here, for people; None if it does."""
        why_not = self._strays.why_not()
        return None if why_not is None else why_not[1]

    @property
    def sheltered(self) -> int:
        """Number of prefixes that the placeholder keeps for registered peers that are not in the device."""
        return self._upkeep.state.placeholder.size

    def concerned(self) -> set[PublicKey]:
        """Keys whose registration matters now: residents, and peers that are looked up or installed. Thread-safe."""
        return {*self.residency.keys(), *self._inquiries.keys()}

    def is_concerned(self, key: PublicKey) -> bool:
        """Whether this key is one of `concerned`. Thread-safe, and copies nothing."""
        return key in self.residency or key in self._inquiries

    def handle(self, event: Event, now: Now) -> list[Command]:
        """Decide on an event; return the commands to perform. Never raises for anything that came in a packet."""
        self._wall_offset = now.wall - now.monotonic
        commands = self._handlers[type(event)](event, now)
        if self._settings.fleet:
            commands += self._upkeep.state.holders.take_commands()
        return self._upkeep.state.routes.follow(commands)

    def next_deadline(self) -> float | None:
        """The latest time for the next Tick, monotonic seconds; None if nothing waits."""
        first = self._knocks.first_held()
        hold = first.arrived + self._settings.hold_deadline if first else None
        upkeep = self._upkeep.next_deadline(self._wall_offset, may_evict=not self._installing)
        return min((d for d in (hold, upkeep, self._strays.next_deadline()) if d is not None), default=None)

    # --- a packet arrives: checks of its bytes alone --------------------------------------------------------

    def _arrived(self, event: Arrived, now: Now) -> list[Command]:
        datagram = peel(event.packet)
        if isinstance(datagram, Refusal):
            return self._not_an_initiation(event, datagram)
        initiation = parse_initiation(datagram.payload)
        if isinstance(initiation, Refusal):
            return self._not_an_initiation(event, initiation)

        source = datagram.source
        if event.scope and source.address[:2] == b"\xfe\x80":
            source = Endpoint(source.address, source.port, event.scope)
        record = FeedRecord(now.wall, source, datagram.destination)
        knock = Knock(event.knock, record, source.address, event.held, now.monotonic)

        if not self._responder.check_mac1(initiation):
            return self._refuse(knock, Refusal.BAD_MAC1, now)
        if refusal := self._door.admit(initiation.mac1, source.address, now.monotonic):
            return self._refuse(knock, refusal, now)
        claimed = self._responder.identify(initiation)
        if isinstance(claimed, Refusal):
            return self._refuse(knock, claimed, now)
        knock.claimed = claimed
        key = record.public_key = claimed.public_key

        if key in self.residency and not self._upkeep.is_leaving(key):
            self._upkeep.recall(key)
            self._knocks.add(knock)
            return [*self._let_go(knock), FollowUp(knock.number)]
        if len(self._knocks) >= self._settings.max_waiting:
            return self._refuse(knock, Refusal.OVERLOADED, now)
        if not self._settings.store_is_local and (refusal := self._may_ask(knock, now)):
            return self._refuse(knock, refusal, now)
        self._knocks.add(knock)
        return self._look_up(knock, now)

    def _not_an_initiation(self, event: Arrived, refusal: Refusal) -> list[Command]:
        count = Count(event.knock, refusal)
        return [Release(event.knock), count] if event.held else [count]

    def _may_ask(self, knock: Knock, now: Now) -> Refusal | None:
        """A remote registry is asked for proven keys only, and not again for a key that it has just refused."""
        return self._prove(knock, now) or self._refusals.recall(knock.key, now.monotonic)

    def _look_up(self, knock: Knock, now: Now) -> list[Command]:
        """Ask for the key's registration. If its peer is just being removed, the knock waits for that first."""
        key = knock.key
        if not self._upkeep.is_leaving(key):
            knock.ticket = self._inquiries.begin(key)
            return [Lookup(knock.number, key)]
        if refusal := self._prove(knock, now):  # only proven knocks wait, so a forger cannot take a peer's places
            return self._refuse(knock, refusal, now)
        self._upkeep.state.removals.hurry(key)
        return self._park(self._after_removal, key, knock, now)

    def _park(self, parking: Parking, key: PublicKey, knock: Knock, now: Now) -> list[Command]:
        return [] if parking.park(key, knock) else self._refuse(knock, Refusal.OVERLOADED, now)

    def _follow_up(self, event: FollowUpDue, now: Now) -> list[Command]:
        """Prove a resident's knock and update its claim. The kernel has the packet already.

        After the resident has left, the claim tells an old initiation from a new one.
        """
        knock = self._knocks.get(event.knock)
        if knock is None or knock.record.public_key is None:
            return []
        key = knock.record.public_key
        resident = self.residency.get(key)
        known = None if resident is None else resident.static_secret
        knock.record.name = None if resident is None else resident.name
        if refusal := self._prove(knock, now, known) or self._claims.follow(knock, None, now):
            self._upkeep.was_forged(key)
            return self._refuse(knock, refusal, now)
        if resident is not None and knock.claimed is not None:
            resident.static_secret = knock.claimed.static_secret
        self._knocks.remove(knock)
        save = self._accept(self._claims.followed(knock, None), knock, now)
        knock.record.decision = Decision.RESIDENT
        return [save, *self._suspect(knock, now), Tell(knock.number, knock.record)]

    def _suspect(self, knock: Knock, now: Now) -> list[Command]:
        """Read the device if the resident's knocks seem to get no answer.

        A session that is up rekeys every 120 s. A second knock within a retry's time means that the first one got no
        answer: perhaps another program removed the peer. After a look, the client's next knock installs the peer.
        """
        since = self._upkeep.knocked(knock.key, knock.source, now)
        if since is None or since > 1.5 * REKEY_TIMEOUT or now.monotonic - self._last_suspicion < SUSPICION_INTERVAL:
            return []
        if not self._upkeep.looks.may_suspect(now):
            return []
        self._last_suspicion = now.monotonic
        return self._upkeep.looks.read_device()

    # --- the registry answers: proven, newer, free, room? ---------------------------------------------------

    def _looked_up(self, event: LookedUp, now: Now) -> list[Command]:
        knock = self._knocks.get(event.knock)
        if knock is None or knock.claimed is None:
            return []
        if self._inquiries.end(knock.claimed.public_key, knock.ticket):
            return self._look_up(knock, now)
        found = event.found
        if isinstance(found, Registration):
            knock.record.name = found.peer.name
            self._learn_holder(knock, found.holding)
        elif not event.asked and self._may_ask_the_record(knock, found, now):
            knock.ticket = self._inquiries.begin(knock.key)
            return [Ask(knock.number, knock.key)]
        if refusal := self._may_install(knock, found, now):
            if refusal in _FINAL and knock.record.proven:
                self._refusals.remember(knock.claimed.public_key, refusal, now.monotonic)
            gone = self._let_go(knock)
            return [*gone, *self._barred(knock, found, refusal, now), *self._refuse(knock, refusal, now)]
        assert isinstance(found, Registration)  # _may_install refuses all else
        knock.claim = self._claims.made(knock)

        peer = found.peer
        if self._upkeep.is_leaving(peer.public_key):  # its removal began after the lookup
            return self._look_up(knock, now)
        if peer.public_key in self.residency:  # another knock of the same client came first
            self._upkeep.knocked(peer.public_key, knock.source, now)
            return self._deliver(knock, peer, None, now)
        if peer.public_key in self._installing:
            self._installing[peer.public_key][1].append(knock)
            return []
        if refusal := self._may_take(knock, now):
            gone = self._let_go(knock)
            save = self._accept(knock.claim, knock, now, said=True)  # so that nobody can replay the packet later
            return [*gone, save, *self._refuse(knock, refusal, now)]
        if not knock.looked and len(self.residency) < self._settings.watchful:
            return self._look_first(knock, now)
        if self._upkeep.state.free() <= len(self._installing):
            return self._wait_for_room(knock, now)
        self._installing[peer.public_key] = (peer, [knock])
        knock.ticket = self._inquiries.begin(peer.public_key)
        if self._delivery_of(knock) is Delivery.FLIP:
            return [Install(initiation(peer, knock.source))]
        return [Install(PeerChange.install(peer))]

    def _may_take(self, knock: Knock, now: Now) -> Refusal | None:
        """Whether the peer may be taken from the gateway that holds it. Asked once, since a knock may be looked up
        again."""
        if knock.taken:
            return None
        knock.taken = True
        return self._takeovers.judge(knock.key, knock.holding, now)

    def _learn_holder(self, knock: Knock, holding: Holding | None) -> None:
        knock.holding = holding
        if holding is not None and holding.until is None and holding.gateway != self._settings.gateway:
            knock.record.held_by = holding.gateway

    def _may_ask_the_record(self, knock: Knock, found: Removed | Refusal | None, now: Now) -> bool:
        """Whether the registry of record is asked for a key that the replica does not have.

        The key has to be proven, and was not refused a moment ago.
        """
        if not self._settings.fleet or isinstance(found, Refusal):
            return False
        return not (self._prove(knock, now) or self._refusals.recall(knock.key, now.monotonic))

    def _look_first(self, knock: Knock, now: Now) -> list[Command]:
        """Read the device before the install.

        An install silently takes its prefixes from any peer that has them. Reading a small device costs little, and
        shows whether another program has added such a peer since the last look.
        """
        knock.looked = True
        waits = self._park(self._for_look, knock.key, knock, now)
        return waits or self._upkeep.looks.read_device(at_once=True)

    def _barred(
        self, knock: Knock, found: Registration | Removed | Refusal | None, refusal: Refusal, now: Now
    ) -> list[Command]:
        """Handle a knock of a peer that was removed, is disabled or has expired.

        If the knock is proven, its claim is updated, so that nobody can replay the packet once the peer may connect.
        The gateway also makes sure that the peer is not in the device.
        """
        if refusal not in _FINAL or not isinstance(found, Registration | Removed):
            return []
        if self._prove(knock, now) or self._claims.follow(knock, found.claim, now):
            return []
        claim = self._claims.accept(self._claims.followed(knock, found.claim))
        return [SaveClaim(claim, said=True), *self._upkeep.looks.suspect(claim.public_key, now), *self._evict(now)]

    def _may_install(self, knock: Knock, found: Registration | Removed | Refusal | None, now: Now) -> Refusal | None:
        if found is None or isinstance(found, Removed):
            return Refusal.UNKNOWN
        if isinstance(found, Refusal):
            return found
        peer = found.peer
        if refusal := refusal_of(peer, now):
            return refusal
        if refusal := self._prove(knock, now):
            return refusal
        if refusal := self._claims.judge(knock, found.claim, now):
            return refusal
        if self.residency.owner_of_any(peer.allowed_ips, other_than=peer.public_key):
            return Refusal.CONFLICT
        return None

    def _prove(self, knock: Knock, now: Now, static_secret: bytes | None = None) -> Refusal | None:
        """Open the timestamp under `ss`, once per knock. If `static_secret` (`ss`) is given, this costs no X25519."""
        if knock.record.proven:
            return None
        assert knock.claimed is not None
        if static_secret is None and (refusal := self._door.exchange(knock.address, now.monotonic)):
            return refusal
        timestamp = self._responder.prove(knock.claimed, static_secret)
        if isinstance(timestamp, Refusal):
            return timestamp
        knock.record.proven, knock.record.timestamp = True, timestamp
        return None

    def _accept(self, claim: Claim, knock: Knock, now: Now, *, said: bool = False) -> SaveClaim:
        """Remember the claim, because the gateway acts on it; return the command that saves it."""
        self._door.proven(knock.address, now.monotonic)
        accepted = self._claims.accept(claim)
        self._upkeep.state.holders.proven(claim, knock.record.time or now.wall, now)
        return SaveClaim(accepted, said)

    # --- the device answers: deliver --------------------------------------------------------------------------

    def _installed(self, event: Installed, now: Now) -> list[Command]:
        peer, knocks = self._installing.pop(event.key)
        call = self._strays.call(event.key)
        pin = self._pins.take(event.key)
        began = call or pin or knocks[0]
        outdated = self._inquiries.end(event.key, began.ticket)
        if event.failure is not None:
            if pin is not None:
                self._pins.failed(pin, event.failure)
            failed = [] if call is None else self._strays.failed(call, event.failure)
            return failed + [command for knock in knocks for command in self._refuse(knock, event.failure, now)]
        if call is not None and not knocks:
            called = self._strays.installed(call, now)
            return [*called, Recheck((event.key,))] if outdated else called
        if pin is not None and not knocks:
            came = self._pins.installed(pin, now)
            return [*came, Recheck((event.key,))] if outdated else came
        arrived = max(knock.arrived for knock in knocks)
        resident = self._upkeep.state.installed(peer, arrived, knocks[0].holding, now)
        resident.static_secret = knocks[0].claimed.static_secret if knocks[0].claimed else None
        self._upkeep.state.routes.at(peer.public_key, knocks[-1].source, resident)
        self._upkeep.state.completion.knocked(peer.public_key, knocks[-1].source, arrived)
        newest = max(knocks, key=lambda knock: knock.record.timestamp or b"")
        firsts = {knock.record.timestamp: knock for knock in reversed(knocks)}
        commands: list[Command] = [] if call is None else self._strays.overtaken(call)
        for knock in knocks:
            if knock is firsts[knock.record.timestamp]:
                commands += self._deliver(knock, peer, newest, now)
            else:
                commands += self._refuse(knock, Refusal.DUPLICATE, now)  # a copy that came while the first one waited
        commands.append(Came(event.key, Arrival.INSTALLED))
        return [*commands, Recheck((event.key,))] if outdated else commands

    def _deliver(self, knock: Knock, peer: Peer, newest: Knock | None, now: Now) -> list[Command]:
        """Deliver the knock of a peer that is resident now.

        `newest` is the knock for which the peer was installed, None if the peer was resident before.
        """
        self._knocks.remove(knock)
        record = knock.record
        record.decision = Decision.INSTALLED if knock is newest else Decision.RESIDENT
        record.delivery = self._delivery_of(knock)
        commands = self._let_go(knock)
        if record.delivery is Delivery.REPLAY and (knock is newest or newest is None):
            commands.append(Replay(knock.number))
            if newest is not None:
                self._upkeep.state.flips.replays.start(peer, knock.source, now)
        elif record.delivery is Delivery.FLIP and knock is newest:
            self._upkeep.state.flips.start(peer, knock.source, now)
        if knock.claim is not None:
            commands.append(self._accept(knock.claim, knock, now, said=True))
        return [*commands, Tell(knock.number, record)]

    def _delivery_of(self, knock: Knock) -> Delivery:
        if not knock.held:
            return self._settings.delivery
        # If the packet was released at its deadline, the kernel has dropped it by now. The client's retry remains.
        return Delivery.NONE if knock.released else Delivery.HOLD

    # --- how a knock ends -------------------------------------------------------------------------------------

    def _let_go(self, knock: Knock) -> list[Command]:
        """The one Release of a held packet; empty if the packet is a copy or has been released."""
        return [Release(knock.number)] if self._knocks.release(knock) else []

    def _refuse(self, knock: Knock, refusal: Refusal, now: Now) -> list[Command]:
        self._knocks.remove(knock)
        self._door.refused(knock.address, refusal, now.monotonic)
        knock.record.decision, knock.record.refusal = Decision.REFUSED, refusal
        return [*self._let_go(knock), Tell(knock.number, knock.record)]

    # --- peers leave ------------------------------------------------------------------------------------------

    def _wait_for_room(self, knock: Knock, now: Now) -> list[Command]:
        """The device is full. The knock waits until another peer leaves; it is refused if no peer may leave."""
        if not self._upkeep.looks.room_may_come(now):
            return self._refuse(knock, Refusal.FULL, now)
        return self._park(self._for_room, knock.key, knock, now)

    def _evicted(self, event: Evicted, now: Now) -> list[Command]:
        commands = self._upkeep.evicted(event, now)
        for key in event.keys:
            for knock in self._after_removal.take(key):
                commands += self._look_up(knock, now)
        return commands + self._give_room(now) + self._evict(now)

    def _device_read(self, event: DeviceRead, now: Now) -> list[Command]:
        commands = self._upkeep.looks.device_read(event, now)
        if event.more:
            return commands
        for knock in self._for_look.take_first(len(self._for_look)):
            commands += self._look_up(knock, now)
        commands += self._strays.confirmed()
        for found in self._strays.looked():
            commands += self._holders_found(found, now)
        for pinned in self._pins.looked():
            commands += self._pinned(pinned, now)
        return commands + self._give_room(now) + self._evict(now)

    def _registry_changed(self, event: RegistryChanged, now: Now) -> list[Command]:
        self._inquiries.changed(event.found)
        for key in event.found:
            self._refusals.forget(key)
        return self._upkeep.news.registry_changed(event, now) + self._evict(now)

    def _pinned(self, event: Pinned, now: Now) -> list[Command]:
        commands, begun = self._pins.found(event, now, self._installing, len(self._installing))
        for registration in begun:
            key = registration.peer.public_key
            self._pins.begin(registration, self._inquiries.begin(key))
            self._installing[key] = (registration.peer, [])
        return commands

    # --- the fleet --------------------------------------------------------------------------------------------

    def _confirmed(self, event: Confirmed, now: Now) -> list[Command]:
        state = self._upkeep.state
        for key in event.keys:
            resident = self.residency.get(key)
            if resident is not None and state.holders.confirmed(key, resident, now):
                state.idleness.confirmed(key)
                state.completion.completed(key, now.monotonic)
                state.stays(key)  # a look may just have found the peer without a session
        return self._strays.confirmed(event.keys)

    def _held_elsewhere(self, event: HeldElsewhere, now: Now) -> list[Command]:
        return self._upkeep.news.held_elsewhere(event, now) + self._evict(now)

    def _fleet_clock(self, event: FleetClock, _now: Now) -> list[Command]:
        self._claims.fleet_clock(event.offset)
        self._upkeep.state.holders.fleet_clock(event.offset)
        self._strays.fleet_clock(event.offset)
        return []

    def _fleet_members(self, event: FleetMembers, _now: Now) -> list[Command]:
        self._takeovers.others(event.others)
        return []

    def _drain(self, _event: Drain, _now: Now) -> list[Command]:
        self._takeovers.drain()
        self._upkeep.state.idleness.is_draining = True
        return []

    def _undrain(self, _event: Undrain, now: Now) -> list[Command]:
        self._takeovers.undrain(now)
        self._upkeep.state.idleness.is_draining = False
        return []

    def _holders_found(self, event: HoldersFound, now: Now) -> list[Command]:
        commands, call = self._strays.found(event, now, self._installing.keys())
        if call is not None:
            call.ticket = self._inquiries.begin(call.peer.public_key)
            self._installing[call.peer.public_key] = (call.peer, [])
        return commands

    # --- room -------------------------------------------------------------------------------------------------

    def _give_room(self, now: Now) -> list[Command]:
        """Go on with knocks that waited for room. Refuse all that still wait if no peer may leave."""
        commands: list[Command] = []
        for knock in self._for_room.take_first(max(0, self._upkeep.state.free() - len(self._installing))):
            commands += self._look_up(knock, now)
        if not self._upkeep.looks.room_may_come(now):
            for knock in self._for_room.take_first(len(self._for_room)):
                commands += self._refuse(knock, Refusal.FULL, now)
        return commands

    def _evict(self, now: Now) -> list[Command]:
        """The next batch of removals, unless an install is being made."""
        return [] if self._installing else self._upkeep.evict(now)

    # --- time passes ------------------------------------------------------------------------------------------

    def _claims_saved(self, event: ClaimsSaved, _now: Now) -> list[Command]:
        for claim in event.claims:
            self._claims.saved(claim, is_resident=claim.public_key in self.residency)
        return []

    def _tick(self, _event: Tick, now: Now) -> list[Command]:
        commands: list[Command] = []
        while (knock := self._knocks.first_held()) and now.monotonic >= knock.arrived + self._settings.hold_deadline:
            commands += self._let_go(knock)
        for knock in self._after_removal.take_overdue(now.monotonic):
            commands += self._refuse(knock, Refusal.DEVICE_FAILED, now)
        for knock in self._for_room.take_overdue(now.monotonic):
            commands += self._refuse(knock, Refusal.FULL, now)
        for knock in self._for_look.take_overdue(now.monotonic):
            commands += self._refuse(knock, Refusal.DEVICE_FAILED, now)
        return commands + self._strays.tick(now) + self._upkeep.tick(now) + self._evict(now)

"""The order of the checks: one knock from capture to verdict. Cheapest first.

    Arrived ─ shape, mac1, limits, es (claimed key) ─┬─ resident ── Release, FollowUp ── prove, follow claim ── Tell
                                                     └─ Lookup ── LookedUp ─ enabled? proven (ss)? newer? free?
                                                                              └─ Install ── Installed ─ deliver ─ Tell

A store that is not local is asked for proven keys only: then `ss` comes before the Lookup.
Whatever is refused, a held packet is released as it is: the kernel has its own answer to it, and its own defence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from wgjit.core.admission import RecentInitiations, SourceLimits
from wgjit.core.claims import Claims
from wgjit.core.flips import KEEPALIVE, Flips
from wgjit.core.record import Decision, FeedRecord
from wgjit.core.residency import Residency
from wgjit.core.vocabulary import (
    Arrived,
    ClaimsSaved,
    Command,
    Configure,
    Count,
    DeviceRead,
    Event,
    FlipEnded,
    FollowUp,
    FollowUpDue,
    Install,
    Installed,
    LookedUp,
    Lookup,
    Now,
    ReadDevice,
    RegistryChanged,
    Release,
    Replay,
    SaveClaim,
    Tell,
    Tick,
)
from wgjit.model import Claim, Delivery, Endpoint, Peer, PeerChange, PublicKey, Registration
from wgjit.refusal import Refusal
from wgjit.wire.messages import parse_initiation
from wgjit.wire.noise import Claimed, Responder
from wgjit.wire.packets import peel

REKEY_TIMEOUT = 5.0
"""Seconds after which a client whose handshake got no answer tries again (messages.h)."""

SUSPICION_INTERVAL = 10.0
"""Seconds at least between two readings of the device that residents' fruitless knocks call for."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the operator decided, as far as the core needs it."""

    gateway: str = "gateway"
    """This gateway's name in claims."""
    delivery: Delivery = Delivery.NONE
    """How a captured copy is delivered. A held packet is released, whatever this says."""
    store_is_local: bool = True
    hold_deadline: float = 0.5
    """Seconds that a held packet may wait for its verdict."""
    max_skew: float = 3600.0
    """Seconds that a client's clock may be ahead of ours."""
    max_waiting: int = 4096
    """Knocks that may wait for the store at once."""


@dataclass(slots=True)
class _Knock:
    """One initiation between its Arrived and its Tell."""

    number: int
    record: FeedRecord
    held: bool
    arrived: float
    claimed: Claimed | None = None
    claim: Claim | None = None
    """What this knock will leave in the store if it is acted upon."""
    released: bool = False
    """It was held and has been let go: with a verdict, or because its deadline passed."""


class Gateway:
    """All decisions for one interface. Pure: the same events at the same times give the same commands."""

    def __init__(self, responder: Responder, settings: Settings) -> None:
        self._responder = responder
        self._settings = settings
        self._sources = SourceLimits()
        self._recent = RecentInitiations()
        self._claims = Claims(settings.max_skew)
        self.residency = Residency()
        self._flips = Flips()
        self._knocks: dict[int, _Knock] = {}
        self._held: dict[int, _Knock] = {}
        """Of them, those that wait in the kernel, in the order of their arrival."""
        self._installing: dict[PublicKey, tuple[Peer, list[_Knock]]] = {}
        self._reading = False
        self._last_suspicion = float("-inf")
        self._handlers: dict[type, Callable[[Any, Now], list[Command]]] = {
            Arrived: self._arrived,
            LookedUp: self._looked_up,
            Installed: self._installed,
            FollowUpDue: self._follow_up,
            DeviceRead: self._device_read,
            RegistryChanged: self._registry_changed,
            ClaimsSaved: self._claims_saved,
            Tick: self._tick,
        }

    def handle(self, event: Event, now: Now) -> list[Command]:
        """Decide what an event calls for. Never raises for anything that came in a packet."""
        return self._handlers[type(event)](event, now)

    def next_deadline(self) -> float | None:
        """When the loop must bring a Tick at the latest, monotonic seconds; None if nothing waits."""
        waiting = self._first_waiting()
        hold = waiting.arrived + self._settings.hold_deadline if waiting else None
        look = None if self._reading else self._flips.next_deadline()
        return min((d for d in (hold, look) if d is not None), default=None)

    def _first_waiting(self) -> _Knock | None:
        return next(iter(self._held.values()), None)

    # --- a packet arrives: what its bytes alone tell --------------------------------------------------------

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
        knock = _Knock(event.knock, record, event.held, now.monotonic)

        if not self._responder.check_mac1(initiation):
            return self._refuse(knock, Refusal.BAD_MAC1)
        if self._recent.seen_before(initiation.mac1, now.monotonic):
            return self._refuse(knock, Refusal.DUPLICATE)
        if not self._sources.admit(source.address, now.monotonic):
            return self._refuse(knock, Refusal.RATE_LIMITED)
        claimed = self._responder.identify(initiation)
        if isinstance(claimed, Refusal):
            return self._refuse(knock, claimed)
        knock.claimed = claimed
        key = record.public_key = claimed.public_key

        if key in self.residency:
            self._wait(knock)
            return [*self._let_go(knock), FollowUp(knock.number)]
        if len(self._knocks) >= self._settings.max_waiting:
            return self._refuse(knock, Refusal.OVERLOADED)
        if not self._settings.store_is_local and (refusal := self._prove(knock)):
            return self._refuse(knock, refusal)
        self._wait(knock)
        return [Lookup(knock.number, key)]

    def _wait(self, knock: _Knock) -> None:
        self._knocks[knock.number] = knock
        if knock.held:
            self._held[knock.number] = knock

    def _not_an_initiation(self, event: Arrived, refusal: Refusal) -> list[Command]:
        count = Count(event.knock, refusal)
        return [Release(event.knock), count] if event.held else [count]

    def _follow_up(self, event: FollowUpDue, now: Now) -> list[Command]:
        """A resident's knock is the kernel's; we only follow its timestamp, to know old from new after it left."""
        knock = self._knocks.get(event.knock)
        if knock is None or knock.record.public_key is None:
            return []
        if refusal := self._prove(knock):
            return self._refuse(knock, refusal)
        claim = self._new_claim(knock, now)
        if refusal := self._claims.judge(claim.public_key, claim.timestamp, None, now):
            return self._refuse(knock, refusal)
        del self._knocks[knock.number]
        self._claims.accept(claim.public_key, claim.timestamp)
        knock.record.decision = Decision.RESIDENT
        return [SaveClaim(claim), *self._suspect(claim.public_key, now), Tell(knock.number, knock.record)]

    def _suspect(self, key: PublicKey, now: Now) -> list[Command]:
        """A session that is up rekeys every 120 s. A second knock within a retry's time means that the first got no
        answer: perhaps the peer was taken out of the device behind our back. Look, so that the next one installs.
        """
        resident = self.residency.get(key)
        if resident is None:
            return []
        since, resident.last_knock = now.monotonic - resident.last_knock, now.monotonic
        if since > 1.5 * REKEY_TIMEOUT or now.monotonic - self._last_suspicion < SUSPICION_INTERVAL:
            return []
        self._last_suspicion = now.monotonic
        return self._read_device()

    # --- the registry answers: proven, newer, free? ---------------------------------------------------------

    def _looked_up(self, event: LookedUp, now: Now) -> list[Command]:
        knock = self._knocks.get(event.knock)
        if knock is None or knock.claimed is None:
            return []
        found = event.found
        if isinstance(found, Registration):
            knock.record.name = found.peer.name
        if refusal := self._may_install(knock, found, now):
            return self._refuse(knock, refusal)
        assert isinstance(found, Registration)  # _may_install refuses all else
        knock.claim = self._new_claim(knock, now)

        peer = found.peer
        if peer.public_key in self.residency:  # another knock of the same client was faster
            return self._deliver(knock, peer, None, now)
        if peer.public_key in self._installing:
            self._installing[peer.public_key][1].append(knock)
            return []
        self._installing[peer.public_key] = (peer, [knock])
        if self._delivery_of(knock) is Delivery.FLIP:
            return [Install(PeerChange.install(peer, knock.record.source, peer.keepalive or KEEPALIVE))]
        return [Install(PeerChange.install(peer))]

    def _may_install(self, knock: _Knock, found: Registration | Refusal | None, now: Now) -> Refusal | None:
        if found is None:
            return Refusal.UNKNOWN
        if isinstance(found, Refusal):
            return found
        peer = found.peer
        if refusal := _standing(peer, now):
            return refusal
        if refusal := self._prove(knock):
            return refusal
        assert knock.record.timestamp is not None  # proven
        if refusal := self._claims.judge(peer.public_key, knock.record.timestamp, found.claim, now):
            return refusal
        if self.residency.owner_of_any(peer.allowed_ips, other_than=peer.public_key):
            return Refusal.CONFLICT
        return None

    def _prove(self, knock: _Knock) -> Refusal | None:
        """Open the timestamp under `ss`, once per knock."""
        if knock.record.proven:
            return None
        assert knock.claimed is not None
        timestamp = self._responder.prove(knock.claimed)
        if isinstance(timestamp, Refusal):
            return timestamp
        knock.record.proven, knock.record.timestamp = True, timestamp
        return None

    def _new_claim(self, knock: _Knock, now: Now) -> Claim:
        record = knock.record
        assert record.public_key is not None
        assert record.timestamp is not None
        assert record.source is not None
        return Claim(record.public_key, record.timestamp, self._settings.gateway, record.source, now.wall)

    # --- the device answers: deliver --------------------------------------------------------------------------

    def _installed(self, event: Installed, now: Now) -> list[Command]:
        peer, knocks = self._installing.pop(event.key)
        if event.failure is not None:
            return [command for knock in knocks for command in self._refuse(knock, event.failure)]
        resident = self.residency.add(peer, now.monotonic)
        resident.registered = True
        resident.last_knock = max(knock.arrived for knock in knocks)
        newest = max(knocks, key=lambda knock: knock.record.timestamp or b"")
        return [command for knock in knocks for command in self._deliver(knock, peer, newest, now)]

    def _deliver(self, knock: _Knock, peer: Peer, newest: _Knock | None, now: Now) -> list[Command]:
        """The peer is resident; `newest` is the knock that made it so, None if that was an earlier one."""
        self._knocks.pop(knock.number, None)
        record = knock.record
        record.decision = Decision.INSTALLED if knock is newest else Decision.RESIDENT
        record.delivery = self._delivery_of(knock)
        commands = self._let_go(knock)
        if record.delivery is Delivery.REPLAY and (knock is newest or newest is None):
            commands.append(Replay(knock.number))
        elif record.delivery is Delivery.FLIP and knock is newest:
            self._flips.start(peer, now)
        if knock.claim is not None:
            self._claims.accept(knock.claim.public_key, knock.claim.timestamp)
            commands.append(SaveClaim(knock.claim))
        return [*commands, Tell(knock.number, record)]

    def _delivery_of(self, knock: _Knock) -> Delivery:
        if not knock.held:
            return self._settings.delivery
        # Released at its deadline, the kernel has dropped it by now: what is left is the client's own retry.
        return Delivery.NONE if knock.released else Delivery.HOLD

    # --- how a knock ends -------------------------------------------------------------------------------------

    def _let_go(self, knock: _Knock) -> list[Command]:
        """The one Release of a held packet; nothing if it was a copy, or has been released."""
        if not knock.held or knock.released:
            return []
        knock.released = True
        self._held.pop(knock.number, None)
        return [Release(knock.number)]

    def _refuse(self, knock: _Knock, refusal: Refusal) -> list[Command]:
        self._knocks.pop(knock.number, None)
        knock.record.decision, knock.record.refusal = Decision.REFUSED, refusal
        return [*self._let_go(knock), Tell(knock.number, knock.record)]

    # --- the world changes --------------------------------------------------------------------------------------

    def _read_device(self) -> list[Command]:
        if self._reading:
            return []
        self._reading = True
        self.residency.reading_begins()
        return [ReadDevice()]

    def _device_read(self, event: DeviceRead, now: Now) -> list[Command]:
        self._reading = False
        peers = {peer.public_key: peer for peer in event.peers}
        for key in self.residency.adopt(peers.values(), event.began):
            self._claims.left(key)
        changes, completed, mended = self._flips.judge(peers, event.began, now)
        commands: list[Command] = [Configure(tuple(changes))] if changes else []
        commands += [FlipEnded(key, completed=True) for key in completed]
        commands += [FlipEnded(key, completed=False) for key in mended]
        return commands

    def _registry_changed(self, event: RegistryChanged, now: Now) -> list[Command]:
        """Residents follow their registrations: who may stay keeps the session, who may not loses it at once."""
        stay: list[Peer] = []
        leave: list[PublicKey] = []
        for key, registration in event.found.items():
            resident = self.residency.get(key)
            if resident is None or (registration is None and event.rechecked and not resident.registered):
                continue
            resident.registered = True
            if registration is None or _standing(registration.peer, now):
                leave.append(key)
            elif self._claims.was_reset(key, registration.claim):
                leave.append(key)  # the kernel's own memory of the greatest timestamp has to go, too
            elif not resident.is_as(registration.peer):
                stay.append(registration.peer)
        for key in (*leave, *(peer.public_key for peer in stay)):
            self._flips.abandon(key)
            self.residency.release_prefixes(key)  # all let go of their addresses before any takes another's
        changes: list[PeerChange] = []
        for peer in stay:
            if self.residency.owner_of_any(peer.allowed_ips, other_than=peer.public_key):
                leave.append(peer.public_key)  # an address of a peer that the registry does not know
            else:
                self.residency.update(peer)
                changes.append(PeerChange.update(peer))
        for key in leave:
            self.residency.remove(key)
            self._claims.left(key)
        changes = [PeerChange(key, remove=True) for key in leave] + changes
        return [Configure(tuple(changes))] if changes else []

    def _claims_saved(self, event: ClaimsSaved, _now: Now) -> list[Command]:
        for claim in event.claims:
            self._claims.saved(claim, is_resident=claim.public_key in self.residency)
        return []

    def _tick(self, _event: Tick, now: Now) -> list[Command]:
        commands: list[Command] = []
        while (knock := self._first_waiting()) and now.monotonic >= knock.arrived + self._settings.hold_deadline:
            commands += self._let_go(knock)
        if self._flips.due(now.monotonic):
            commands += self._read_device()
        return commands


def _standing(peer: Peer, now: Now) -> Refusal | None:
    """May this registered peer connect at all?"""
    if not peer.enabled:
        return Refusal.DISABLED
    if peer.expires_at is not None and now.wall >= peer.expires_at:
        return Refusal.EXPIRED
    return None

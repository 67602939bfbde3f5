"""A world around the core that knows the truth: the loop, a registry and a device, and what must hold after each event.

The loop performs commands in the order of daemon/loop.py, over tests/fakes. What happens in this world is up to others:
see test_model.py, which also states what is checked here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tests.fakes.device import FakeDevice
from tests.fakes.store import FakeRegistry
from tests.unit.core.conftest import START
from wgjit.core.agenda import Agenda, Installs, Verdicts
from wgjit.core.gateway import Gateway
from wgjit.core.knock.barred import refusal_of
from wgjit.core.knock.claims import MARGIN
from wgjit.core.knock.freshness import GRAIN, LATE, LEAST_PAUSE, MOST_PAUSE, PACE
from wgjit.core.residents.placeholder import placeholder_key, waste_key
from wgjit.core.settings import Pace, Settings
from wgjit.core.vocabulary.commands import (
    Command,
    Configure,
    Evict,
    FindCover,
    FollowUp,
    Install,
    Lookup,
    ReadDevice,
    Recheck,
    Release,
    Replay,
    SaveClaim,
)
from wgjit.core.vocabulary.events import (
    Arrived,
    DeviceRead,
    Event,
    Evicted,
    Installed,
    LookedUp,
    Pinned,
    RegistryChanged,
    Tick,
)
from wgjit.core.vocabulary.moment import Now, OfKnock
from wgjit.core.vocabulary.told import Count, Tell
from wgjit.daemon.faults import Faults
from wgjit.daemon.metrics import Metrics
from wgjit.daemon.registry_watch import RegistryWatch
from wgjit.errors import StoreError
from wgjit.model import (
    NEVER_PROVEN,
    AllowedIP,
    Delivery,
    DevicePeer,
    Peer,
    PeerChange,
    PrivateKey,
    PublicKey,
    Registration,
    Removed,
    Tai64n,
    parse_allowed_ip,
)
from wgjit.record import Decision
from wgjit.refusal import Refusal
from wgjit.wire.noise import Responder

LOOKING = Pace()

RESPONDER = Responder(PrivateKey(b"\x42" * 32))
WIDER = PrivateKey(b"\x76" * 32).public()
"""Put in by hand around all addresses."""
KEEPERS = {placeholder_key(RESPONDER.public_key), waste_key(RESPONDER.public_key)}


@dataclass(frozen=True)
class Sent:
    """A packet on the wire, and the truth about it."""

    packet: bytes
    key: PublicKey | None = None
    """Whom it claims."""
    stamp: Tai64n | None = None
    """Set if it was made by the one who holds that key."""
    made: float = 0.0
    """When it was, monotonic seconds."""


@dataclass
class Knock:
    """One arrival of a packet at this gateway."""

    sent: Sent
    held: bool
    arrived: float
    released: bool = False
    replayed: bool = False
    asked: bool = False


class World:
    """See the head of this file; `create` begins it."""

    def create(
        self,
        delivery: Delivery,
        local: bool,
        peers: list[Peer],
        capacity: int = 65536,
        clocks_are_right: bool = False,
        watchful: int = 0,
    ) -> None:
        """A gateway over an empty device and a registry of these peers; whether clocks are right is up to others."""
        self.clocks_are_right = clocks_are_right
        self.monotonic, self.offset = 100.0, START - 100.0
        self.settings = Settings(
            gateway="g",
            delivery=delivery,
            store_is_local=local,
            max_waiting=6,
            capacity=capacity,
            networks=(parse_allowed_ip("10.8.0.0/24"),),
            watchful=watchful,
        )
        self.store = FakeRegistry(peers, is_local=local)
        self.device = FakeDevice()
        self.failure: Refusal | None = None
        """What the device answers to the next change."""
        self.wire: list[Sent] = []
        self.number = 0
        self.stored: dict[PublicKey, Tai64n] = {}
        self.shaken: dict[PublicKey, float] = {}
        """When the residents' last handshakes were, monotonic."""
        self.interfered = float("-inf")
        """When somebody else last changed the device, monotonic."""
        self.handshakes: list[tuple[PublicKey, float]] = []
        """All of them."""
        self.by_hand: set[PublicKey] = set()
        """Put into the device by somebody else."""
        self.start()

    def start(self) -> None:
        """A new process, over the store and the device as they are."""
        self.began = self.monotonic
        self.arrivals: list[tuple[Sent, float]] = []
        """What this process has seen, and when."""
        self.barred: set[PublicKey] = set()
        """Of whom the registry said last that they may not connect."""
        self.gateway = Gateway(RESPONDER, self.settings)
        self.watch = RegistryWatch(self.store, Faults(Metrics()), self.gateway.concerned)
        self.coming: dict[int, tuple[Sent, bool]] = {}
        self.waiting: dict[int, Knock] = {}
        self.agenda = Agenda()
        self.lookups: list[Lookup] = []
        self.undone: dict[PublicKey, list[PeerChange]] = {}
        self.reading: tuple[float, dict[PublicKey, DevicePeer], set[PublicKey]] | None = None
        self.looked = float("-inf")
        """When the last reading that came to its end began."""
        self.ended = float("-inf")
        self.eviction: tuple[PublicKey, ...] | None = None
        self.before_eviction: PeerChange | None = None
        self.unkept = False
        """The device refused a change of the placeholder, and has not been looked at since."""
        self.revoked: set[PublicKey] = set()
        """Who has lost its allowed IPs, and is to be removed."""
        self.round: list[Event] | None = None
        self.unsure: set[PublicKey] = set()
        """Whom somebody else put in or took out, or the device would not take out: the core may be wrong about them."""
        self.acted: dict[PublicKey, Tai64n] = {}
        """The greatest stamp that this process acted upon."""
        self.good: set[tuple[PublicKey | None, Tai64n | None]] = set()
        """Knocks that were not refused."""
        self.told: dict[PublicKey, Peer] = {}
        self.news: set[PublicKey] = set()
        """Whose registration the core has heard of since it was started."""
        self.pins: dict[PublicKey, Registration] = {}
        """Pinned peers that the core has heard of, as they were when it last did."""
        self.hear(DeviceRead(self.clock(), list(self.device.peers())))

    # --- the loop -----------------------------------------------------------------------------------------------

    def clock(self) -> float:
        self.monotonic += 1e-6  # no two readings of a clock are the same
        return self.monotonic

    def hear(self, *events: Event) -> None:
        """As daemon/loop.py, in the order of its agenda."""
        for event in events:
            self.agenda.hear(event)
        while (task := self.agenda.next()) is not None:
            match task:
                case Installs(changes):
                    for change in changes:
                        self.undone.pop(change.public_key, None)
                    failures = [self.apply(change) for change in changes]
                    for change, failure in zip(changes, failures, strict=True):
                        self.agenda.hear(Installed(change.public_key, failure))
                case Verdicts():
                    pass
                case SaveClaim(claim):
                    self.watch.save(claim)
                case Tell(knock):
                    del self.waiting[knock]
                case _:
                    self.handle(task)
        known = set(self.gateway.residency.keys()) | self.revoked
        others = self.unsure | KEEPERS
        assert known - others == self.device.keys - others, "the core has lost track of the device"

    def handle(self, event: Event) -> None:
        now = Now(self.clock(), self.monotonic + self.offset)
        if isinstance(event, DeviceRead):
            self.ended = now.monotonic
        if isinstance(event, Pinned):
            self.pins.update((found.peer.public_key, found) for found in event.found)
        if isinstance(event, RegistryChanged):
            self.news |= event.found.keys()
            for key, found in event.found.items():
                self.learn(key, found)
        elif isinstance(event, LookedUp):
            self.looked_up(event.found, now)
        if isinstance(event, Arrived):
            sent, held = self.coming.pop(event.knock)
            self.arrivals.append((sent, now.monotonic))
            self.waiting[event.knock] = Knock(sent, held, now.monotonic)
        for command in self.gateway.handle(event, now):
            self.check(command, event, now)
            self.perform(command)
        overdue = [k for k in self.waiting.values() if k.held and not k.released]
        deadline = self.gateway.next_deadline()
        for knock in overdue:
            assert deadline is not None
            assert deadline <= knock.arrived + self.settings.hold_deadline, "nobody will wake us for a held packet"
        if isinstance(event, Tick):
            assert deadline is None or deadline > now.monotonic, "it would tick for ever"
        self.check_claims()

    def looked_up(self, found: Registration | Removed | Refusal | None, now: Now) -> None:
        if isinstance(found, Removed):
            self.barred.add(found.public_key)
        elif isinstance(found, Registration):
            self.learn(found.peer.public_key, found)
            may = self.barred.add if refusal_of(found.peer, now) else self.barred.discard
            may(found.peer.public_key)

    def learn(self, key: PublicKey, found: Registration | None) -> None:
        """What the core was told of a peer."""
        self.told.pop(key, None)
        if found is not None:
            self.told[key] = found.peer

    def perform(self, command: Command) -> None:
        match command:
            case Lookup():
                self.lookups.append(command)
                if self.store.is_local:
                    self.answer(0)
            case Install():
                self.agenda.install(command)
            case Configure(changes):
                self.configure(changes)
            case SaveClaim() | Tell():
                self.agenda.record(command)
            case Evict(keys, first):
                self.eviction = keys
                self.before_eviction = first
            case FindCover(within):
                self.watch.find_cover(within)
            case Recheck(keys):
                self.watch.recheck(keys)
            case ReadDevice():
                self.reading = self.clock(), {peer.public_key: peer for peer in self.device.peers()}, set()
            case FollowUp():
                self.agenda.follow_up(command)
            case Release():
                self.agenda.released()
            case Count(knock):
                del self.waiting[knock]

    def answer(self, index: int) -> None:
        lookup = self.lookups.pop(index)
        try:
            found: Registration | Removed | Refusal | None = self.store.lookup(lookup.key) or self.store.former(
                lookup.key
            )
        except StoreError:
            found = Refusal.STORE_FAILED
        self.agenda.hear(LookedUp(lookup.knock, found))

    def configure(self, changes: tuple[PeerChange, ...]) -> None:
        for change in changes:
            self.undone.pop(change.public_key, None)
        failures = [self.apply(change) for change in changes]
        for change, failure in zip(changes, failures, strict=True):
            if failure:
                self.unkept = self.unkept or change.public_key in KEEPERS
                self.undone.setdefault(change.public_key, []).append(change)
                self.unsure.add(change.public_key)

    def end_eviction(self, took: float = 0.0001) -> None:
        """The thread has done it."""
        assert self.eviction is not None
        keys, self.eviction = self.eviction, None
        if self.before_eviction is not None and self.apply(self.before_eviction):
            self.hear(Evicted(keys, frozenset(keys), took))
            return
        for key in keys:
            self.undone.pop(key, None)
        failed = frozenset(key for key in keys if self.apply(PeerChange(key, remove=True)))
        self.revoked -= set(keys) - failed
        self.hear(Evicted(keys, failed, took))

    def apply(self, change: PeerChange) -> Refusal | None:
        failure, self.failure = self.failure, None
        if failure is None:
            before = self.strangers_addresses()
            self.put(change)
            news = self.strangers_addresses() - before
            knows = WIDER in self.gateway.residency and self.looked > self.interfered and not self.unkept
            assert not (knows and news), f"a wider peer that the registry does not know was given {news}"
        return failure

    def strangers_addresses(self) -> set[AllowedIP]:
        """The registered prefixes whose packets WireGuard would give to a wider peer."""
        owners = {p: peer.public_key for peer in self.device.peers() for p in peer.allowed_ips}
        strangers = set()
        for prefix in (p for peer in self.store._peers.values() for p in peer.allowed_ips):
            around = [p for p in owners if prefix.subnet_of(p)]  # type: ignore[arg-type]
            if around and owners[max(around, key=lambda p: p.prefixlen)] == WIDER:
                strangers.add(prefix)
        return strangers

    def put(self, change: PeerChange) -> None:
        """The device changes, by whoever's hand."""
        self.device.apply([change])
        if change.remove:
            self.shaken.pop(change.public_key, None)
            if self.reading:
                self.reading[2].add(change.public_key)

    # --- what must hold -----------------------------------------------------------------------------------------

    def check(self, command: Command, event: Event, now: Now) -> None:
        knock = None
        if isinstance(command, OfKnock):
            assert command.knock in self.waiting, f"{command} names a knock that does not wait"
            knock = self.waiting[command.knock]
        match command, knock:
            case Release(), Knock():
                assert knock.held
                assert not knock.released
                knock.released = True
            case Lookup(key=key), Knock(sent=sent):
                assert key == sent.key
                news = isinstance(event, LookedUp) and key in self.news
                assert news or not knock.asked or isinstance(event, Evicted | DeviceRead), "asked again for nothing"
                assert sent.stamp or self.store.is_local, "a forged knock asks a remote store"
                knock.asked = True
            case Install(change), _:
                self.check_install(change, event, now)
            case Replay(), Knock(sent=sent):
                assert not knock.held
                assert not knock.replayed
                assert sent.key in self.device.keys | self.unsure
                knock.replayed = True
            case Configure(changes), _:
                for change in changes:
                    self.check_change(change, changes, event, now)
            case Evict(keys), _:
                assert self.eviction is None
                for key in keys:
                    self.check_eviction(key, now)
            case SaveClaim(claim), _:
                stamps = {sent.stamp for sent in self.wire if sent.key == claim.public_key}
                assert claim.greatest_proven in stamps or claim.proven == NEVER_PROVEN
                self.note(claim.public_key, claim.greatest_proven)
            case ReadDevice(), _:
                assert self.reading is None
            case Tell(record=record), Knock(sent=sent):
                assert knock.released or not knock.held
                assert (record.decision is Decision.REFUSED) == (record.refusal is not None)
                assert record.public_key in (sent.key, None)
                if record.proven or record.refusal is None:
                    assert record.timestamp == sent.stamp is not None
                if self.clocks_are_right and record.refusal is Refusal.STALE:
                    self.check_staleness(sent, knock.arrived)
                if record.refusal is None:
                    assert (sent.key, sent.stamp) not in self.good, "a replayed knock was taken for a new one"
                    self.good.add((sent.key, sent.stamp))
                if record.decision is Decision.INSTALLED:
                    assert sent.key in self.device.keys | self.unsure
                    self.note(sent.key, sent.stamp)
            case Count(), Knock(sent=sent):
                assert sent.key is None
                assert knock.released or not knock.held

    def note(self, key: PublicKey, stamp: Tai64n) -> None:
        """It was acted upon."""
        self.acted[key] = max(stamp, self.acted.get(key, stamp))

    def check_pin(self, change: PeerChange, registration: Registration, now: Now) -> None:
        """The peer comes without a knock, since it is pinned."""
        peer, key = registration.peer, change.public_key
        assert peer.is_pinned
        assert peer.enabled
        assert peer.expires_at is None or now.wall < peer.expires_at
        assert key not in self.gateway.residency
        assert key not in self.revoked, "installed before it was removed"
        assert len(self.gateway.residency) < self.settings.capacity
        assert change == PeerChange.install(peer, registration.claim and registration.claim.endpoint)

    def check_install(self, change: PeerChange, event: Event, now: Now) -> None:
        if isinstance(event, Pinned | DeviceRead):
            self.check_pin(change, self.pins[change.public_key], now)
            return
        assert isinstance(event, LookedUp)
        sent, found, key = self.waiting[event.knock].sent, event.found, change.public_key
        assert isinstance(found, Registration)
        assert key == sent.key == found.peer.public_key
        assert sent.stamp is not None, "installed for a knock that nobody proved"
        assert found.claim is None or sent.stamp > found.claim.greatest_proven, "installed for an old knock"
        if self.clocks_are_right:
            self.check_freshness(sent, self.waiting[event.knock].arrived)
        assert key not in self.acted or sent.stamp > self.acted[key], "installed for a replayed knock"
        assert sent.stamp.unix <= now.wall + self.settings.max_skew
        assert key not in self.gateway.residency
        assert key not in self.revoked, "installed before it was removed"
        assert len(self.gateway.residency) < self.settings.capacity
        assert found.peer.enabled
        assert found.peer.expires_at is None or now.wall < found.peer.expires_at
        expected = PeerChange.install(found.peer)
        if change.endpoint is not None:
            assert self.settings.delivery is Delivery.FLIP
            expected = replace(expected, endpoint=change.endpoint, keepalive=change.keepalive)
        assert change == expected

    def check_freshness(self, sent: Sent, arrived: float) -> None:
        """A recording alone installs nobody: not one that was made before this process began, nor one that is old."""
        if arrived - sent.made <= min(LATE, arrived - self.began) + GRAIN + 0.001:
            return
        assert sent.stamp is not None
        assert any(
            LEAST_PAUSE <= arrived - at <= MOST_PAUSE and abs(sent.stamp.since(other.stamp) - (arrived - at)) <= PACE
            for other, at in self.arrivals
            if other.key == sent.key and other.stamp is not None
        ), "installed for a recording"

    def check_staleness(self, sent: Sent, arrived: float) -> None:
        """A client's own knock is never taken for an old one, but just after its last handshake."""
        if arrived > sent.made + 0.001 or sum(one is sent for one, _ in self.arrivals) > 1:
            return
        assert sent.key is not None
        shaken = max((at for key, at in self.handshakes if key == sent.key), default=float("-inf"))
        newer = [
            one for one, _ in self.arrivals if one.key == sent.key and one.stamp and one.stamp > (sent.stamp or b"")
        ]
        assert newer or arrived - shaken <= 2 * MARGIN, "a client was taken for a thief"

    def check_change(self, change: PeerChange, changes: tuple[PeerChange, ...], event: Event, now: Now) -> None:
        key = change.public_key
        if key in KEEPERS:
            assert change.endpoint is None
            return
        mended = any(other == PeerChange(key, remove=True) for other in changes) and isinstance(event, DeviceRead)
        if mended:
            if change.remove:
                assert self.shaken.get(key, now.monotonic) >= event.began, "a flip that went well was undone"
        elif change == PeerChange(key, update_only=True, allowed_ips=()) and key not in self.gateway.residency:
            self.revoked.add(key)
            if isinstance(event, RegistryChanged):
                assert key in event.found, "a resident lost its session without the registry's word"
                found = event.found[key]
                prefixes = found.peer.allowed_ips if found else ()
                taken = self.gateway.residency.owner_of_any(prefixes, other_than=key)
                assert not event.replaced or found is None or taken or refusal_of(found.peer, now), "it may stay"
            elif isinstance(event, Tick):
                assert (self.told[key].expires_at or now.wall + 1) <= now.wall, "expired before its time"
            else:
                assert isinstance(event, Evicted)
        else:
            assert change.update_only, "an update could resurrect a peer"
            assert not change.remove, "removed without an Evict"
            assert change.endpoint is None

    def check_eviction(self, key: PublicKey, now: Now) -> None:
        if key in self.revoked or (key in self.barred and key not in self.gateway.residency):
            return
        assert key in self.told, "removed what the registry never knew"
        assert not self.told[key].is_pinned
        assert now.monotonic < self.ended + LOOKING.fresh, "removed by an old look"
        shaken = self.shaken.get(key)
        if shaken is not None and shaken < self.looked:  # what came after the look it could not know
            assert now.monotonic - shaken >= LOOKING.session, "a session was dropped"

    def check_claims(self) -> None:
        for key, claim in self.store._claims.items():
            assert claim.greatest_proven >= self.stored.get(key, claim.greatest_proven)
            self.stored[key] = claim.greatest_proven

"""All events that the core handles, and all commands that it gives. Start reading here.

The daemon's loop makes an event of everything that happens and hands it to `Gateway.handle(event, now)`. The loop then
performs the commands that `handle` returns. The core never waits, never reads a clock and never touches a socket.

A knock is one captured packet on its way through the checks. All events and commands of a knock carry its number.
The core keeps two promises for each knock: a held packet gets exactly one Release, and every knock that has the shape
of an initiation gets exactly one Tell, as its last command.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from wgjit.model import (
    AllowedIP,
    Claim,
    Cover,
    Delivery,
    DevicePeer,
    Endpoint,
    Holding,
    OtherGateway,
    PeerChange,
    PublicKey,
    Registration,
    Removed,
)
from wgjit.record import Decision, FeedRecord
from wgjit.refusal import Refusal

__all__ = ["Command", "Decision", "Delivery", "Event", "FeedRecord", "Now", "Refusal"]


class Now(NamedTuple):
    """The time, read by the loop once per event."""

    monotonic: float
    """Seconds that only grow: for deadlines and ages."""
    wall: float
    """Unix seconds: for expiry, claims and people."""


@dataclass(frozen=True, slots=True)
class OfKnock:
    """The base of all events and commands that concern one knock."""

    knock: int
    """The knock's number, from 1 on."""


# --- events -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Arrived(OfKnock):
    """A packet for the WireGuard port was captured."""

    packet: bytes
    """The packet's bytes, from the IP header on."""
    held: bool
    """The packet waits in the kernel for a Release."""
    scope: int = 0
    """The index of the ingress interface. An IPv6 link-local source address needs it."""


@dataclass(frozen=True, slots=True)
class LookedUp(OfKnock):
    """The store's answer to a Lookup, or the answer to an Ask.

    `found` is a registration, what is left of a removed one, None if the store knows no such peer, or STORE_FAILED.
    """

    found: Registration | Removed | Refusal | None
    asked: bool = False
    """The answer is of the registry of record, or that could not be asked. The core does not ask again."""


@dataclass(frozen=True, slots=True)
class Installed:
    """The device's answer to an Install."""

    key: PublicKey
    failure: Refusal | None = None


@dataclass(frozen=True, slots=True)
class FollowUpDue(OfKnock):
    """A resident's knock has been released. Now there is time to prove its timestamp."""


@dataclass(frozen=True, slots=True)
class DeviceRead:
    """All residents, read from the device.

    The device is read at the start, for the outcome of a flip, to find idle residents, and when another program may
    have changed it. A long reading comes in parts, so that the gateway answers knocks in between.
    """

    began: float
    """Monotonic seconds when the reading began. Later installs are not in it."""
    peers: Iterable[DevicePeer]
    """All residents, or a part of them. Empty, with `began` minus infinity, if the reading failed."""
    more: bool = False
    """Another part of the same reading follows."""
    took: float = 0.0
    """Seconds that the reading took. The next reading costs about as much."""


@dataclass(frozen=True, slots=True)
class Evicted:
    """The device's answer to an Evict."""

    keys: tuple[PublicKey, ...]
    failed: frozenset[PublicKey]
    """Those of `keys` that are still in the device."""
    took: float
    """Seconds for which the device was busy with the removals."""


@dataclass(frozen=True, slots=True)
class RegistryChanged:
    """Registrations have changed, or residents were looked up.

    `found` has each peer's registration, None for a peer that is not registered. All changes come in one event, because
    two peers may have swapped their addresses.
    """

    found: Mapping[PublicKey, Registration | None]
    rechecked: bool = False
    """The residents were looked up, also residents that were never registered. False: the change log named them."""
    removed: frozenset[PublicKey] = frozenset()
    """Peers in `found` that are not registered now, but were registered before."""
    replaced: bool = False
    """Another registry has taken the old one's place. A claim that the new registry lacks was not reset.
    Implies `rechecked`."""


@dataclass(frozen=True, slots=True)
class Pinned:
    """Registered, enabled and pinned peers that were not in the device: at the start, after a change, and every few
    seconds as long as there are any. A pass over them comes in parts."""

    found: tuple[Registration, ...]
    more: bool = False
    """Another part of the same pass follows."""
    looked: bool = False
    """The device has been read since."""


@dataclass(frozen=True, slots=True)
class Covered:
    """The registry's answer to a FindCover. The event comes again whenever the answer changes."""

    within: frozenset[AllowedIP]
    cover: Cover | None
    """None from a registry that cannot list its peers."""


@dataclass(frozen=True, slots=True)
class ClaimsSaved:
    """These claims are in the store."""

    claims: tuple[Claim, ...]


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The sessions of these peers have passed data since their AwaitData. No replayed initiation can do that."""

    keys: tuple[PublicKey, ...]


@dataclass(frozen=True, slots=True)
class HeldElsewhere:
    """Other gateways of the fleet hold these peers, or this gateway held them in an earlier process."""

    holdings: tuple[Holding, ...]


@dataclass(frozen=True, slots=True)
class FleetClock:
    """By how many seconds the fleet's common clock is ahead of this machine's. The registry of record has that clock.

    Claims of all gateways are compared by it.
    """

    offset: float


@dataclass(frozen=True, slots=True)
class FleetMembers:
    """The other gateways of the fleet. The event comes again whenever this changes."""

    others: tuple[OtherGateway, ...]


@dataclass(frozen=True, slots=True)
class Drain:
    """A person wants this gateway to leave: take over no clients of other gateways, and let idle peers go soon."""


@dataclass(frozen=True, slots=True)
class Undrain:
    """The gateway serves as before."""


@dataclass(frozen=True, slots=True)
class Stray:
    """Transport data has come to a service address, from the endpoint of a peer that another gateway may hold."""

    endpoint: Endpoint
    destination: Endpoint
    """Where it came to."""


@dataclass(frozen=True, slots=True)
class HoldersFound:
    """The answer to a FindHolders."""

    endpoint: Endpoint
    found: tuple[Registration, ...] | Refusal
    """The registered peers that are held at this endpoint, by any gateway of the fleet. STORE_FAILED: unknown."""
    service: frozenset[bytes] = frozenset()
    """The packed service addresses of the holder, if there is one holding. Its own gateway has told them."""
    source: bytes | None = None
    """The packed address from which this machine would send to the endpoint; None if it has no route."""


@dataclass(frozen=True, slots=True)
class Tick:
    """The moment that `Gateway.next_deadline` named has come, or some time has passed."""


Event = (
    Arrived
    | LookedUp
    | Installed
    | Evicted
    | FollowUpDue
    | DeviceRead
    | RegistryChanged
    | Pinned
    | Covered
    | ClaimsSaved
    | Confirmed
    | HeldElsewhere
    | FleetClock
    | FleetMembers
    | Drain
    | Undrain
    | Stray
    | HoldersFound
    | Tick
)


# --- commands -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Release(OfKnock):
    """Let a held packet go on into the kernel, unchanged."""


@dataclass(frozen=True, slots=True)
class Lookup(OfKnock):
    """Ask the store for a key; answer with LookedUp."""

    key: PublicKey


@dataclass(frozen=True, slots=True)
class Ask(OfKnock):
    """Ask the registry of record for a proven key that the replica does not have; answer with LookedUp.

    The replica is always a moment behind, and the peer may be new.
    """

    key: PublicKey


@dataclass(frozen=True, slots=True)
class Install:
    """Install a peer in the device; answer with Installed."""

    change: PeerChange


@dataclass(frozen=True, slots=True)
class Configure:
    """Change residents. The core waits for no answer."""

    changes: tuple[PeerChange, ...]


@dataclass(frozen=True, slots=True)
class Evict:
    """Remove these peers from the device, while the gateway goes on answering knocks; answer with Evicted.

    A removal may hold the device's locks for milliseconds. So an Evict has few peers, and the core gives one Evict at a
    time.
    """

    keys: tuple[PublicKey, ...]
    first: PeerChange | None = None
    """A change to make before the removals. If it fails, no peer is removed."""


@dataclass(frozen=True, slots=True)
class Recheck:
    """Look these residents up in the registry; answer with RegistryChanged. A look found them in the device."""

    keys: tuple[PublicKey, ...]


@dataclass(frozen=True, slots=True)
class Replay(OfKnock):
    """Put the captured copy back into the kernel."""


@dataclass(frozen=True, slots=True)
class SaveClaim:
    """Save a claim in the store, soon and in batches; answer with ClaimsSaved."""

    claim: Claim
    said: bool = False
    """Also tell the other gateways of the fleet. They need not know of each rekey."""


class Hold(StrEnum):
    """Why a holding is said to the fleet."""

    TAKEN = "taken"
    """The peer's session has passed data here. No other gateway was known to hold the peer."""
    TAKEN_OVER = "taken_over"
    """The same, and another gateway held the peer before."""
    MOVED = "moved"
    """The peer's endpoint has changed."""
    REPEATED = "repeated"
    """Another gateway said a smaller holding."""
    LEFT = "left"
    """The peer has left this gateway, to nowhere that is known."""
    CALLED = "called"
    """This gateway has called the client, and the client has answered. Another gateway held the peer before."""


@dataclass(frozen=True, slots=True)
class SayHolding:
    """Tell the other gateways of the fleet who holds the peer, soon and in batches. Only in a fleet."""

    holding: Holding
    why: Hold


@dataclass(frozen=True, slots=True)
class AwaitData:
    """Answer with Confirmed once a packet from one of these addresses has come out of WireGuard. Only in a fleet."""

    key: PublicKey
    allowed_ips: tuple[AllowedIP, ...]
    """Empty: the peer is not awaited any more."""


@dataclass(frozen=True, slots=True)
class SessionUp:
    """A peer's session is with this endpoint, of which WireGuard's own answers do not tell. Only in a fleet.

    The peer has roamed, or the session is of an earlier process. For `seconds`, its rest, the gateway is not to call
    the endpoint without need, since the client may have moved to another gateway.
    """

    endpoint: Endpoint
    seconds: float


@dataclass(frozen=True, slots=True)
class SessionOver:
    """The peer at this endpoint has left. The gateway may call the endpoint again. Only in a fleet."""

    endpoint: Endpoint
    at_once: bool = False
    """The gateway is about to call the endpoint, so this must not wait if it is not done yet."""


@dataclass(frozen=True, slots=True)
class FindHolders:
    """Look up which peers are held at this endpoint; answer with HoldersFound. Only in a fleet."""

    endpoint: Endpoint


@dataclass(frozen=True, slots=True)
class NoStray:
    """Data from these endpoints is not stray: this gateway holds their peers. Only in a fleet."""

    endpoints: tuple[Endpoint, ...]


@dataclass(frozen=True, slots=True)
class StrayAgain:
    """Data from these endpoints, to which a call had no answer, is news again. Only in a fleet."""

    endpoints: tuple[Endpoint, ...]


class Takeover(StrEnum):
    """What became of a stray: of data that came here, although another gateway holds its peer."""

    CALLED = "called"
    """The peer was installed with its endpoint, so that WireGuard calls the client. Another outcome follows."""
    COMPLETED = "completed"
    """The client has answered, and this gateway holds the peer."""
    UNANSWERED = "unanswered"
    """The client has not answered. The peer was taken out of the device, and its holder keeps it."""
    OVERTAKEN = "overtaken"
    """The client has knocked by itself meanwhile, or another gateway was first."""
    # not called
    CLOCK = "clock"
    """Our clock is not known to be right. A client takes a call only if it seems newer than the one before."""
    DRAINING = "draining"
    """This gateway is being drained."""
    LATE = "late"
    """Too many calls were due before this one. The client has knocked by itself by now."""
    UNHELD = "unheld"
    """No other gateway holds a peer at this endpoint."""
    SEVERAL = "several"
    """Several peers are held at this endpoint, and nothing tells which of them has sent the data."""
    RESIDENT = "resident"
    """The peer is in the device already."""
    NOT_SHARED = "not_shared"
    """The holder does not serve the address to which the data came, so the client cannot have moved with it."""
    WRONG_SOURCE = "wrong_source"
    """This machine would call from another address than the one to which the data came: its route has to name it."""
    HELD_DOWN = "held_down"
    """The peer was called three times within a minute. The client has to knock by itself."""
    BARRED = "barred"
    """The peer may not connect: it is disabled or expired."""
    CONFLICT = "conflict"
    """A peer that the registry does not know has an allowed IP of this peer."""
    FULL = "full"
    """The device has no room."""
    FAILED = "failed"
    """The replica or the device has failed; the log has it."""


@dataclass(frozen=True, slots=True)
class TookOver:
    """Count what became of a stray. With a record: also publish it, since the peer was called."""

    outcome: Takeover
    key: PublicKey | None = None
    record: FeedRecord | None = None


@dataclass(frozen=True, slots=True)
class PutRoutes:
    """Route these prefixes into the tunnel, each with a metric, soon and in batches. A later metric replaces it."""

    routes: tuple[tuple[AllowedIP, int], ...]


@dataclass(frozen=True, slots=True)
class TakeRoutes:
    """Take the routes of these prefixes away, at the latest before the next Configure or Evict is performed.

    So traffic goes elsewhere before its peer is gone.
    """

    prefixes: tuple[AllowedIP, ...]


@dataclass(frozen=True, slots=True)
class RoutesKnown:
    """The residents of an earlier process are known: take away what is left of its routes, but for these prefixes.

    They are of residents about which the registry has not been heard yet.
    """

    kept: tuple[AllowedIP, ...]


class NoRoute(StrEnum):
    """Why a prefix of a held peer gets no route."""

    DEFAULT = "default"
    """It is the default route, which would take all of this machine's traffic."""
    ENDPOINT = "endpoint"
    """It contains the peer's own endpoint: the tunnel's packets would go into the tunnel."""
    COVERED = "covered"
    """The interface's own routes lead there already, and the settings leave such prefixes out."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Log that a prefix of a held peer gets no route."""

    key: PublicKey
    prefix: AllowedIP
    why: NoRoute


@dataclass(frozen=True, slots=True)
class ReadDevice:
    """Read all residents; answer with DeviceRead."""

    at_once: bool = False
    """The residents are few and a packet waits: read the device on the loop, not on a thread."""


@dataclass(frozen=True, slots=True)
class FindCover:
    """Ask the registry which prefixes hold all registered addresses inside `within`; answer with Covered.

    Answer again whenever the answer changes.
    """

    within: frozenset[AllowedIP]


@dataclass(frozen=True, slots=True)
class Sheltered:
    """Log that the placeholder keeps registered addresses from peers that the registry does not know."""

    peers: tuple[PublicKey, ...]
    """The unregistered peers with prefixes around registered addresses; empty if there are none any more."""
    prefixes: int
    """Number of prefixes that the placeholder has."""
    exact: bool
    """The placeholder's prefixes hold registered addresses only."""


@dataclass(frozen=True, slots=True)
class FollowUp(OfKnock):
    """Answer with FollowUpDue once everything more urgent is done."""


@dataclass(frozen=True, slots=True)
class Tell(OfKnock):
    """The knock's last command: publish what the gateway saw and decided."""

    record: FeedRecord


@dataclass(frozen=True, slots=True)
class Count(OfKnock):
    """The last command of a packet that is no initiation: count the packet."""

    refusal: Refusal


class FlipOutcome(StrEnum):
    """The outcome of a delivery in which the gateway initiates: a flip, or the second try of a replay."""

    COMPLETED = "completed"
    """The handshake is complete."""
    REPEATED = "repeated"
    """There was no handshake within a second, so the gateway initiates again. Another outcome follows."""
    GIVEN_UP = "given_up"
    """No try led to a handshake. The peer was installed without endpoint, and waits for the client's own retry."""


@dataclass(frozen=True, slots=True)
class Flipped:
    """A flip has an outcome: count it."""

    key: PublicKey
    outcome: FlipOutcome


class Arrival(StrEnum):
    """How a peer became resident."""

    INSTALLED = "installed"
    """This gateway installed the peer for its knock."""
    FOUND = "found"
    """A look found the peer in the device, at the start or because another program put it there."""
    CALLED = "called"
    """This gateway installed the peer to call its client, whose data had come here."""
    PINNED = "pinned"
    """This gateway installed the peer without a knock, since it is pinned."""


@dataclass(frozen=True, slots=True)
class Came:
    """A peer became resident: count it."""

    key: PublicKey
    how: Arrival


class Departure(StrEnum):
    """Why a peer was taken out of the device."""

    IDLE = "idle"
    """The peer had no handshake and no data for its idle timeout."""
    UNCONFIRMED = "unconfirmed"
    """The peer never completed its handshake."""
    ROOM = "room"
    """The peer was the longest idle one when another peer needed its place."""
    REVOKED = "revoked"
    """The registry says so: the peer is removed, disabled or expired, its claim was reset, or the peer is not
    registered and `exclusive` is set."""
    MOVED = "moved"
    """Another gateway of the fleet holds the peer now."""
    UNANSWERED = "unanswered"
    """This gateway has called the client of another gateway, and got no answer."""


@dataclass(frozen=True, slots=True)
class Left:
    """A peer was taken out of the device: count and log it."""

    key: PublicKey
    why: Departure
    name: str | None = None
    """The peer's registered name, if it has one that is known."""


class Revocation(StrEnum):
    """Why a resident lost its place at once."""

    REMOVED = "removed"
    """The registry does not have the peer any more."""
    DISABLED = "disabled"
    EXPIRED = "expired"
    RESET = "reset"
    """Its claim was reset. The peer may come back with its next knock."""
    UNREGISTERED = "unregistered"
    """The peer never was registered, and `exclusive` is set."""
    CONFLICT = "conflict"
    """The peer's new addresses are those of a peer on the interface that the registry does not know."""


@dataclass(frozen=True, slots=True)
class Revoked:
    """A resident lost its addresses, so that no packet passes any more: log it. Its Left follows."""

    key: PublicKey
    name: str | None
    why: Revocation


@dataclass(frozen=True, slots=True)
class Vanished:
    """Another program took registered residents out of the device: count and log it. They come back as they knock."""

    number: int
    some: tuple[tuple[PublicKey, str | None], ...]
    """Keys and names of the first of them."""


@dataclass(frozen=True, slots=True)
class NotCompleted:
    """A resident has proven one initiation after the other, and no handshake was completed: log it.

    The command comes again while that goes on, and then once with `over`.
    """

    key: PublicKey
    name: str | None
    endpoint: Endpoint | None
    """Where its last initiation came from."""
    knocks: int
    """Proven initiations since the last completed handshake."""
    has_preshared_key: bool
    """The registry has a preshared key for the peer."""
    was_up: bool
    """The peer had completed a handshake before, since it is resident."""
    others_complete: bool
    """Handshakes of other peers were completed meanwhile."""
    over: bool = False
    """The handshake is completed now, or the peer has left."""


@dataclass(frozen=True, slots=True)
class PinsAbsent:
    """Log how many pinned peers cannot be in the device, and why. Comes when that changes; empty if all are there."""

    counts: Mapping[Refusal, int]
    """By CONFLICT (a peer that the registry does not know has an address), FULL, or DEVICE_FAILED."""


@dataclass(frozen=True, slots=True)
class PutBack:
    """Log that another program installed a peer that may not connect. The gateway removes the peer."""

    key: PublicKey
    name: str | None
    why: Refusal
    """UNKNOWN (removed), DISABLED or EXPIRED."""


Command = (
    Release
    | Lookup
    | Ask
    | Install
    | Configure
    | Evict
    | Recheck
    | Replay
    | SaveClaim
    | SayHolding
    | AwaitData
    | SessionUp
    | SessionOver
    | PutRoutes
    | TakeRoutes
    | RoutesKnown
    | LeftOut
    | FindHolders
    | NoStray
    | StrayAgain
    | TookOver
    | ReadDevice
    | FindCover
    | Sheltered
    | FollowUp
    | Flipped
    | Came
    | Left
    | Revoked
    | Vanished
    | NotCompleted
    | PinsAbsent
    | PutBack
    | Tell
    | Count
)

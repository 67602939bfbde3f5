"""What the core hears (Event) and what it says (Command). Start reading here.

The daemon's loop turns the world into events, hands each to `Gateway.handle(event, now)`, and performs the
commands that come back. The core never waits, never reads a clock and never touches a socket.

A knock is one captured packet on its way through the checks; its number ties events and commands together.
Two promises bind the commands of one knock: a held packet gets exactly one Release, and every knock that had the
shape of an initiation gets exactly one Tell, as its last command.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from wgjit.model import AllowedIP, Claim, Cover, Delivery, DevicePeer, PeerChange, PublicKey, Registration, Removed
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
    """What concerns one knock: the base of its events and commands."""

    knock: int
    """Its number, from 1 on."""


# --- events: what the core hears ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Arrived(OfKnock):
    """A packet for the WireGuard port was captured."""

    packet: bytes
    """From its IP header on."""
    held: bool
    """It waits in the kernel for a Release."""
    scope: int = 0
    """The ingress interface index, which an IPv6 link-local source needs."""


@dataclass(frozen=True, slots=True)
class LookedUp(OfKnock):
    """The store's answer to a Lookup: a registration, what is left of one, None for no such peer, or STORE_FAILED."""

    found: Registration | Removed | Refusal | None


@dataclass(frozen=True, slots=True)
class Installed:
    """The device's answer to an Install."""

    key: PublicKey
    failure: Refusal | None = None


@dataclass(frozen=True, slots=True)
class FollowUpDue(OfKnock):
    """A resident's knock has gone on its way; now there is time to look at it closely."""


@dataclass(frozen=True, slots=True)
class DeviceRead:
    """All residents, read from the device: at start, for a flip's outcome, to see who is idle, on suspicion of drift.

    A crowd comes in parts, so that knocks are answered in between.
    """

    began: float
    """Monotonic seconds when the reading began: later installs are not in it."""
    peers: Iterable[DevicePeer]
    """All of them, or a part; nobody, with `began` minus infinity, if the device could not be read to its end."""
    more: bool = False
    """Another part of the same reading follows."""
    took: float = 0.0
    """Seconds that the reading took: what it costs to look again."""


@dataclass(frozen=True, slots=True)
class Evicted:
    """The device's answer to an Evict."""

    keys: tuple[PublicKey, ...]
    failed: frozenset[PublicKey]
    """Of them, those that are still there."""
    took: float
    """Seconds for which the device was busy with it."""


@dataclass(frozen=True, slots=True)
class RegistryChanged:
    """Somebody changed registered peers: their new registrations, None for one that was removed.

    Together, since two peers may have swapped their addresses.
    """

    found: Mapping[PublicKey, Registration | None]
    rechecked: bool = False
    """Not from the change log: these residents were looked up, also those that were never registered."""
    removed: frozenset[PublicKey] = frozenset()
    """Of those that are not registered the ones that were."""
    replaced: bool = False
    """Another registry has come into the old one's place: a claim that it lacks was not reset. Implies `rechecked`."""


@dataclass(frozen=True, slots=True)
class Covered:
    """The registry's answer to a FindCover, given anew whenever it has changed."""

    within: frozenset[AllowedIP]
    cover: Cover | None
    """None from a registry that does not know all its peers."""


@dataclass(frozen=True, slots=True)
class ClaimsSaved:
    """These claims are in the store."""

    claims: tuple[Claim, ...]


@dataclass(frozen=True, slots=True)
class Tick:
    """The moment that `Gateway.next_deadline` named has come, or some time has passed."""


Event = (
    Arrived | LookedUp | Installed | Evicted | FollowUpDue | DeviceRead | RegistryChanged | Covered | ClaimsSaved | Tick
)


# --- commands: what the core says ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Release(OfKnock):
    """Let a held packet go on to the kernel, as it is."""


@dataclass(frozen=True, slots=True)
class Lookup(OfKnock):
    """Ask the store for a key; answer with LookedUp."""

    key: PublicKey


@dataclass(frozen=True, slots=True)
class Install:
    """Put a peer into the device; answer with Installed."""

    change: PeerChange


@dataclass(frozen=True, slots=True)
class Configure:
    """Change residents; no answer is waited for."""

    changes: tuple[PeerChange, ...]


@dataclass(frozen=True, slots=True)
class Evict:
    """Take these peers out of the device, while knocks go on being answered; answer with Evicted.

    A removal may hold the device's locks for milliseconds, so a few at a time, and one Evict at a time.
    """

    keys: tuple[PublicKey, ...]
    first: PeerChange | None = None
    """To be made before; if it fails, nobody is removed."""


@dataclass(frozen=True, slots=True)
class Recheck:
    """Look these residents up in the registry; answer with RegistryChanged. They were found in the device."""

    keys: tuple[PublicKey, ...]


@dataclass(frozen=True, slots=True)
class Replay(OfKnock):
    """Put the captured copy back into the kernel."""


@dataclass(frozen=True, slots=True)
class SaveClaim:
    """Record a claim in the store, soon and in batches; answer with ClaimsSaved."""

    claim: Claim


@dataclass(frozen=True, slots=True)
class ReadDevice:
    """Read all residents; answer with DeviceRead."""

    at_once: bool = False
    """They are few, and a packet waits: read them on the spot."""


@dataclass(frozen=True, slots=True)
class FindCover:
    """Ask the registry which prefixes hold all registered addresses inside these; answer with Covered, from now on."""

    within: frozenset[AllowedIP]


@dataclass(frozen=True, slots=True)
class Sheltered:
    """Addresses of registered peers are kept from peers that the registry does not know: tell people."""

    peers: tuple[PublicKey, ...]
    """Those with prefixes around registered addresses; none if there are none any more."""
    prefixes: int
    """How many the placeholder has."""
    exact: bool
    """They hold registered addresses alone."""


@dataclass(frozen=True, slots=True)
class FollowUp(OfKnock):
    """Come back with FollowUpDue once everything more urgent is done."""


@dataclass(frozen=True, slots=True)
class Tell(OfKnock):
    """The knock's last command: publish what was seen and decided."""

    record: FeedRecord


@dataclass(frozen=True, slots=True)
class Count(OfKnock):
    """The last command of a packet that was no initiation at all: count it."""

    refusal: Refusal


class FlipOutcome(StrEnum):
    """What became of a delivery in which this side initiates: a flip, or the mending of a replay."""

    COMPLETED = "completed"
    """Its handshake is there."""
    REPEATED = "repeated"
    """No handshake after a second: this side initiates again. One of the others follows."""
    GIVEN_UP = "given_up"
    """No handshake either way: the peer was put back, silent, for the client's own retry."""


@dataclass(frozen=True, slots=True)
class Flipped:
    """Something became of a flip: count it."""

    key: PublicKey
    outcome: FlipOutcome


class Arrival(StrEnum):
    """How a peer came to be resident."""

    INSTALLED = "installed"
    """This gateway put it into the device, for its knock."""
    FOUND = "found"
    """A look found it in the device: at the start, or since another program put it there."""


@dataclass(frozen=True, slots=True)
class Came:
    """A peer is in the device: count it."""

    key: PublicKey
    how: Arrival


class Departure(StrEnum):
    """Why a peer was taken out of the device."""

    IDLE = "idle"
    """No handshake and no data for its idle time."""
    UNCONFIRMED = "unconfirmed"
    """Its handshake was never completed."""
    ROOM = "room"
    """It was the longest idle when another needed its place."""
    REVOKED = "revoked"
    """By the registry's word: removed, disabled, expired, its claim reset, or not registered with `exclusive`."""


@dataclass(frozen=True, slots=True)
class Left:
    """A peer was taken out of the device: count it."""

    key: PublicKey
    why: Departure


@dataclass(frozen=True, slots=True)
class PutBack:
    """A peer that may not connect was found in the device, where somebody else put it; it is on its way out: tell."""

    key: PublicKey
    name: str | None
    why: Refusal
    """UNKNOWN (removed), DISABLED or EXPIRED."""


Command = (
    Release
    | Lookup
    | Install
    | Configure
    | Evict
    | Recheck
    | Replay
    | SaveClaim
    | ReadDevice
    | FindCover
    | Sheltered
    | FollowUp
    | Flipped
    | Came
    | Left
    | PutBack
    | Tell
    | Count
)

"""Commands that change nothing: what the loop publishes, counts and logs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from wgjit.core.vocabulary.moment import OfKnock
from wgjit.model import AllowedIP, Endpoint, PublicKey
from wgjit.record import FeedRecord
from wgjit.refusal import Refusal


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

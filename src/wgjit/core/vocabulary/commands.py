"""Commands: what the loop does for the core."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from wgjit.core.vocabulary.moment import OfKnock
from wgjit.core.vocabulary.told import (
    Came,
    Count,
    Flipped,
    Left,
    LeftOut,
    NotCompleted,
    PinsAbsent,
    PutBack,
    Revoked,
    Tell,
    TookOver,
    Vanished,
)
from wgjit.model import AllowedIP, Claim, Endpoint, Holding, PeerChange, PublicKey


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

"""Events: what happens. The daemon's loop makes one of everything that it hears of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from wgjit.core.vocabulary.moment import OfKnock
from wgjit.model import (
    AllowedIP,
    Claim,
    Cover,
    DevicePeer,
    Endpoint,
    Holding,
    OtherGateway,
    PublicKey,
    Registration,
    Removed,
)
from wgjit.refusal import Refusal


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

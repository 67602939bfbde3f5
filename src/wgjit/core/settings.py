"""The operator's settings, as far as the core needs them."""

from __future__ import annotations

from dataclasses import dataclass

from wgjit.model import AllowedIP, Delivery


@dataclass(frozen=True, slots=True)
class Pace:
    """How often the gateway looks at the device, and how long a look counts. Only tests set these, to be quick."""

    session: float = 180.0
    """Seconds that a session lives after its handshake (REJECT_AFTER_TIME, messages.h). No peer leaves before."""
    interval: float = 30.0
    """Seconds between two looks at a device that takes long to read, if there is no other reason to look."""
    attentive: float = 500.0
    """Pause before the next look, as a multiple of the time that the last look took; `spacing` at least and `interval`
    at most. So the gateway soon sees peers that were added or removed by hand, for a five-hundredth of the time."""
    spacing: float = 2.0
    """Least seconds between two looks."""
    longest: float = 120.0
    """Most seconds between two looks, however long a look takes."""
    share: float = 50.0
    """Least pause after a look, as a multiple of the time that the look took, up to `longest`. wireguard-go installs no
    peer while it is being read."""
    urgent: float = 4.0
    """Like `share`, while a knock waits for room."""
    prompt: float = 0.5
    """Least seconds between two looks while a revoked peer may have been put back."""
    crowd: float = 0.25
    """Most seconds that a look may take to be made for one revoked peer. A larger device is not read for one peer."""
    fresh: float = 10.0
    """Seconds after a look within which a peer that the look found idle may be removed. The feed would show a handshake
    that the client began meanwhile, but not a handshake that the gateway began."""


@dataclass(frozen=True, slots=True)
class RouteRule:
    """Which routes held residents get."""

    by_claim: bool = False
    """The metric tells how new the holding is; else all routes have the same metric."""
    leave_out: tuple[AllowedIP, ...] = ()
    """Prefixes inside these get no route: the interface's own routes lead into the tunnel already."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of the core. docs/CONFIGURATION.md explains the settings that an operator can set."""

    gateway: str = "gateway"
    """This gateway's name in claims."""
    delivery: Delivery = Delivery.NONE
    """How a captured copy is delivered. A held packet is released, whatever this setting is."""
    store_is_local: bool = True
    hold_deadline: float = 0.5
    """Seconds that a held packet may wait for its verdict."""
    max_skew: float = 3600.0
    """Seconds that a client's clock may be ahead of the gateway's."""
    max_waiting: int = 4096
    """Knocks that may wait at once, for the store or for room."""
    exchanges: float = 8000.0
    """X25519 calls per second that knocks may cause."""
    source_rate: float = 100.0
    """Initiations per second that one source may send; twice as many at once."""
    idle_timeout: float = 900.0
    """Seconds without a sign of life after which a resident leaves, unless its registration has an own timeout."""
    unconfirmed_timeout: float = 15.0
    """Seconds after its last knock within which a new peer must complete a handshake; else the peer leaves."""
    capacity: int = 65536
    """Most peers in the device."""
    exclusive: bool = False
    """Peers that the registry does not know are removed from the device."""
    networks: tuple[AllowedIP, ...] = ()
    """The interface's own networks. Registered addresses are inside them, if the registry cannot list its peers."""
    watchful: int = 0
    """Other programs may add peers to the device. With fewer residents than this number, the gateway reads the device
    before each install. If it is above 0, the gateway also looks as often as looks cost next to nothing."""
    fleet: bool = False
    """This gateway shares its peers with other gateways, which have the same private key."""
    epoch: int = 0
    """The start of this process, Unix milliseconds. It tells this gateway's holdings from those of its last process."""
    routes: RouteRule | None = None
    """Held residents get routes of their own. None: the operator sees to routes."""
    shared: frozenset[bytes] = frozenset()
    """Packed service addresses, which other gateways of the fleet have, too. Data that comes there, and whose session
    is another gateway's, makes this gateway take its peer over. Empty: it never does."""
    pace: Pace = Pace()

"""The values that the packages hand to one another. They are frozen, and do nothing but check themselves."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field, replace
from enum import StrEnum

from wgjit.errors import InvalidValue
from wgjit.wire.addresses import parse_prefix
from wgjit.wire.endpoint import Endpoint
from wgjit.wire.key_text import holds_key
from wgjit.wire.keys import KEY_LENGTH, PresharedKey, PrivateKey, PublicKey
from wgjit.wire.tai64n import Tai64n

__all__ = [
    "LEAST_IDLE_TIMEOUT",
    "MOST_IDLE_TIMEOUT",
    "NEVER",
    "NEVER_PROVEN",
    "AllowedIP",
    "Change",
    "ChangeKind",
    "Claim",
    "Cover",
    "Delivery",
    "DeviceInfo",
    "DevicePeer",
    "Endpoint",
    "Holding",
    "OtherGateway",
    "Peer",
    "PeerChange",
    "PresharedKey",
    "PrivateKey",
    "PublicKey",
    "Registration",
    "Removed",
    "Tai64n",
    "parse_allowed_ip",
    "refuse_key",
]

AllowedIP = ipaddress.IPv4Network | ipaddress.IPv6Network
"""One prefix that a peer may use inside the tunnel."""


def parse_allowed_ip(text: str) -> AllowedIP:
    """Read `10.8.0.2`, `10.8.0.2/32` or `fd00::/64`. Raises InvalidValue, also if host bits are set."""
    try:
        return parse_prefix(text)
    except InvalidValue as error:
        raise InvalidValue(f"allowed IP {error.text}", field="allowed_ips") from None


def refuse_key(text: str, what: str, field: str | None = None) -> None:
    """Raise InvalidValue if a name, a label or a similar text contains a key. The error does not repeat the text.

    Names are shown, exported and logged, and the key may be a private key.
    """
    if holds_key(text):
        raise InvalidValue(
            f"{what}: a key stands in it, and it may be a secret; choose a text without it", field=field or what
        )


NEVER = 0
"""The idle timeout of a pinned peer."""

LEAST_IDLE_TIMEOUT = 180
"""Seconds. A session lives this long (REJECT_AFTER_TIME)."""

MOST_IDLE_TIMEOUT = 315_360_000
"""Seconds: ten years."""


class Standing(StrEnum):
    """Whether a registered peer may connect. Each registered peer has one standing."""

    ENABLED = "enabled"
    DISABLED = "disabled"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Peer:
    """A registered peer: its name, its standing, and everything that an install needs."""

    public_key: PublicKey
    allowed_ips: tuple[AllowedIP, ...] = ()
    preshared_key: PresharedKey | None = None
    keepalive: int = 0
    """Seconds between the persistent keepalives that the gateway sends, 0 to 65535; 0 is off."""
    enabled: bool = True
    expires_at: int | None = None
    """Unix seconds from which the peer is refused; None is never."""
    name: str | None = None
    idle_timeout: int | None = None
    """Seconds without handshake and data after which the peer leaves the device. None is the gateway's default. With
    NEVER the peer is pinned and stays."""

    def __post_init__(self) -> None:
        if self.name is not None:
            refuse_key(self.name, "name")
        if not 0 <= self.keepalive <= 65535:
            raise InvalidValue(f"keepalive {self.keepalive}: must be 0 (off) to 65535 seconds", field="keepalive")
        if len(self.allowed_ips) > 1 and len(set(self.allowed_ips)) != len(self.allowed_ips):
            raise InvalidValue("allowed IPs: a prefix is listed twice", field="allowed_ips")
        if self.idle_timeout and not LEAST_IDLE_TIMEOUT <= self.idle_timeout <= MOST_IDLE_TIMEOUT:
            raise InvalidValue(
                f"idle timeout {self.idle_timeout}: must be {LEAST_IDLE_TIMEOUT} to {MOST_IDLE_TIMEOUT} seconds, "
                "or 0 for never",
                field="idle_timeout",
            )

    def standing(self, at: float) -> Standing:
        """The peer's standing at a moment, Unix seconds."""
        if not self.enabled:
            return Standing.DISABLED
        return Standing.EXPIRED if self.expires_at is not None and self.expires_at <= at else Standing.ENABLED

    @property
    def is_pinned(self) -> bool:
        """Whether the peer never leaves the device for being idle or to make room."""
        return self.idle_timeout == NEVER


@dataclass(frozen=True, slots=True)
class Claim:
    """ "This peer was last proven at this gateway with this timestamp." The highest timestamp wins."""

    public_key: PublicKey
    timestamp: Tai64n
    gateway: str
    endpoint: Endpoint
    proven_at: float
    """Unix seconds by the gateway's clock when the client's showed `timestamp`: how far the client's is ahead."""
    proven: Tai64n | None = None
    """None if `timestamp` itself was proven. Else `timestamp` is inferred from the device's last handshake, which no
    gateway saw, and `proven` is the greatest proven timestamp, `NEVER_PROVEN` if there is none."""

    @property
    def greatest_proven(self) -> Tai64n:
        """A timestamp up to this one is old. A timestamp above it, up to `timestamp`, is most likely old."""
        return self.timestamp if self.proven is None else self.proven

    def over(self, old: Claim | None) -> Claim:
        """The claim that a store holds for the peer once this claim has been saved over the old one."""
        if old is None:
            return self
        if self.proven is None:
            return self if self.timestamp > old.greatest_proven else old
        proven = max(self.proven, old.greatest_proven)
        if self.timestamp > old.timestamp or (self.timestamp == old.timestamp and old.proven not in (None, proven)):
            return replace(self, proven=proven)
        return old


NEVER_PROVEN = Tai64n(bytes(Tai64n.LENGTH))
"""Less than any timestamp that a client makes."""


@dataclass(frozen=True, slots=True)
class Holding:
    """ "This gateway serves the peer, since its session has passed data": a confirmed claim of a fleet's gateway.

    A peer's greatest holding tells the gateway that serves it now. Holdings are compared by `order` alone, so in every
    store and in any order of arrival the same one wins. docs/FLEET.md has the rules.
    """

    public_key: PublicKey
    timestamp: Tai64n
    """The client's greatest proven timestamp at this gateway, when the holding was said."""
    takeovers: int
    """How often gateways have taken the peer over by themselves since `timestamp`, without an initiation of the
    client."""
    gateway: str
    epoch: int
    """The start of the holder's process, Unix milliseconds. A restarted gateway has a greater one."""
    endpoint: Endpoint
    since: float
    """Unix seconds since which this gateway has held the peer without a break. If it has had to say so again, or the
    client has roamed, these are the seconds of the session with this timestamp: nobody else has served it since."""
    until: float | None = None
    """Unix seconds at which the holder let the peer go. None while the holder serves it."""
    before: str | None = None
    """The gateway that held the peer before; None if there was none, or none is known."""

    @property
    def order(self) -> tuple[Tai64n, int]:
        """What decides between two holdings of a peer: the greater one wins. `over` says what decides a tie."""
        return self.timestamp, self.takeovers

    def over(self, old: Holding | None) -> Holding:
        """The holding that a store has for the peer once this one has been saved over the old one.

        A holder may say its own holding again: with a later end, another endpoint, or a new epoch. Of two gateways that
        took the peer over at once, the one with the greater name wins, so that all stores come to the same.
        """
        if old is None:
            return self
        if (self.order, self.gateway, self.epoch) < (old.order, old.gateway, old.epoch):
            return old
        return replace(self, before=(self.before or old.before) if self.gateway == old.gateway else old.gateway)


@dataclass(frozen=True, slots=True)
class OtherGateway:
    """Another gateway of the fleet, as the last heartbeat heard of it."""

    name: str
    lives: bool
    """It was seen within the last 10 seconds. False if that is not known."""
    draining: bool = False
    """It takes over no clients, and lets its own go."""
    service: tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, ...] = ()
    """The addresses that it shares with other gateways, by anycast or VRRP."""


@dataclass(frozen=True, slots=True)
class Registration:
    """A store's data about one key: the peer, its last claim and, in a fleet, who holds it; read together."""

    peer: Peer
    claim: Claim | None = None
    holding: Holding | None = None


@dataclass(frozen=True, slots=True)
class Cover:
    """Prefixes that hold all registered addresses inside some wider prefixes, and as few others as possible."""

    prefixes: tuple[AllowedIP, ...]
    exact: bool = True
    """False if there are so many registered addresses that the prefixes also hold unregistered ones."""


@dataclass(frozen=True, slots=True)
class Removed:
    """A store's data about a key that was registered and has been removed."""

    public_key: PublicKey
    claim: Claim | None = None
    """The last claim, kept and updated after the removal, so that a recording from before the removal stays old."""


class ChangeKind(StrEnum):
    """The kind of a change to a registered peer."""

    ADDED = "added"
    UPDATED = "updated"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Change:
    """One entry of a store's change log. `sequence` only grows."""

    sequence: int
    kind: ChangeKind
    public_key: PublicKey


class Delivery(StrEnum):
    """How the first handshake is completed once the peer is resident, best first."""

    HOLD = "hold"
    """The packet waits in the kernel's queue and goes on when the peer is installed."""
    REPLAY = "replay"
    """The captured copy is put back into the kernel, which has dropped the original."""
    FLIP = "flip"
    """The gateway initiates: it sets an endpoint and a persistent keepalive, and sets the keepalive back later."""
    NONE = "none"
    """The client tries again by itself after REKEY_TIMEOUT (5 s)."""


# --- the device ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """A WireGuard interface without its peers."""

    name: str
    index: int
    private_key: PrivateKey | None
    listen_port: int
    fwmark: int = 0


@dataclass(frozen=True, slots=True)
class DevicePeer:
    """A peer as the device reports it: a resident."""

    public_key: PublicKey
    allowed_ips: tuple[AllowedIP, ...] = ()
    preshared_key: PresharedKey | None = None
    endpoint: Endpoint | None = None
    keepalive: int = 0
    last_handshake: float = 0.0
    """Unix seconds; 0.0 if there was none."""
    rx_bytes: int = 0
    tx_bytes: int = 0
    is_whole: bool = True
    """False: only the peer's presence is certain, and any other value may be missing; see `Device.peers`."""


@dataclass(frozen=True, slots=True)
class PeerChange:
    """One peer's part of a configuration message to a device. None leaves a field as it is."""

    public_key: PublicKey
    remove: bool = False
    update_only: bool = False
    """Do nothing if the peer is not in the device (WGPEER_F_UPDATE_ONLY): an update must not add a removed peer."""
    preshared_key: PresharedKey | None = None
    endpoint: Endpoint | None = None
    keepalive: int | None = None
    allowed_ips: tuple[AllowedIP, ...] | None = field(default=None)
    """The whole new set, which replaces the old one."""
    more_allowed_ips: tuple[AllowedIP, ...] = ()
    """Prefixes to add to the peer's set, or to the new set. Each is taken from the peer that had it."""

    @classmethod
    def install(cls, peer: Peer, endpoint: Endpoint | None = None, keepalive: int | None = None) -> PeerChange:
        """The change that makes a registered peer resident, optionally with an endpoint and another keepalive."""
        return cls(
            public_key=peer.public_key,
            preshared_key=peer.preshared_key,
            endpoint=endpoint,
            keepalive=peer.keepalive if keepalive is None else keepalive,
            allowed_ips=peer.allowed_ips,
        )

    @classmethod
    def update(cls, peer: Peer) -> PeerChange:
        """The change that gives a resident all values of its registration. It does not add a peer that has left."""
        return cls(
            public_key=peer.public_key,
            update_only=True,
            preshared_key=peer.preshared_key or PresharedKey(bytes(KEY_LENGTH)),  # how WireGuard writes "none"
            keepalive=peer.keepalive,
            allowed_ips=peer.allowed_ips,
        )

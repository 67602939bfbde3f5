"""What the operator decided, as far as the core needs it."""

from __future__ import annotations

from dataclasses import dataclass

from wgjit.model import AllowedIP, Delivery


@dataclass(frozen=True, slots=True)
class Pace:
    """How often the device is looked at, and what a look is good for. No operator sets it; tests in a hurry do."""

    session: float = 180.0
    """Seconds that a session lives after its handshake (REJECT_AFTER_TIME, messages.h). No peer leaves before."""
    interval: float = 30.0
    """Seconds between two looks, if nothing calls for one, at a device that takes long to read."""
    attentive: float = 500.0
    """A look that takes a millisecond is followed by the next after half a second, but after `spacing` at least and
    `interval` at most. So peers that were put in or taken out by hand are seen soon, for a five-hundredth of the time.
    """
    spacing: float = 2.0
    """Seconds between two looks at least."""
    longest: float = 120.0
    """Seconds between two looks at most, however long they take."""
    share: float = 50.0
    """A look that takes a second is followed by so many without one, up to `longest`: wireguard-go installs no peer
    while it is being read."""
    urgent: float = 4.0
    """As `share`, while a knock waits for room."""
    prompt: float = 0.5
    """Seconds between two looks at least, while a revoked peer may have been put back."""
    crowd: float = 0.25
    """Seconds that a look may take to be made for that. A crowd is not read for one peer."""
    fresh: float = 10.0
    """Seconds after its end for which a look's word that a peer is idle is enough to remove the peer. A handshake that
    the client began meanwhile would be seen in the feed; one that this side began would not."""


@dataclass(frozen=True, slots=True)
class Settings:
    """docs/CONFIGURATION.md tells the meaning of those that an operator sets."""

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
    """Knocks that may wait for the store, or for room, at once."""
    exchanges: float = 8000.0
    """X25519 calls per second that knocks may cause."""
    source_rate: float = 100.0
    """Initiations per second that one source may send, twice as many at once."""
    idle_timeout: float = 900.0
    """Seconds without a sign of life after which a resident leaves, if its registration does not say otherwise."""
    unconfirmed_timeout: float = 15.0
    """Seconds after its last knock in which a handshake must have been completed, or the peer leaves."""
    capacity: int = 65536
    """Peers in the device at most."""
    exclusive: bool = False
    """Peers that the registry does not know are taken out of the device."""
    networks: tuple[AllowedIP, ...] = ()
    """The interface's own networks: where registered peers' addresses are, if the registry cannot list them."""
    watchful: int = 0
    """Others may put peers into the device. With fewer residents than this it is read before each install, and it is
    looked at as often as that costs next to nothing. 0: neither."""
    pace: Pace = Pace()

"""What the operator decided, as far as the core needs it."""

from __future__ import annotations

from dataclasses import dataclass

from wgjit.model import AllowedIP, Delivery


@dataclass(frozen=True, slots=True)
class Settings:
    """The meaning of each is told in config.py and docs/CONFIGURATION.md."""

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

"""The table of residents: which peers are in the device, and which prefixes they own.

Allowed IPs follow the kernel's rule: a prefix belongs to one peer, and an install silently moves it to the new peer.
The store keeps registered peers apart. This module keeps foreign peers apart (peers that `wg` added and the registry
does not know), so that an install never takes a prefix from a foreign peer. A prefix nested in a foreign peer's wider
one is ordinary longest-prefix routing and is allowed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from wgjit.core.settings import Settings
from wgjit.model import NEVER, AllowedIP, DevicePeer, Endpoint, Peer, PresharedKey, PublicKey


@dataclass(slots=True)
class Resident:
    """A peer in the device, as this gateway last knew it."""

    since: float
    """Monotonic seconds of the install, or of the look that found the peer."""
    allowed_ips: tuple[AllowedIP, ...] = ()
    preshared_key: PresharedKey | None = None
    keepalive: int = 0
    last_knock: float = 0.0
    """Monotonic seconds of the peer's last proven initiation; 0 if there was none."""
    name: str | None = None
    """As registered, if the registry has been seen to name it."""
    registered: bool = False
    """The registry has been seen to know the peer. Other peers are the operator's own, and wgjit leaves them alone."""
    idle_timeout: int | None = None
    """As registered: seconds, NEVER, or None for the gateway's default."""
    expires_at: int | None = None
    """As registered: Unix seconds."""
    active: float = 0.0
    """Monotonic seconds of the peer's last known sign of life. It may be later than the truth by one look."""
    handshake: float = 0.0
    """Unix seconds of the last handshake, from the device. Only compared with itself, since clocks are stepped."""
    confirmed_after: float = 0.0
    """Unix seconds, by the device's clock. Only a later handshake confirms the resident's session; 0: any handshake."""
    rx_bytes: int = 0
    """Received bytes, from the device. The device counts only packets that the peer's keys have opened."""
    endpoint: Endpoint | None = None
    """The endpoint, from the device, of a peer that a look found."""
    put_in: bool = False
    """Another program added the peer while the gateway ran: a look found it, and not the first look."""
    static_secret: bytes | None = field(default=None, repr=False)
    """`ss` of the peer's key and the gateway's, once the peer was proven. It saves one X25519 at each rekey."""

    @property
    def may_leave(self) -> bool:
        """Whether the peer is registered and not pinned."""
        return self.registered and self.idle_timeout != NEVER

    def leaves_after(self, settings: Settings) -> float:
        """Seconds without a sign of life after which the peer may leave."""
        return settings.idle_timeout if self.idle_timeout is None else self.idle_timeout

    def is_registered_as(self, peer: Peer) -> bool:
        """Whether the registry has been seen to know the peer, with this idle timeout."""
        return self.registered and self.idle_timeout == peer.idle_timeout

    def registered_as(self, peer: Peer) -> None:
        """The registry knows the peer, with these values."""
        self.registered = True
        self.name = peer.name
        self.idle_timeout = peer.idle_timeout
        self.expires_at = peer.expires_at

    def is_as(self, peer: Peer | DevicePeer) -> bool:
        """Whether the device has these values of the peer already."""
        return (
            self.keepalive == peer.keepalive
            and (self.allowed_ips is peer.allowed_ips or set(self.allowed_ips) == set(peer.allowed_ips))
            and self.preshared_key == peer.preshared_key
        )


class Residency:
    """The table of residents. A change costs O(prefixes of one peer), a whole reading O(residents)."""

    def __init__(self) -> None:
        self._residents: dict[PublicKey, Resident] = {}
        self._owners: dict[AllowedIP, PublicKey] = {}
        self._touched: set[PublicKey] | None = None
        self._present: set[PublicKey] = set()
        self._tell: Callable[[PublicKey], None] = lambda _: None

    def on_change(self, tell: Callable[[PublicKey], None]) -> None:
        """Call this with each peer that comes, changes or leaves."""
        self._tell = tell

    def __contains__(self, key: PublicKey) -> bool:
        return key in self._residents

    def __len__(self) -> int:
        return len(self._residents)

    def get(self, key: PublicKey) -> Resident | None:
        """The resident with this key, or None."""
        return self._residents.get(key)

    def owner_of(self, prefix: AllowedIP) -> PublicKey | None:
        """The resident that owns exactly this prefix, or None."""
        return self._owners.get(prefix)

    def owner_of_any(self, allowed_ips: Iterable[AllowedIP], other_than: PublicKey) -> PublicKey | None:
        """Another resident that owns exactly one of these prefixes, or None."""
        for prefix in allowed_ips:
            owner = self._owners.get(prefix)
            if owner is not None and owner != other_than:
                return owner
        return None

    def items(self) -> Iterable[tuple[PublicKey, Resident]]:
        """All residents."""
        return self._residents.items()

    def keys(self) -> Collection[PublicKey]:
        """The keys of all residents; a copy, so that another thread may read it."""
        return set(self._residents)

    def add(self, peer: Peer | DevicePeer, now: float) -> Resident:
        """Add a peer that is in the device since `now`, with these values."""
        self.remove(peer.public_key)
        resident = self._residents[peer.public_key] = Resident(since=now, active=now)
        self.update(peer)
        return resident

    def update(self, peer: Peer | DevicePeer) -> None:
        """Give a resident these values. A prefix of another resident moves to this one, as in the kernel."""
        resident = self._residents[peer.public_key]
        self.release_prefixes(peer.public_key)
        resident.allowed_ips = peer.allowed_ips
        resident.preshared_key = peer.preshared_key
        resident.keepalive = peer.keepalive
        for prefix in peer.allowed_ips:
            self._owners[prefix] = peer.public_key

    def remove(self, key: PublicKey) -> None:
        """Remove a peer that has left the device. Does nothing if the peer was not resident."""
        if key in self._residents:
            self.release_prefixes(key)
            del self._residents[key]

    def release_prefixes(self, key: PublicKey) -> tuple[AllowedIP, ...]:
        """Take all prefixes from a resident that is about to change or leave; return these prefixes."""
        self.touch(key)
        resident = self._residents[key]
        had = resident.allowed_ips
        for prefix in had:
            if self._owners.get(prefix) == key:  # the kernel may have moved it to another peer since
                del self._owners[prefix]
        resident.allowed_ips = ()
        return had

    # --- a reading of the device ------------------------------------------------------------------------------

    def reading_begins(self) -> None:
        """The device is about to be read. The reading may have or lack any change from now on."""
        self._touched = set()
        self._present = set()

    def touch(self, key: PublicKey) -> None:
        """This peer changes in the device. A reading that has begun may be outdated for it."""
        self._tell(key)
        if self._touched is not None:
            self._touched.add(key)

    def read(self, peer: DevicePeer, began: float) -> Resident | None:
        """Update the table from one peer of a reading that began at `began`.

        Returns the resident, which may be new. Returns None for a peer that changed after the beginning, since the
        reading may show it before or after the change. Also returns None for a peer that was not read whole: then it is
        only known to be there.
        """
        key = peer.public_key
        if self._touched and key in self._touched:
            return None
        self._present.add(key)
        if not peer.is_whole:
            return None
        known = self._residents.get(key)
        if known is None:
            return self.add(peer, began)
        if known.since >= began:
            return None
        if known.is_as(peer):
            known.allowed_ips = peer.allowed_ips  # a device gives the same object again, so the next look is quick
        else:
            self.update(peer)
        return known

    def reading_ends(self, began: float) -> dict[PublicKey, Resident]:
        """The reading is complete. Return the residents that were not in it: another program took them out."""
        touched, self._touched = self._touched or set(), None
        gone = {
            key: resident
            for key, resident in self._residents.items()
            if key not in self._present and key not in touched and resident.since < began
        }
        for key in gone:
            self.remove(key)
        self._present = set()
        return gone

    def reading_fails(self) -> None:
        """The reading has failed, and no more of it comes."""
        self._touched = None
        self._present = set()

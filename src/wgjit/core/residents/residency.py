"""Who is installed in the device right now, and which prefixes are taken there.

Allowed IPs follow the kernel: a prefix belongs to one peer, and installing it for another moves it without a word.
The store keeps registered peers apart; peers that the registry does not know (put there by `wg`) are kept apart
here, so that an install never takes a prefix from one of them. A prefix nested in a foreign peer's wider one is
ordinary longest-prefix routing and is let be.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from wgjit.core.settings import Settings
from wgjit.model import NEVER, AllowedIP, DevicePeer, Endpoint, Peer, PresharedKey, PublicKey


@dataclass(slots=True)
class Resident:
    """A peer in the device, as this gateway last knew it."""

    since: float
    """Monotonic seconds of the install or of the take-over."""
    allowed_ips: tuple[AllowedIP, ...] = ()
    preshared_key: PresharedKey | None = None
    keepalive: int = 0
    last_knock: float = 0.0
    """Monotonic seconds of its last proven initiation; 0 if none was seen."""
    registered: bool = False
    """The registry was seen to know it. What it never knew is the operator's own, and is left alone."""
    idle_timeout: int | None = None
    """As registered: seconds, NEVER, or None for the gateway's own."""
    expires_at: int | None = None
    """As registered: Unix seconds."""
    active: float = 0.0
    """Monotonic seconds of its last sign of life that we know of: at the truth, or later by one look at the device."""
    handshake: float = 0.0
    """Unix seconds of its last handshake, as the device told; only compared with itself, since clocks are stepped."""
    rx_bytes: int = 0
    """As the device told. It counts nothing but what the peer's keys have opened."""
    endpoint: Endpoint | None = None
    """Of one that a look has found, as the device told then."""
    put_in: bool = False
    """A look has found it that was not the first: somebody else has put it in since."""
    static_secret: bytes | None = field(default=None, repr=False)
    """`ss` of its key and the gateway's, once it was proven here: spares each rekey's proof one of two X25519."""

    @property
    def may_leave(self) -> bool:
        """It is the registry's, and not pinned."""
        return self.registered and self.idle_timeout != NEVER

    def leaves_after(self, settings: Settings) -> float:
        """Seconds without a sign of life after which it may leave."""
        return settings.idle_timeout if self.idle_timeout is None else self.idle_timeout

    def is_registered_as(self, peer: Peer) -> bool:
        """Whether the registry was seen to know it with the same time to leave."""
        return self.registered and self.idle_timeout == peer.idle_timeout

    def registered_as(self, peer: Peer) -> None:
        """The registry knows it, with these values."""
        self.registered = True
        self.idle_timeout = peer.idle_timeout
        self.expires_at = peer.expires_at

    def is_as(self, peer: Peer | DevicePeer) -> bool:
        """Whether the device has these values already."""
        return (
            self.keepalive == peer.keepalive
            and (self.allowed_ips is peer.allowed_ips or set(self.allowed_ips) == set(peer.allowed_ips))
            and self.preshared_key == peer.preshared_key
        )


class Residency:
    """The table of residents. O(prefixes of one peer) per change, O(residents) only for a whole reading."""

    def __init__(self) -> None:
        self._residents: dict[PublicKey, Resident] = {}
        self._owners: dict[AllowedIP, PublicKey] = {}
        self._touched: set[PublicKey] | None = None
        self._present: set[PublicKey] = set()

    def __contains__(self, key: PublicKey) -> bool:
        return key in self._residents

    def __len__(self) -> int:
        return len(self._residents)

    def get(self, key: PublicKey) -> Resident | None:
        """The resident with this key, or None."""
        return self._residents.get(key)

    def owner_of(self, prefix: AllowedIP) -> PublicKey | None:
        """The resident that owns this very prefix, or None."""
        return self._owners.get(prefix)

    def owner_of_any(self, allowed_ips: Iterable[AllowedIP], other_than: PublicKey) -> PublicKey | None:
        """Another resident that owns one of these very prefixes, or None."""
        for prefix in allowed_ips:
            owner = self._owners.get(prefix)
            if owner is not None and owner != other_than:
                return owner
        return None

    def items(self) -> Iterable[tuple[PublicKey, Resident]]:
        """All residents."""
        return self._residents.items()

    def keys(self) -> Collection[PublicKey]:
        """Who is resident now; a copy, so that another thread may have it."""
        return set(self._residents)

    def add(self, peer: Peer | DevicePeer, now: float) -> Resident:
        """The peer is in the device since `now`, with these values."""
        self.remove(peer.public_key)
        resident = self._residents[peer.public_key] = Resident(since=now, active=now)
        self.update(peer)
        return resident

    def update(self, peer: Peer | DevicePeer) -> None:
        """The resident has these values. A prefix that another resident has is taken from it, as in the kernel."""
        resident = self._residents[peer.public_key]
        self.release_prefixes(peer.public_key)
        resident.allowed_ips = peer.allowed_ips
        resident.preshared_key = peer.preshared_key
        resident.keepalive = peer.keepalive
        for prefix in peer.allowed_ips:
            self._owners[prefix] = peer.public_key

    def remove(self, key: PublicKey) -> None:
        """The peer is in the device no more; harmless if it was not."""
        if key in self._residents:
            self.release_prefixes(key)
            del self._residents[key]

    def release_prefixes(self, key: PublicKey) -> tuple[AllowedIP, ...]:
        """The resident is about to have other prefixes, or to go; gives those that it had."""
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
        """The device is about to be read: what changes from now on may be in the reading or not."""
        self._touched = set()
        self._present = set()

    def touch(self, key: PublicKey) -> None:
        """This peer is changed in the device: of it we know more than a reading that has begun."""
        if self._touched is not None:
            self._touched.add(key)

    def read(self, peer: DevicePeer, began: float) -> Resident | None:
        """Follow one peer of a reading that began at `began`.

        Gives the resident, which may be new here; None for one that was changed after the beginning, since then the
        reading may tell of before or after, and for one that was not read whole: then it is known to be there.
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
            known.allowed_ips = peer.allowed_ips  # which a device gives again as they are, so the next look is quick
        else:
            self.update(peer)
        return known

    def reading_ends(self, began: float) -> list[PublicKey]:
        """All peers of the reading have been followed; gives the residents that turned out to be gone."""
        touched, self._touched = self._touched or set(), None
        gone = [
            key
            for key, resident in self._residents.items()
            if key not in self._present and key not in touched and resident.since < began
        ]
        for key in gone:
            self.remove(key)
        self._present = set()
        return gone

    def reading_fails(self) -> None:
        """There will be no more of it."""
        self._touched = None
        self._present = set()

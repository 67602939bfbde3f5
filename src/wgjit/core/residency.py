"""Who is installed in the device right now, and which prefixes are taken there.

Allowed IPs follow the kernel: a prefix belongs to one peer, and installing it for another moves it without a word.
The store keeps registered peers apart; peers that the registry does not know (put there by `wg`) are kept apart
here, so that an install never takes a prefix from one of them. A prefix nested in a foreign peer's wider one is
ordinary longest-prefix routing and is let be.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from wgjit.model import AllowedIP, DevicePeer, PublicKey


@dataclass(slots=True)
class Resident:
    """A peer in the device, as this gateway last knew it."""

    allowed_ips: tuple[AllowedIP, ...]
    since: float
    """Monotonic seconds of the install or of the take-over."""
    last_knock: float = 0.0
    """Monotonic seconds of its last initiation; 0 if none was seen."""


class Residency:
    """The table of residents. O(prefixes of one peer) per change, O(residents) only for a whole reading."""

    def __init__(self) -> None:
        self._residents: dict[PublicKey, Resident] = {}
        self._owners: dict[AllowedIP, PublicKey] = {}

    def __contains__(self, key: PublicKey) -> bool:
        return key in self._residents

    def __len__(self) -> int:
        return len(self._residents)

    def get(self, key: PublicKey) -> Resident | None:
        """The resident with this key, or None."""
        return self._residents.get(key)

    def owner_of_any(self, allowed_ips: Iterable[AllowedIP], other_than: PublicKey) -> PublicKey | None:
        """Another resident that owns one of these very prefixes, or None."""
        for prefix in allowed_ips:
            owner = self._owners.get(prefix)
            if owner is not None and owner != other_than:
                return owner
        return None

    def add(self, key: PublicKey, allowed_ips: tuple[AllowedIP, ...], now: float) -> Resident:
        """The peer was put into the device, with these prefixes."""
        self.remove(key)
        resident = self._residents[key] = Resident((), since=now)
        self.update(key, allowed_ips)
        return resident

    def update(self, key: PublicKey, allowed_ips: tuple[AllowedIP, ...]) -> None:
        """The resident has other prefixes now."""
        resident = self._residents[key]
        self._release_prefixes(key, resident)
        resident.allowed_ips = allowed_ips
        for prefix in allowed_ips:
            self._owners[prefix] = key

    def remove(self, key: PublicKey) -> None:
        """The peer is in the device no more; harmless if it was not."""
        if resident := self._residents.pop(key, None):
            self._release_prefixes(key, resident)

    def _release_prefixes(self, key: PublicKey, resident: Resident) -> None:
        for prefix in resident.allowed_ips:
            if self._owners.get(prefix) == key:  # the kernel may have moved it to another peer since
                del self._owners[prefix]

    def adopt(self, peers: Iterable[DevicePeer], began: float) -> list[PublicKey]:
        """Follow a reading of the device that began at `began`; gives the keys that turned out to be gone.

        What was installed after the beginning may be missing from the reading and stays.
        """
        present = set()
        for peer in peers:
            present.add(peer.public_key)
            known = self._residents.get(peer.public_key)
            if known is None:
                self.add(peer.public_key, peer.allowed_ips, began)
            elif known.since < began and set(known.allowed_ips) != set(peer.allowed_ips):
                self.update(peer.public_key, peer.allowed_ips)
        gone = [k for k, r in self._residents.items() if k not in present and r.since < began]
        for key in gone:
            self.remove(key)
        return gone

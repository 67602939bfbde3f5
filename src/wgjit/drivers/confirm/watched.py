"""The watched peers and their prefixes: which of them does a source address belong to? Pure, no socket."""

from __future__ import annotations

from collections.abc import Iterable

from wgjit.drivers.confirm.source_filter import Hashes, hash_of, size
from wgjit.model import AllowedIP, PublicKey

MOST_PREFIXES = 8
"""Prefixes of one peer that are watched. Packets from its other prefixes do not count."""

_BITS = {4: 32, 6: 128}
_SOURCES = {4: slice(12, 16), 6: slice(8, 24)}  # in the IP header


_Owned = tuple[int, int, int]
"""A prefix, as its owner is looked up by: IP version, length, the address without host bits."""


class _Table:
    """The prefixes of one IP version and length."""

    __slots__ = ("hashes", "owners")

    def __init__(self) -> None:
        self.owners: dict[int, PublicKey] = {}
        self.hashes: dict[int, int] = {}  # by the same addresses: apart, because the filter wants nothing else


class Watched:
    """A table of peers by their prefixes. The longest prefix that holds an address owns it, as with WireGuard."""

    def __init__(self) -> None:
        self._owned: dict[PublicKey, list[_Owned]] = {}  # the oldest first
        self._tables: dict[int, dict[int, _Table]] = {4: {}, 6: {}}  # by version and length
        self.changed = False
        """Whether the prefixes have changed. The reader sets this back."""

    def __len__(self) -> int:
        return len(self._owned)

    def __contains__(self, key: PublicKey) -> bool:
        return key in self._owned

    def add(self, key: PublicKey, allowed_ips: Iterable[AllowedIP]) -> None:
        """Watch a peer, also one that is watched: its prefixes are replaced. It takes prefixes from other peers."""
        self.remove(key)
        owned: list[_Owned] = []
        for prefix in allowed_ips:
            if len(owned) == MOST_PREFIXES:
                break
            version, length, network = one = prefix.version, prefix.prefixlen, int(prefix.network_address)
            table = self._tables[version].get(length)
            if table is None:
                table = self._tables[version][length] = _Table()
            table.owners[network] = key
            table.hashes[network] = hash_of(version, length, network)
            self.changed = True
            owned.append(one)
        if owned:
            self._owned[key] = owned

    def remove(self, key: PublicKey) -> None:
        """Watch a peer no longer. Harmless if it is not watched."""
        for version, length, network in self._owned.pop(key, ()):
            tables = self._tables[version]
            table = tables.get(length)
            if table is None or table.owners.get(network) != key:
                continue  # another peer has taken the prefix, and may be gone itself
            del table.owners[network], table.hashes[network]
            if not table.owners:
                del tables[length]
            self.changed = True

    def remove_oldest(self, share: float) -> int:
        """Watch this share of the peers no longer, those that were added first. Returns how many they were."""
        oldest = [key for key, _ in zip(self._owned, range(max(1, int(len(self._owned) * share))), strict=False)]
        for key in oldest:
            self.remove(key)
        return len(oldest)

    def owner(self, version: int, address: int) -> PublicKey | None:
        """The watched peer to which this source address belongs."""
        found, longest = None, -1
        bits = _BITS[version]
        for length, table in self._tables[version].items():
            if length > longest:
                key = table.owners.get(address >> bits - length << bits - length)
                if key is not None:
                    found, longest = key, length
        return found

    def sender(self, packet: bytes) -> PublicKey | None:
        """The watched peer that sent this IP packet, whose header is enough. Whatever the bytes are, none raise."""
        version = packet[0] >> 4 if packet else 0
        source = _SOURCES.get(version)
        if source is None or len(packet) < source.stop:
            return None
        return self.owner(version, int.from_bytes(packet[source], "big"))

    def hashes(self) -> Hashes:
        """The hashes of all prefixes, as the filter wants them."""
        return {
            version: {length: table.hashes.values() for length, table in tables.items()}
            for version, tables in self._tables.items()
        }

    def size(self) -> int:
        """About how many instructions a filter takes."""
        return sum(
            [
                size(version, length, len(table.owners))
                for version, tables in self._tables.items()
                for length, table in tables.items()
            ]
        )

"""The watched peers and their prefixes: which of them does a source address belong to? Pure, no socket."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from wgjit.drivers.confirm.source_filter import MOST_IN_A_TREE, hash_of, size
from wgjit.model import AllowedIP, PublicKey

MOST_PREFIXES = 8
"""Prefixes of one peer that are watched. Packets from its other prefixes do not count."""

_BITS = {4: 32, 6: 128}


class _Owned(NamedTuple):
    """A prefix as the owner of packets looks it up: its address without the host bits."""

    version: int
    length: int
    network: int


class _Prefix(NamedTuple):
    owner: PublicKey
    hash: int


class Watched:
    """A table of peers by their prefixes. The longest prefix that holds an address owns it, as with WireGuard."""

    def __init__(self) -> None:
        self._owned: dict[PublicKey, tuple[_Owned, ...]] = {}  # the oldest first
        self._tables: dict[int, dict[int, dict[int, _Prefix]]] = {4: {}, 6: {}}  # version, length, network
        self.changed = {4: False, 6: False}
        """Whether the prefixes of an IP version have changed. The reader sets this back."""

    def __len__(self) -> int:
        return len(self._owned)

    def __contains__(self, key: PublicKey) -> bool:
        return key in self._owned

    def add(self, key: PublicKey, allowed_ips: Iterable[AllowedIP]) -> None:
        """Watch a peer, also one that is watched: its prefixes are replaced. It takes prefixes from other peers."""
        self.remove(key)
        owned = list[_Owned]()
        for prefix in allowed_ips:
            if len(owned) == MOST_PREFIXES:
                break
            one = _Owned(prefix.version, prefix.prefixlen, int(prefix.network_address))
            table = self._tables[one.version].setdefault(one.length, {})
            table[one.network] = _Prefix(key, hash_of(*one))
            self.changed[one.version] = True
            owned.append(one)
        if owned:
            self._owned[key] = tuple(owned)

    def remove(self, key: PublicKey) -> None:
        """Watch a peer no longer. Harmless if it is not watched."""
        for version, length, network in self._owned.pop(key, ()):
            tables = self._tables[version]
            prefix = tables.get(length, {}).get(network)
            if prefix is None or prefix.owner != key:
                continue  # another peer has taken the prefix, and may be gone itself
            del tables[length][network]
            if not tables[length]:
                del tables[length]
            self.changed[version] = True

    def remove_oldest(self, share: float) -> int:
        """Watch this share of the peers no longer, those that were added first. Returns how many they were."""
        oldest = [key for key, _ in zip(self._owned, range(max(1, int(len(self._owned) * share))), strict=False)]
        for key in oldest:
            self.remove(key)
        return len(oldest)

    def owner(self, version: int, address: int) -> PublicKey | None:
        """The watched peer to which this source address belongs."""
        found: tuple[int, PublicKey] | None = None
        bits = _BITS[version]
        for length, table in self._tables[version].items():
            network = address >> bits - length << bits - length
            if network in table and (found is None or length > found[0]):
                found = length, table[network].owner
        return found[1] if found else None

    def hashes(self, version: int) -> Mapping[int, Iterator[int]]:
        """For each prefix length in use the hashes of its prefixes, as the filter wants them."""
        return {n: (prefix.hash for prefix in table.values()) for n, table in self._tables[version].items()}

    def fits(self, most: int) -> bool:
        """Whether the filters of both versions have at most so many instructions."""
        return all(
            all(len(table) <= MOST_IN_A_TREE for table in tables.values())
            and size(version, {length: len(table) for length, table in tables.items()}) <= most
            for version, tables in self._tables.items()
        )

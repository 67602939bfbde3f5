"""What a gateway is itself: its public key and its own addresses inside the tunnel, which no peer may have.

A peer with the gateway's key is the gateway: WireGuard leaves such a peer out. A peer with the gateway's address would
have its packets taken for the gateway's.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from wgjit.errors import InvalidValue
from wgjit.model import AllowedIP, Peer, PublicKey

Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface
"""An address with the length of its prefix."""


@dataclass(frozen=True, slots=True)
class Own:
    """A gateway's own keys and addresses, as far as they are known."""

    keys: frozenset[PublicKey] = frozenset()
    addresses: tuple[Interface, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.keys or self.addresses)

    def __or__(self, other: Own) -> Own:
        return Own(self.keys | other.keys, (*self.addresses, *other.addresses))

    def check(self, peer: Peer) -> None:
        """Raise InvalidValue for a peer that has the gateway's key or address."""
        self.check_key(peer.public_key)
        self.check_prefixes(peer.allowed_ips)

    def check_key(self, key: PublicKey) -> None:
        """Raise InvalidValue for the gateway's own key."""
        if key in self.keys:
            raise InvalidValue(
                f"public key {key}: is the gateway's own; a peer's key is the one that `wg pubkey` gives on the client",
                field="public_key",
            )

    def check_prefixes(self, prefixes: Iterable[AllowedIP]) -> None:
        """Raise InvalidValue for a prefix with the gateway's own address, but for one around the whole network of it.

        Such a wide prefix, as 0.0.0.0/0, is that of a peer behind which other networks lie.
        """
        for prefix in prefixes:
            for own in self.addresses:
                if own.version == prefix.version and prefix.prefixlen >= own.network.prefixlen and own.ip in prefix:
                    raise InvalidValue(
                        f"allowed IP {prefix}: {own.ip} is the gateway's own address; give the client another",
                        field="allowed_ips",
                    )

    def among(self, records: Iterable[bytes]) -> list[int]:
        """The places of the plain peers (`plain.pack_plain`) that have the gateway's key or address."""
        addresses = {own.ip.packed for own in self.addresses if own.version == 4}
        return [place for place, each in enumerate(records) if each[:32] in self.keys or each[33:37] in addresses]

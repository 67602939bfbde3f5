"""Converts peers, claims and holdings to the columns of a registry row, and back. There is no database here.

`allowed_ips` is packed so in SQLite only; PostgreSQL has a type for prefixes.

| value       | packed                                                                                            |
| ----------- | ------------------------------------------------------------------------------------------------- |
| allowed IPs | one entry a prefix: family (byte 4 or 6), network address (4 or 16 bytes), prefix length (1 byte)  |
| address     | family, then the address: 5 or 17 bytes, so that order as bytes is order as addresses              |
| endpoint    | address (4 or 16 bytes), port (2, big-endian), scope (4, big-endian, only if there is one)         |

The first 5 or 17 bytes of an entry are the packed first address of its prefix. The triggers of SQLite's schema rely on
this.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, TypeVar

from wgjit.errors import StoreError
from wgjit.model import AllowedIP, Claim, Endpoint, Holding, Peer, PresharedKey, PublicKey, Registration, Tai64n
from wgjit.wire.key_text import holds_key, shown

PeerRow = tuple[PublicKey, bytes, bytes | None, int, bool, int | None, str | None, int | None]
"""The values of a peer's columns, in the order of `PEER_COLUMNS`."""

_Prefixes = TypeVar("_Prefixes")

PEER_COLUMNS = (
    "public_key",
    "allowed_ips",
    "preshared_key",
    "keepalive",
    "enabled",
    "expires_at",
    "name",
    "idle_timeout",
)
"""All columns of a row of `peers`; no other module lists them. All but the first may change."""


def columns(of: str = "", *, key: bool = True) -> str:
    """The columns of a peer for a statement, each after the prefix `of`, such as `p.`. `key`: with the key."""
    return ", ".join(of + column for column in PEER_COLUMNS[not key :])


_FAMILIES = {4: b"\x04", 6: b"\x06"}
_SIZES = {4: 4, 6: 16}


def pack_allowed_ips(prefixes: Iterable[AllowedIP]) -> bytes:
    """The `allowed_ips` column."""
    return b"".join(
        _FAMILIES[prefix.version] + prefix.network_address.packed + bytes((prefix.prefixlen,)) for prefix in prefixes
    )


def unpack_allowed_ips(packed: bytes) -> tuple[AllowedIP, ...]:
    """The prefixes of an `allowed_ips` column. Raises ValueError if the column is damaged."""
    if len(packed) == 6 and packed[0] == 4:  # the plain peer: one IPv4 prefix
        return (ipaddress.IPv4Network((packed[1:5], packed[5])),)
    return tuple(_entries(packed))


def _entries(packed: bytes) -> Iterator[AllowedIP]:
    start = 0
    while start < len(packed):
        size = _SIZES.get(packed[start])
        address = packed[start + 1 : start + 1 + (size or 0)]
        end = start + 1 + len(address)
        if size is None or len(address) != size or end >= len(packed):
            raise ValueError(f"allowed IPs are damaged at byte {start}")
        if size == 4:
            yield ipaddress.IPv4Network((address, packed[end]))
        else:
            yield ipaddress.IPv6Network((address, packed[end]))
        start = end + 1


def pack_range(prefix: AllowedIP) -> tuple[bytes, bytes | None]:
    """The packed first and last address of a prefix. For a single address the last is None."""
    family = _FAMILIES[prefix.version]
    first = family + prefix.network_address.packed
    return first, None if prefix.prefixlen == prefix.max_prefixlen else family + prefix.broadcast_address.packed


def pack_ranges(packed: bytes, prefixes: Iterable[AllowedIP]) -> list[tuple[bytes, bytes | None]]:
    """The ranges of `prefixes`. `packed` is the packed form of the same prefixes."""
    if len(packed) == 6 and packed[5] == 32:  # the plain peer, without building a network's last address
        return [(packed[:5], None)]
    return [pack_range(prefix) for prefix in prefixes]


def unpack_range(first: bytes, last: bytes | None) -> AllowedIP:
    """The prefix with this packed first and last address. Raises ValueError if no prefix has these bounds."""
    low, high = int.from_bytes(first[1:], "big"), int.from_bytes((last or first)[1:], "big")
    length = 8 * (len(first) - 1) - (low ^ high).bit_length()
    if len(first) == 5:
        return ipaddress.IPv4Network((low, length))
    return ipaddress.IPv6Network((low, length))


def peer_row(peer: Peer) -> PeerRow:
    """A peer as the columns of its row. Keep the row out of errors, since it holds the preshared key."""
    return peer_columns(peer, pack_allowed_ips(peer.allowed_ips))


def peer_columns(
    peer: Peer, allowed_ips: _Prefixes
) -> tuple[PublicKey, _Prefixes, bytes | None, int, bool, int | None, str | None, int | None]:
    """As `peer_row`, with the allowed IPs as a database of another kind takes them."""
    return (
        peer.public_key,
        allowed_ips,
        peer.preshared_key.reveal() if peer.preshared_key else None,
        peer.keepalive,
        peer.enabled,
        peer.expires_at,
        peer.name,
        peer.idle_timeout,
    )


def row_peer(
    key: bytes,
    allowed_ips: bytes,
    preshared_key: bytes | None,
    keepalive: int,
    enabled: int,
    expires_at: int | None,
    name: str | None,
    idle_timeout: int | None,
) -> Peer:
    """The peer of a row. Raises StoreError if a column is damaged; the error names the peer, not the content.

    A name with a key in it is left out. An older wgjit or another program may have written such a name.
    """
    try:
        prefixes = unpack_allowed_ips(allowed_ips)
    except (ValueError, TypeError, IndexError):
        raise damaged("peer", key) from None
    return make_peer(key, prefixes, preshared_key, keepalive, enabled, expires_at, name, idle_timeout)


def make_peer(
    key: bytes,
    allowed_ips: Sequence[AllowedIP],
    preshared_key: bytes | None,
    keepalive: int,
    enabled: int,
    expires_at: int | None,
    name: str | None,
    idle_timeout: int | None,
) -> Peer:
    """As `row_peer`, for a row that has the allowed IPs as prefixes."""
    try:
        return Peer(
            PublicKey(key),
            tuple(allowed_ips),
            None if preshared_key is None else PresharedKey(preshared_key),
            keepalive,
            bool(enabled),
            expires_at,
            None if name is not None and holds_key(name) else name,
            idle_timeout,
        )
    except (ValueError, TypeError, IndexError):  # InvalidValue is a ValueError
        raise damaged("peer", key) from None


def pack_endpoint(endpoint: Endpoint) -> bytes:
    """The `endpoint` column of a claim."""
    scope = endpoint.scope.to_bytes(4, "big") if endpoint.scope else b""
    return endpoint.address + endpoint.port.to_bytes(2, "big") + scope


def unpack_endpoint(packed: bytes) -> Endpoint:
    """The endpoint of a claim's column. Raises ValueError if the column is damaged."""
    size = {6: 4, 18: 16, 22: 16}.get(len(packed))
    if size is None:
        raise ValueError("endpoint is damaged")
    return Endpoint(
        packed[:size], int.from_bytes(packed[size : size + 2], "big"), int.from_bytes(packed[size + 2 :], "big")
    )


def claim_row(claim: Claim) -> tuple[PublicKey, Tai64n, str, bytes, float, Tai64n | None]:
    """A claim as the columns of its row."""
    endpoint = pack_endpoint(claim.endpoint)
    return claim.public_key, claim.timestamp, claim.gateway, endpoint, claim.proven_at, claim.proven


def row_claim(
    key: PublicKey, timestamp: bytes, gateway: str, endpoint: bytes, proven_at: float, proven: bytes | None
) -> Claim:
    """The claim of a row. Raises StoreError if a column is damaged."""
    try:
        greatest = None if proven is None else Tai64n(proven)
        return Claim(key, Tai64n(timestamp), shown(gateway), unpack_endpoint(endpoint), proven_at, greatest)
    except (ValueError, TypeError):
        raise damaged("claim", key) from None


HoldingRow = tuple[PublicKey, Tai64n, int, str, int, bytes, float, float | None, str | None]
"""The values of a holding's columns: the key, then `HOLDING_COLUMNS`."""

HOLDING_COLUMNS = ("timestamp", "takeovers", "gateway", "epoch", "endpoint", "since", "until", "before")
"""The columns of a holding after its key."""


def holding_columns(of: str = "") -> str:
    """The columns of a holding after its key for a statement, each after the prefix `of`, such as `h.`."""
    return ", ".join(of + column for column in HOLDING_COLUMNS)


def holding_row(holding: Holding) -> HoldingRow:
    """A holding as the columns of its row."""
    return (
        holding.public_key,
        holding.timestamp,
        holding.takeovers,
        holding.gateway,
        holding.epoch,
        pack_endpoint(holding.endpoint),
        holding.since,
        holding.until,
        holding.before,
    )


def row_holding(
    key: bytes,
    timestamp: bytes,
    takeovers: int,
    gateway: str,
    epoch: int,
    endpoint: bytes,
    since: float,
    until: float | None,
    before: str | None,
) -> Holding:
    """The holding of a row. Raises StoreError if a column is damaged."""
    try:
        return Holding(
            PublicKey(key),
            Tai64n(timestamp),
            takeovers,
            shown(gateway),
            epoch,
            unpack_endpoint(endpoint),
            since,
            until,
            None if before is None else shown(before),
        )
    except (ValueError, TypeError):
        raise damaged("holding", key) from None


def unpack_service(text: str | None) -> tuple[IPv4Address | IPv6Address, ...]:
    """The addresses that a gateway shares with others, as its row has them. What is no address is left out."""
    found: list[IPv4Address | IPv6Address] = []
    for each in (text or "").split(","):
        with suppress(ValueError):
            found.append(ip_address(each))
    return tuple(found)


def row_registration(key: PublicKey, row: Sequence[Any]) -> Registration:
    """A peer's columns after its key, then its claim's and its holding's, each None without one. Raises StoreError."""
    peer = row_peer(key, *row[:7])
    claim = None if row[7] is None else row_claim(key, *row[7:12])
    return Registration(peer, claim, None if row[12] is None else row_holding(key, *row[12:]))


def damaged(what: str, key: bytes) -> StoreError:
    """The error for a row that another program wrote wrongly, or that a disk damaged."""
    who = PublicKey(key) if isinstance(key, bytes) and len(key) == 32 else repr(key)
    return StoreError(f"{what} {who}: its row in the registry is damaged; remove the peer and register it again")

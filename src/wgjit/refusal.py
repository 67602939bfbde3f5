"""All reasons to refuse a knock: one enum, used in code, log, metrics and feed.

A refusal is an expected "no". It is returned as a value and never raised. The order is that of the checks, the cheapest
first. The value is the name that people and programs see.
"""

from __future__ import annotations

from enum import StrEnum


class Refusal(StrEnum):
    """The reason for which an initiation did not lead to an installed peer."""

    # wire: checks of the bytes alone
    NOT_UDP = "not_udp"
    """The packet is not a whole IPv4 or IPv6 packet with UDP, or it is a fragment of one."""
    BAD_LENGTH = "bad_length"
    """The length does not fit the message type: an initiation is 148 bytes, a response 92, a cookie reply 64."""
    BAD_TYPE = "bad_type"
    """The first byte names another message type."""
    BAD_RESERVED = "bad_reserved"
    """The three reserved bytes after the type are not zero."""
    BAD_MAC1 = "bad_mac1"
    """mac1 does not fit this interface's public key: the packet is noise, or meant for another server."""
    DUPLICATE = "duplicate"
    """The same initiation was seen a moment ago: a tap shows it twice, or somebody repeats it."""
    BAD_POINT = "bad_point"
    """The ephemeral or static key is a low-order point: the shared secret would be all zeros."""
    BAD_STATIC = "bad_static"
    """The encrypted static key does not open: it was made for another key, or is garbage behind a good mac1."""

    # admission: source and load
    RATE_LIMITED = "rate_limited"
    """The source (IPv4 address or IPv6 /64) knocks faster than it may."""
    OVERLOADED = "overloaded"
    """The budget for X25519 calls is spent, or too many knocks are waiting already."""

    # registry
    UNKNOWN = "unknown"
    """No peer with this key is registered."""
    DISABLED = "disabled"
    """The peer is registered, and disabled."""
    EXPIRED = "expired"
    """The peer's expiry has passed."""
    STORE_FAILED = "store_failed"
    """The registry could not be asked. This is not the same as UNKNOWN."""

    # proof and claim
    FORGED = "forged"
    """The timestamp does not open under ss: the sender does not hold the private key of the claimed key."""
    STALE = "stale"
    """The proven timestamp is not newer than the peer's last one, or seems old: a replayed initiation."""
    FUTURE = "future"
    """The proven timestamp is further ahead of the gateway's clock than the allowed skew."""

    # fleet
    DRAINING = "draining"
    """This gateway drains, and another gateway serves the peer. After 15 s of knocks the peer is let in."""
    RETURNING = "returning"
    """This gateway has just ended a drain, and takes over no more clients at once. Another gateway served the peer."""

    # residency
    CONFLICT = "conflict"
    """Another peer on the interface, which the registry does not know, has an allowed IP of this peer."""
    FULL = "full"
    """The interface cannot take another peer."""
    DEVICE_FAILED = "device_failed"
    """The interface refused the install for another reason."""

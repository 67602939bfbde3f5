"""Why a knock got nothing: one enum, used in code, log, metric and feed.

A refusal is an expected "no", returned as a value and never raised. It is ordered as the checks are: cheapest
first. Its value is the name that people and programs see.
"""

from __future__ import annotations

from enum import StrEnum


class Refusal(StrEnum):
    """The reason for which an initiation did not lead to an installed peer."""

    # wire: what the bytes alone tell
    NOT_UDP = "not_udp"
    """Not a whole IPv4 or IPv6 packet that carries UDP, or a fragment of one."""
    BAD_LENGTH = "bad_length"
    """Not as long as a message of its type: an initiation is 148 bytes, a response 92, a cookie reply 64."""
    BAD_TYPE = "bad_type"
    """The first byte names another message type."""
    BAD_RESERVED = "bad_reserved"
    """The three reserved bytes after the type are not zero."""
    BAD_MAC1 = "bad_mac1"
    """mac1 does not fit this interface's public key: noise, or meant for another server."""
    DUPLICATE = "duplicate"
    """The very same initiation was seen a moment ago: a second tap, or someone repeats it at once."""
    BAD_POINT = "bad_point"
    """The ephemeral or static key is a low-order point: the shared secret would be all zeros."""
    BAD_STATIC = "bad_static"
    """The encrypted static key does not open: made for another key, or garbage behind a good mac1."""

    # admission: who sends, and how much
    RATE_LIMITED = "rate_limited"
    """This source address (IPv4 address or IPv6 /64) knocks faster than it may."""
    OVERLOADED = "overloaded"
    """Too many knocks are waiting for an answer already."""

    # registry
    UNKNOWN = "unknown"
    """No peer with this key is registered."""
    DISABLED = "disabled"
    """The peer is registered and switched off."""
    EXPIRED = "expired"
    """The peer's expiry has passed."""
    STORE_FAILED = "store_failed"
    """The registry could not be asked: not the same as unknown."""

    # proof and claim
    FORGED = "forged"
    """The timestamp does not open under ss: the sender does not hold the private key of the key it claims."""
    STALE = "stale"
    """The proven timestamp is not newer than the peer's last one: a replayed initiation."""
    FUTURE = "future"
    """The proven timestamp is further ahead of our clock than the allowed skew."""

    # residency
    CONFLICT = "conflict"
    """An allowed IP of the peer belongs to another peer on the interface that the registry does not know."""
    FULL = "full"
    """The interface cannot take another peer."""
    DEVICE_FAILED = "device_failed"
    """The interface refused the install for another reason."""

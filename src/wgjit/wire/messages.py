"""The three handshake messages, bytes <-> values (paper, sections 5.4.2, 5.4.3, 5.4.7; kernel `messages.h`).

| type | message      | bytes | layout, little-endian, after the type byte and three reserved zero bytes          |
| ---- | ------------ | ----- | ---------------------------------------------------------------------------------- |
| 1    | initiation   | 148   | sender 4, ephemeral 32, encrypted static 48, encrypted timestamp 28, mac1 16, mac2 16 |
| 2    | response     | 92    | sender 4, receiver 4, ephemeral 32, encrypted nothing 16, mac1 16, mac2 16         |
| 3    | cookie reply | 64    | receiver 4, nonce 24, encrypted cookie 32                                          |

There is no cryptography here: a parsed message only has the right layout. The lengths are exact. A message with another
layout gives the Refusal BAD_LENGTH, BAD_TYPE or BAD_RESERVED, in this order. One `struct` per message serves both
directions.
"""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple

from wgjit.refusal import Refusal

INITIATION: Final = 1
RESPONSE: Final = 2
COOKIE_REPLY: Final = 3
TRANSPORT_DATA: Final = 4

MAC_LENGTH: Final = 16
NO_MAC2: Final = bytes(MAC_LENGTH)
"""The value of mac2 while the sender has no cookie."""

# The type byte and the reserved ones are read and written as one little-endian word, as the kernel does.
_LAYOUT: Final = {
    INITIATION: Struct("<II32s48s28s16s16s"),
    RESPONSE: Struct("<III32s16s16s16s"),
    COOKIE_REPLY: Struct("<II24s32s"),
}
_unpack_initiation: Final = _LAYOUT[INITIATION].unpack
_new: Final = tuple.__new__
LENGTH: Final = {kind: layout.size for kind, layout in _LAYOUT.items()}
"""Bytes in each handshake message by its type: {1: 148, 2: 92, 3: 64}."""
_INITIATION_LENGTH: Final = LENGTH[INITIATION]

MAC1_COVERS: Final = -2 * MAC_LENGTH
"""mac1 authenticates `raw[:MAC1_COVERS]`: all bytes before it."""
MAC2_COVERS: Final = -MAC_LENGTH
"""mac2 authenticates `raw[:MAC2_COVERS]`: all bytes before it, including mac1."""


class Initiation(NamedTuple):
    """Handshake message 1, the knock. `raw` is the whole message."""

    raw: bytes
    sender: int
    """Index that the initiator chose for this session, 32 bits."""
    ephemeral: bytes
    """Curve25519 public key, 32 bytes, not encrypted."""
    encrypted_static: bytes
    """32 bytes of key and 16 of tag."""
    encrypted_timestamp: bytes
    """12 bytes of TAI64N and 16 of tag."""
    mac1: bytes
    mac2: bytes


class Response(NamedTuple):
    """Handshake message 2, the responder's answer. `raw` is the whole message."""

    raw: bytes
    sender: int
    """Index that the responder chose for this session, 32 bits."""
    receiver: int
    """The initiation's `sender`."""
    ephemeral: bytes
    encrypted_nothing: bytes
    """The 16-byte tag of an empty text."""
    mac1: bytes
    mac2: bytes


class CookieReply(NamedTuple):
    """The answer of a responder under load, instead of a response. `raw` is the whole message."""

    raw: bytes
    receiver: int
    """The initiation's `sender`."""
    nonce: bytes
    """24 random bytes."""
    encrypted_cookie: bytes
    """16 bytes of cookie and 16 of tag."""


def parse_initiation(message: bytes) -> Initiation | Refusal:
    """Read message 1. Any bytes of any length give a value or a Refusal."""
    if len(message) != _INITIATION_LENGTH:
        return Refusal.BAD_LENGTH
    # This runs for each captured packet, so it avoids NamedTuple's constructor, which is a Python function.
    word, sender, ephemeral, static, timestamp, mac1, mac2 = _unpack_initiation(message)
    if word != INITIATION:  # its first byte is the type, the others are reserved
        return Refusal.BAD_TYPE if word & 0xFF != INITIATION else Refusal.BAD_RESERVED
    return _new(Initiation, (message, sender, ephemeral, static, timestamp, mac1, mac2))


def parse_response(message: bytes) -> Response | Refusal:
    """Read message 2. Any bytes of any length give a value or a Refusal."""
    fault = _fault(message, RESPONSE)
    return fault or Response(message, *_LAYOUT[RESPONSE].unpack(message)[1:])


def parse_cookie_reply(message: bytes) -> CookieReply | Refusal:
    """Read a cookie reply. Any bytes of any length give a value or a Refusal."""
    fault = _fault(message, COOKIE_REPLY)
    return fault or CookieReply(message, *_LAYOUT[COOKIE_REPLY].unpack(message)[1:])


def build_initiation(
    sender: int, ephemeral: bytes, encrypted_static: bytes, encrypted_timestamp: bytes, mac1: bytes, mac2: bytes
) -> bytes:
    """The 148 bytes of message 1 from its fields, which must have the lengths that `Initiation` states."""
    return _LAYOUT[INITIATION].pack(INITIATION, sender, ephemeral, encrypted_static, encrypted_timestamp, mac1, mac2)


def build_response(
    sender: int, receiver: int, ephemeral: bytes, encrypted_nothing: bytes, mac1: bytes, mac2: bytes
) -> bytes:
    """The 92 bytes of message 2 from its fields, which must have the lengths that `Response` states."""
    return _LAYOUT[RESPONSE].pack(RESPONSE, sender, receiver, ephemeral, encrypted_nothing, mac1, mac2)


def build_cookie_reply(receiver: int, nonce: bytes, encrypted_cookie: bytes) -> bytes:
    """The 64 bytes of a cookie reply from its fields, which must have the lengths that `CookieReply` states."""
    return _LAYOUT[COOKIE_REPLY].pack(COOKIE_REPLY, receiver, nonce, encrypted_cookie)


def _fault(message: bytes, kind: int) -> Refusal | None:
    if len(message) != LENGTH[kind]:
        return Refusal.BAD_LENGTH
    if message[0] != kind:
        return Refusal.BAD_TYPE
    return Refusal.BAD_RESERVED if message[1] or message[2] or message[3] else None

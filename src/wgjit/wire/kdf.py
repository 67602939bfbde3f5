"""Hash, Mac, Hmac, Kdf and Aead as the WireGuard paper names them (section 5.4), fast enough for one per packet.

An X25519 takes about 35 µs, and these functions must cost little beside it. So HMAC is written out: two table
translations pad the key, and two hashes follow, at half the cost of `hmac.digest`. Prepared values are kept as bytes,
because one BLAKE2s call over joined bytes costs less than copying and updating a kept state. Both were measured
(bench/decode.py). Tests compare this HMAC with the standard library's.
"""

from __future__ import annotations

import hashlib
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

HASH_LENGTH: Final = 32

_BLOCK: Final = 64
_INNER: Final = bytes(byte ^ 0x36 for byte in range(256))
_OUTER: Final = bytes(byte ^ 0x5C for byte in range(256))
_INNER_FILL: Final = b"\x36" * (_BLOCK - HASH_LENGTH)
_OUTER_FILL: Final = b"\x5c" * (_BLOCK - HASH_LENGTH)

blake2s = hashlib.blake2s


def hash_(data: bytes) -> bytes:
    """Hash(input): BLAKE2s, 32 bytes of output."""
    return blake2s(data).digest()


def mac(key: bytes, data: bytes) -> bytes:
    """Mac(key, input): keyed BLAKE2s, 16 bytes of output."""
    return blake2s(data, digest_size=16, key=key).digest()


def padded(key: bytes) -> tuple[bytes, bytes]:
    """HMAC's inner and outer block of a 32-byte key, with which its two hashes begin (RFC 2104)."""
    return key.translate(_INNER) + _INNER_FILL, key.translate(_OUTER) + _OUTER_FILL


def hmac(key: bytes, data: bytes) -> bytes:
    """Hmac(key, input): HMAC-BLAKE2s with a key of 32 bytes, 32 bytes of output."""
    inner = blake2s(key.translate(_INNER) + _INNER_FILL + data).digest()
    return blake2s(key.translate(_OUTER) + _OUTER_FILL + inner).digest()


def kdf1(key: bytes, data: bytes) -> bytes:
    """Kdf₁(key, input): HKDF with one output."""
    return hmac(hmac(key, data), b"\x01")


def kdf1_padded(inner: bytes, outer: bytes, data: bytes) -> bytes:
    """`kdf1` of a prepared key, given as its `padded` blocks. All in one function, since a call costs time."""
    secret = blake2s(outer + blake2s(inner + data).digest()).digest()
    last = blake2s(secret.translate(_INNER) + _INNER_FILL + b"\x01").digest()
    return blake2s(secret.translate(_OUTER) + _OUTER_FILL + last).digest()


def kdf2(key: bytes, data: bytes) -> tuple[bytes, bytes]:
    """Kdf₂(key, input): HKDF with two outputs. All in one function, because two of these run for each initiation."""
    inner = blake2s(key.translate(_INNER) + _INNER_FILL + data).digest()
    secret = blake2s(key.translate(_OUTER) + _OUTER_FILL + inner).digest()
    inner, outer = secret.translate(_INNER) + _INNER_FILL, secret.translate(_OUTER) + _OUTER_FILL
    first = blake2s(outer + blake2s(inner + b"\x01").digest()).digest()
    return first, blake2s(outer + blake2s(inner + first + b"\x02").digest()).digest()


def kdf3(key: bytes, data: bytes) -> tuple[bytes, bytes, bytes]:
    """Kdf₃(key, input): HKDF with three outputs."""
    secret = hmac(key, data)
    first = hmac(secret, b"\x01")
    second = hmac(secret, first + b"\x02")
    return first, second, hmac(secret, second + b"\x03")


def nonce(counter: int) -> bytes:
    """The 12-byte nonce of ChaCha20-Poly1305: four zeros and the counter, little-endian."""
    return bytes(4) + counter.to_bytes(8, "little")


ZERO: Final = nonce(0)


def seal(key: bytes, plaintext: bytes, additional: bytes, nonce: bytes = ZERO) -> bytes:
    """Aead(key, counter, plain text, auth text): ChaCha20-Poly1305, with the 16-byte tag at the end."""
    return ChaCha20Poly1305(key).encrypt(nonce, plaintext, additional)


def open_(key: bytes, ciphertext: bytes, additional: bytes, nonce: bytes = ZERO) -> bytes | None:
    """The plain text of `seal`; None if the tag is wrong."""
    try:
        return ChaCha20Poly1305(key).decrypt(nonce, ciphertext, additional)
    except InvalidTag:
        return None

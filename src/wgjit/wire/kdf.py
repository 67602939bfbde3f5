"""Hash, Mac, Hmac, Kdf and Aead as the WireGuard paper names them (section 5.4), fast enough for one per packet.

Next to an X25519 of about 35 µs these must not count, so HMAC is written out: it pads the key with two table
translations and hashes twice, half the cost of `hmac.digest`, and the padded key states are kept where a key is
used more than once. Which is faster was measured, not guessed; tests hold this HMAC to the standard library's.
"""

from __future__ import annotations

import hashlib
from functools import partial
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

HASH_LENGTH: Final = 32

_BLOCK: Final = 64
_INNER: Final = bytes(byte ^ 0x36 for byte in range(256))
_OUTER: Final = bytes(byte ^ 0x5C for byte in range(256))
_INNER_FILL: Final = b"\x36" * (_BLOCK - HASH_LENGTH)
_OUTER_FILL: Final = b"\x5c" * (_BLOCK - HASH_LENGTH)
_NONCE_ZERO: Final = bytes(12)

blake2s = hashlib.blake2s


def hash_(data: bytes) -> bytes:
    """Hash(input): BLAKE2s, 32 bytes of output."""
    return blake2s(data).digest()


def mac(key: bytes, data: bytes) -> bytes:
    """Mac(key, input): keyed BLAKE2s, 16 bytes of output."""
    return blake2s(data, digest_size=16, key=key).digest()


class Hmac:
    """Hmac(key, ·) for one key of 32 bytes that is used several times: both padded states are kept."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, key: bytes) -> None:
        self._inner = blake2s(key.translate(_INNER) + _INNER_FILL)
        self._outer = blake2s(key.translate(_OUTER) + _OUTER_FILL)

    def __call__(self, data: bytes) -> bytes:
        inner = self._inner.copy()
        inner.update(data)
        outer = self._outer.copy()
        outer.update(inner.digest())
        return outer.digest()


def hmac(key: bytes, data: bytes) -> bytes:
    """Hmac(key, input): HMAC-BLAKE2s with a key of 32 bytes, 32 bytes of output."""
    inner = blake2s(key.translate(_INNER) + _INNER_FILL + data).digest()
    return blake2s(key.translate(_OUTER) + _OUTER_FILL + inner).digest()


def kdf1(key: bytes, data: bytes) -> bytes:
    """Kdf₁(key, input): HKDF with one output."""
    return hmac(hmac(key, data), b"\x01")


def kdf2(key: bytes, data: bytes) -> tuple[bytes, bytes]:
    """Kdf₂(key, input): HKDF with two outputs."""
    secret = hmac(key, data)
    inner = secret.translate(_INNER) + _INNER_FILL
    outer = secret.translate(_OUTER) + _OUTER_FILL
    first = blake2s(outer + blake2s(inner + b"\x01").digest()).digest()
    return first, blake2s(outer + blake2s(inner + first + b"\x02").digest()).digest()


def kdf3(key: bytes, data: bytes) -> tuple[bytes, bytes, bytes]:
    """Kdf₃(key, input): HKDF with three outputs."""
    expand = partial(hmac, hmac(key, data))
    first = expand(b"\x01")
    second = expand(first + b"\x02")
    return first, second, expand(second + b"\x03")


def seal(key: bytes, plaintext: bytes, additional: bytes, counter: int = 0) -> bytes:
    """Aead(key, counter, plain text, auth text): ChaCha20-Poly1305; the tag's 16 bytes are at the end."""
    return ChaCha20Poly1305(key).encrypt(bytes(4) + counter.to_bytes(8, "little"), plaintext, additional)


def open_(key: bytes, ciphertext: bytes, additional: bytes, counter: int = 0) -> bytes | None:
    """The plain text of `seal`, or None if it does not open."""
    nonce = bytes(4) + counter.to_bytes(8, "little") if counter else _NONCE_ZERO
    try:
        return ChaCha20Poly1305(key).decrypt(nonce, ciphertext, additional)
    except InvalidTag:
        return None

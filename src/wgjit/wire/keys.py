"""The three kinds of WireGuard key, as three types that cannot be confused.

A public key is plain bytes, printed as `wg` prints it. A private key and a preshared key are sealed: they print as
redacted, cannot be pickled, and only `.reveal()` gives their bytes.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
from typing import NoReturn, Self

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from wgjit.errors import InvalidValue

KEY_LENGTH = 32
"""Bytes in each kind of key (WireGuard paper, section 5.4)."""


def _from_base64(text: str, what: str) -> bytes:
    """The bytes of a key as `wg` reads it: 44 characters, and only those that the bytes are written with."""
    text = text.strip()
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != KEY_LENGTH or base64.b64encode(raw).decode() != text:  # bits behind the 256 are no part of a key
        text = f"{what}: not a WireGuard key; write 44 characters of base64, as `wg` prints it"
        raise InvalidValue(text, field=what.replace(" ", "_"))
    return raw


class PublicKey(bytes):
    """A Curve25519 public key: 32 bytes. It is `bytes`, so it can be a dict key and a database parameter."""

    __slots__ = ()

    def __new__(cls, raw: bytes) -> Self:
        """Take 32 raw bytes. Raises InvalidValue for any other length."""
        if len(raw) != KEY_LENGTH:
            raise InvalidValue(f"public key: {len(raw)} bytes, must be {KEY_LENGTH}", field="public_key")
        return super().__new__(cls, raw)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the base64 form. Raises InvalidValue."""
        return cls(_from_base64(text, "public key"))

    def __str__(self) -> str:
        return base64.b64encode(self).decode()

    def __repr__(self) -> str:
        return f"PublicKey({self})"


class _Sealed:
    """Thirty-two secret bytes. Only `reveal` and `reveal_base64` give them."""

    __slots__ = ("_raw",)
    _what = "secret"

    def __init__(self, raw: bytes) -> None:
        if len(raw) != KEY_LENGTH:
            raise InvalidValue(f"{self._what}: {len(raw)} bytes, must be {KEY_LENGTH}")
        self._raw = bytes(raw)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the base64 form. Raises InvalidValue; the error does not repeat the text."""
        return cls(_from_base64(text, cls._what))

    @classmethod
    def generate(cls) -> Self:
        """Make a new key from the system's random source."""
        return cls(secrets.token_bytes(KEY_LENGTH))

    def reveal(self) -> bytes:
        """The 32 bytes. A secret can leak at each place that calls this, so keep these places few."""
        return self._raw

    def reveal_base64(self) -> str:
        """The base64 form, for a configuration file that must hold it."""
        return base64.b64encode(self._raw).decode()

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and hmac.compare_digest(self._raw, other._raw)

    def __hash__(self) -> int:
        return hash((type(self), self._raw))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(redacted)"

    __str__ = __repr__

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{self._what}: a secret is not pickled")


class PrivateKey(_Sealed):
    """A Curve25519 private key, not clamped."""

    __slots__ = ()
    _what = "private key"

    def public(self) -> PublicKey:
        """The public key of this private key (one X25519 with the base point)."""
        return PublicKey(X25519PrivateKey.from_private_bytes(self._raw).public_key().public_bytes_raw())


class PresharedKey(_Sealed):
    """The optional symmetric key of a peer (paper, section 5.2). Only message 2 uses it."""

    __slots__ = ()
    _what = "preshared key"

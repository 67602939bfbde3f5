"""The cookie that a responder under load asks for, and its encryption, XChaCha20-Poly1305 (paper, section 5.4.7).

The cookie is sealed under a key that anybody can compute from the responder's public key. The authenticated text is the
initiation's mac1. So a cookie reply proves to the initiator that its sender saw the initiator's message.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

from wgjit.wire.kdf import hash_, open_, seal
from wgjit.wire.keys import PublicKey
from wgjit.wire.messages import CookieReply

_LABEL_COOKIE: Final = b"cookie--"
_WORDS: Final = Struct("<16I")
_SIGMA: Final = b"expand 32-byte k"


def cookie_key(responder: PublicKey) -> bytes:
    """Hash(Label-Cookie ‖ Spub_responder): the key that seals the cookie replies of this responder."""
    return hash_(_LABEL_COOKIE + responder)


def open_cookie(responder: PublicKey, reply: CookieReply, mac1: bytes) -> bytes | None:
    """The 16-byte cookie of a reply to the message with this mac1; None if it does not open.

    msg.cookie := XAead(Hash(Label-Cookie ‖ Spub_m), msg.nonce, τ, M)
    """
    subkey, nonce = _subkey(cookie_key(responder), reply.nonce)
    return open_(subkey, reply.encrypted_cookie, mac1, nonce)


def seal_cookie(responder: PublicKey, nonce: bytes, cookie: bytes, mac1: bytes) -> bytes:
    """The reverse of `open_cookie`: 32 bytes for `build_cookie_reply`, from a nonce of 24 bytes and a cookie of 16."""
    subkey, rest = _subkey(cookie_key(responder), nonce)
    return seal(subkey, cookie, mac1, rest)


def _subkey(key: bytes, nonce: bytes) -> tuple[bytes, bytes]:
    """XChaCha20's subkey, from the first 16 bytes of the nonce, and ChaCha20's nonce, from the last 8."""
    return hchacha20(key, nonce[:16]), bytes(4) + nonce[16:]


def hchacha20(key: bytes, nonce: bytes) -> bytes:
    """HChaCha20 (draft-irtf-cfrg-xchacha, section 2.2): a 32-byte subkey from a 32-byte key and a 16-byte nonce.

    HChaCha20 is ChaCha20's block function without the last step, which adds the input state to the output. The result
    is eight words of this. Their input words are public (constant and nonce), so they are subtracted from a ChaCha20
    block.
    """
    block = _WORDS.unpack(Cipher(ChaCha20(key, nonce), mode=None).encryptor().update(bytes(64)))
    start = _WORDS.unpack(_SIGMA + key + nonce)
    words = [(after - before) & 0xFFFFFFFF for after, before in zip(block, start, strict=True)]
    return b"".join(word.to_bytes(4, "little") for word in words[:4] + words[12:])

"""The cookie that a responder under load asks for, and the XChaCha20-Poly1305 it travels in (paper, section 5.4.7).

A cookie reply proves to the initiator that its own message was seen: the cookie is sealed under a key that anybody
can compute from the responder's public key, with the initiation's mac1 as the authenticated text.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

from wgjit.wire.kdf import hash_, open_, seal
from wgjit.wire.keys import PublicKey
from wgjit.wire.messages import CookieReply

COOKIE_LENGTH: Final = 16

_LABEL_COOKIE: Final = b"cookie--"
_WORDS: Final = Struct("<16I")
_SIGMA: Final = b"expand 32-byte k"


def cookie_key(responder: PublicKey) -> bytes:
    """Hash(Label-Cookie ‖ Spub_responder): what cookie replies of this responder are sealed with."""
    return hash_(_LABEL_COOKIE + responder)


def open_cookie(responder: PublicKey, reply: CookieReply, mac1: bytes) -> bytes | None:
    """The 16-byte cookie of a reply to the message with this mac1; None if it does not open.

    msg.cookie := XAead(Hash(Label-Cookie ‖ Spub_m), msg.nonce, τ, M)
    """
    subkey, nonce = _subkey(cookie_key(responder), reply.nonce)
    return open_(subkey, reply.encrypted_cookie, mac1, nonce)


def seal_cookie(responder: PublicKey, nonce: bytes, cookie: bytes, mac1: bytes) -> bytes:
    """The other direction: 32 bytes for `build_cookie_reply`, from a nonce of 24 bytes and a cookie of 16."""
    subkey, rest = _subkey(cookie_key(responder), nonce)
    return seal(subkey, cookie, mac1, rest)


def _subkey(key: bytes, nonce: bytes) -> tuple[bytes, bytes]:
    """XChaCha20: a subkey from the first 16 bytes of the nonce; the last 8 go into ChaCha20's own nonce."""
    return hchacha20(key, nonce[:16]), bytes(4) + nonce[16:]


def hchacha20(key: bytes, nonce: bytes) -> bytes:
    """HChaCha20 (draft-irtf-cfrg-xchacha, section 2.2): a 32-byte subkey from a 32-byte key and a 16-byte nonce.

    It is ChaCha20's block without the last step, which adds the input state to the output. Eight of its words are
    the result, and their input is public (constant and nonce): so take a ChaCha20 block and subtract.
    """
    block = _WORDS.unpack(Cipher(ChaCha20(key, nonce), mode=None).encryptor().update(bytes(64)))
    start = _WORDS.unpack(_SIGMA + key + nonce)
    words = [(after - before) & 0xFFFFFFFF for after, before in zip(block, start, strict=True)]
    return b"".join(word.to_bytes(4, "little") for word in words[:4] + words[12:])

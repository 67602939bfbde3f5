"""The answer to an initiation, message 2 (paper, section 5.4.3): for when the gateway knocks at the client.

wgjit itself never answers an initiation; the kernel does. So this is here, beside the clients that need it. Letters are
those of `wgjit.wire.noise`: i is the initiator, here the gateway, r the responder, here the client.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from wgjit.model import PresharedKey, PrivateKey, PublicKey, Tai64n
from wgjit.refusal import Refusal
from wgjit.wire.kdf import hash_, kdf1, kdf2, kdf3, mac, open_, seal
from wgjit.wire.keys import KEY_LENGTH
from wgjit.wire.messages import MAC1_COVERS, NO_MAC2, build_response, parse_initiation
from wgjit.wire.noise import SessionKeys

_CHAIN_START: Final = hash_(b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s")
_HASH_START: Final = hash_(_CHAIN_START + b"WireGuard v1 zx2c4 Jason@zx2c4.com")
_LABEL_MAC1: Final = b"mac1----"


class Answer(NamedTuple):
    """What an initiation is answered with."""

    message: bytes
    session: SessionKeys
    """Must not be used for sending before the initiator's first transport data has come (section 5.4.5)."""
    timestamp: Tai64n


def answer(
    private_key: PrivateKey, initiator: PublicKey, preshared_key: PresharedKey | None, index: int, message: bytes
) -> Answer | Refusal:
    """Answer an initiation of this initiator's; a Refusal as `wgjit.wire.noise.Responder` gives it.

    UNKNOWN: somebody else's. `index` is ours, 32 bits. That the timestamp is newer than the last the caller must see.
    """
    initiation = parse_initiation(message)
    if isinstance(initiation, Refusal):
        return initiation
    own = X25519PrivateKey.from_private_bytes(private_key.reveal())
    public = own.public_key().public_bytes_raw()
    if mac(hash_(_LABEL_MAC1 + public), message[:MAC1_COVERS]) != initiation.mac1:
        return Refusal.BAD_MAC1
    try:
        # C := Kdf₁(C, Epub_i); H := Hash(H ‖ Spub_r); H := Hash(H ‖ msg.ephemeral)
        ephemeral_i = X25519PublicKey.from_public_bytes(initiation.ephemeral)
        transcript = hash_(hash_(_HASH_START + public) + initiation.ephemeral)
        # (C, κ) := Kdf₂(C, DH(Spriv_r, Epub_i)); msg.static := Aead(κ, 0, Spub_i, H)
        chain, key = kdf2(kdf1(_CHAIN_START, initiation.ephemeral), own.exchange(ephemeral_i))
        static = open_(key, initiation.encrypted_static, transcript)
        if static is None:
            return Refusal.BAD_STATIC
        if static != initiator:
            return Refusal.UNKNOWN
        transcript = hash_(transcript + initiation.encrypted_static)
        # (C, κ) := Kdf₂(C, DH(Spriv_r, Spub_i)); msg.timestamp := Aead(κ, 0, Timestamp(), H)
        static_i = X25519PublicKey.from_public_bytes(static)
        chain, key = kdf2(chain, own.exchange(static_i))
        timestamp = open_(key, initiation.encrypted_timestamp, transcript)
        if timestamp is None:
            return Refusal.FORGED
        transcript = hash_(transcript + initiation.encrypted_timestamp)
        # (Epriv_r, Epub_r) := DH-Generate(); C := Kdf₁(C, Epub_r); H := Hash(H ‖ msg.ephemeral)
        ephemeral = X25519PrivateKey.generate()
        ephemeral_public = ephemeral.public_key().public_bytes_raw()
        chain, transcript = kdf1(chain, ephemeral_public), hash_(transcript + ephemeral_public)
        # C := Kdf₁(C, DH(Epriv_r, Epub_i)); C := Kdf₁(C, DH(Epriv_r, Spub_i))
        chain = kdf1(kdf1(chain, ephemeral.exchange(ephemeral_i)), ephemeral.exchange(static_i))
    except ValueError:  # of low order
        return Refusal.BAD_POINT
    # (C, τ, κ) := Kdf₃(C, Q); H := Hash(H ‖ τ); msg.empty := Aead(κ, 0, ε, H)
    chain, tau, key = kdf3(chain, preshared_key.reveal() if preshared_key else bytes(KEY_LENGTH))
    nothing = seal(key, b"", hash_(transcript + tau))
    bare = build_response(index, initiation.sender, ephemeral_public, nothing, NO_MAC2, NO_MAC2)
    body = bare[:MAC1_COVERS]
    # (Trecv_r, Tsend_r) := (Tsend_i, Trecv_i) := Kdf₂(C, ε)
    receiving, sending = kdf2(chain, b"")
    return Answer(
        body + mac(hash_(_LABEL_MAC1 + initiator), body) + NO_MAC2,
        SessionKeys(index, initiation.sender, sending, receiving),
        Tai64n(timestamp),
    )

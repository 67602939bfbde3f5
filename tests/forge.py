"""What an attacker can make without the private key of the peer it names."""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from wgjit.model import PrivateKey, PublicKey, Tai64n
from wgjit.wire.noise import Initiator


def with_mac1(responder: PublicKey, initiation: bytes) -> bytes:
    """The message with a fresh mac1: Mac(Hash(Label-Mac1 || Spub_r), msg) (paper, section 5.4.4)."""
    key = hashlib.blake2s(b"mac1----" + responder).digest()
    mac1 = hashlib.blake2s(initiation[:116], key=key, digest_size=16).digest()
    return initiation[:116] + mac1 + bytes(16)


def forge_initiation(responder: PublicKey, claimed: PublicKey, timestamp: Tai64n) -> bytes:
    """An initiation that claims somebody else's key: `es` is honest, `ss` cannot be.

    The honest code of Initiator runs with the victim's public key in place of the forger's own, and with the forger's
    private key for `ss`, which is the best that one can do.
    """
    initiator = Initiator(PrivateKey(X25519PrivateKey.generate().private_bytes_raw()), responder)
    initiator.public_key = claimed
    return initiator.initiate(1, timestamp)

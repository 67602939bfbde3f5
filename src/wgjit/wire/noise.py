"""The first two messages of Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s, which tell who knocks (paper, section 5.4).

A responder reads an initiation in three steps. Each step costs more than the one before, and the responder may stop
after any:

| step         | cost     | result                                                                              |
| ------------ | -------- | ----------------------------------------------------------------------------------- |
| `check_mac1` | a hash   | the sender knows our public key: the packet is no garbage, and meant for this server |
| `identify`   | 1 X25519 | the key that the sender claims. Anybody can put any key there, so it proves nothing  |
| `prove`      | 1 X25519 | the timestamp; and the sender holds the claimed key's private key. A replayed        |
|              |          | initiation proves, too: compare its timestamp with the claim's                       |

A bad message gives a Refusal and never raises. All that depends on the responder alone is hashed once, when the object
is made. A comment above each step has the paper's line; ‖ joins. Spub and Spriv are static keys, Epub and Epriv
ephemeral ones; _i is the initiator, _r the responder.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from wgjit.errors import InvalidValue
from wgjit.refusal import Refusal
from wgjit.wire.cookie import open_cookie
from wgjit.wire.kdf import ZERO, blake2s, hash_, kdf1, kdf1_padded, kdf2, kdf3, mac, nonce, open_, padded, seal
from wgjit.wire.keys import KEY_LENGTH, PresharedKey, PrivateKey, PublicKey
from wgjit.wire.messages import (
    MAC1_COVERS,
    MAC2_COVERS,
    MAC_LENGTH,
    NO_MAC2,
    TRANSPORT_DATA,
    Initiation,
    build_initiation,
    parse_cookie_reply,
    parse_response,
)
from wgjit.wire.tai64n import Tai64n

_CONSTRUCTION: Final = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"
_IDENTIFIER: Final = b"WireGuard v1 zx2c4 Jason@zx2c4.com"
_LABEL_MAC1: Final = b"mac1----"

# C := Hash(Construction); H := Hash(C ‖ Identifier)
_CHAIN_START: Final = hash_(_CONSTRUCTION)
_HASH_START: Final = hash_(_CHAIN_START + _IDENTIFIER)
_CHAIN_INNER, _CHAIN_OUTER = padded(_CHAIN_START)
_NO_PSK: Final = bytes(KEY_LENGTH)

# `identify` and `prove` run once for each knock. So names are looked up once, and they call the primitives directly.
# Both were measured (bench/decode.py).
_bytes: Final = bytes.__new__
_public: Final = X25519PublicKey.from_public_bytes


def _exchange(private: X25519PrivateKey, public: bytes) -> bytes | None:
    """DH(private, public); None for a point of low order, whose shared secret is zero for every private key."""
    try:
        return private.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:
        return None


def _mac1_key(public_key: PublicKey) -> bytes:
    return hash_(_LABEL_MAC1 + public_key)


class Claimed:
    """An initiation after `identify`: the key that its sender claims, and the state for `prove`."""

    __slots__ = ("_chain", "_encrypted_timestamp", "_hash", "public_key", "static_secret")

    def __init__(self, public_key: PublicKey, chain: bytes, hash_: bytes, encrypted_timestamp: bytes) -> None:
        self.public_key = public_key
        self._chain = chain
        self._hash = hash_
        self._encrypted_timestamp = encrypted_timestamp
        self.static_secret: bytes | None = None
        """`ss`, DH of both static keys, set once the key is proven: the same for all its initiations. A secret."""

    def __repr__(self) -> str:
        return f"Claimed({self.public_key})"


class Responder:
    """The gateway's side: reads initiations to one private key."""

    __slots__ = ("_hash", "_mac1", "_private", "public_key")

    def __init__(self, private_key: PrivateKey) -> None:
        self.public_key = private_key.public()
        self._private = X25519PrivateKey.from_private_bytes(private_key.reveal())
        self._mac1 = blake2s(key=_mac1_key(self.public_key), digest_size=MAC_LENGTH)
        # H := Hash(H ‖ Spub_r)
        self._hash = hash_(_HASH_START + self.public_key)

    def __repr__(self) -> str:
        return f"Responder({self.public_key})"

    def check_mac1(self, initiation: Initiation) -> bool:
        """Whether the sender knew our public key.

        The comparison need not take constant time. mac1's key is public, so anybody can compute the right value.
        """
        # msg.mac1 := Mac(Hash(Label-Mac1 ‖ Spub_r), msg_α)
        state = self._mac1.copy()
        state.update(initiation.raw[:MAC1_COVERS])
        return state.digest() == initiation.mac1

    def identify(self, initiation: Initiation) -> Claimed | Refusal:
        """The claimed key, or BAD_POINT, BAD_STATIC. One X25519. This does not check mac1."""
        _, _, ephemeral, encrypted_static, encrypted_timestamp, _, _ = initiation
        # C := Kdf₁(C, msg.ephemeral)
        chain = kdf1_padded(_CHAIN_INNER, _CHAIN_OUTER, ephemeral)
        # H := Hash(H ‖ msg.ephemeral)
        transcript = blake2s(self._hash + ephemeral).digest()
        # (C, κ) := Kdf₂(C, DH(Spriv_r, Epub_i))
        try:
            shared = self._private.exchange(_public(ephemeral))
        except ValueError:  # a point of low order, see _exchange
            return Refusal.BAD_POINT
        chain, key = kdf2(chain, shared)
        # msg.static := Aead(κ, 0, Spub_i, H)
        try:
            static = ChaCha20Poly1305(key).decrypt(ZERO, encrypted_static, transcript)
        except InvalidTag:
            return Refusal.BAD_STATIC
        # H := Hash(H ‖ msg.static)
        transcript = blake2s(transcript + encrypted_static).digest()
        # 48 bytes open to 32, so the constructor, which only checks the length, is not needed.
        return Claimed(_bytes(PublicKey, static), chain, transcript, encrypted_timestamp)

    def prove(self, claimed: Claimed, static_secret: bytes | None = None) -> Tai64n | Refusal:
        """The timestamp, from the holder of the claimed key, or BAD_POINT, FORGED.

        One X25519, or none with the `static_secret` of an earlier proof of this very key.
        """
        # (C, κ) := Kdf₂(C, DH(Spriv_r, Spub_i))
        shared = static_secret
        if shared is None:
            try:
                shared = self._private.exchange(_public(claimed.public_key))
            except ValueError:
                return Refusal.BAD_POINT
        _, key = kdf2(claimed._chain, shared)
        # msg.timestamp := Aead(κ, 0, Timestamp(), H)
        try:
            timestamp = ChaCha20Poly1305(key).decrypt(ZERO, claimed._encrypted_timestamp, claimed._hash)
        except InvalidTag:
            return Refusal.FORGED
        claimed.static_secret = shared
        return _bytes(Tai64n, timestamp)  # 28 bytes open to 12


@dataclass(frozen=True, slots=True)
class SessionKeys:
    """The result of a handshake on the initiator's side. Its repr does not show the keys."""

    sender: int
    """Our index, which the responder writes as receiver."""
    receiver: int
    """The responder's index, which we write as receiver."""
    sending: bytes = field(repr=False)
    receiving: bytes = field(repr=False)

    def seal(self, counter: int, plaintext: bytes = b"") -> bytes:
        """A transport data message (type 4) with one inner packet. An empty one is a keepalive (section 5.4.6).

        The plain text is padded to a multiple of 16 bytes. A counter must not be used twice.
        """
        head = TRANSPORT_DATA.to_bytes(4, "little") + self.receiver.to_bytes(4, "little")
        whole = plaintext + bytes(-len(plaintext) % 16)
        return head + counter.to_bytes(8, "little") + seal(self.sending, whole, b"", nonce(counter))


class _Sent:
    """The state of the last initiation, kept until message 2 arrives."""

    __slots__ = ("chain", "ephemeral", "hash", "mac1", "sender")

    def __init__(self, sender: int, ephemeral: X25519PrivateKey, chain: bytes, hash_: bytes, mac1: bytes) -> None:
        self.sender = sender
        self.ephemeral = ephemeral
        self.chain = chain
        self.hash = hash_
        self.mac1 = mac1


class Initiator:
    """The client's side, one handshake at a time: for tests, benchmarks and load.

    Raises InvalidValue for a responder key of low order.
    """

    __slots__ = ("_mac1_key", "_preshared", "_private", "_responder", "_sent", "_static_secret", "public_key")

    def __init__(
        self, private_key: PrivateKey, responder: PublicKey, preshared_key: PresharedKey | None = None
    ) -> None:
        self.public_key = private_key.public()
        self._private = X25519PrivateKey.from_private_bytes(private_key.reveal())
        self._responder = responder
        self._preshared = preshared_key
        self._mac1_key = _mac1_key(self.public_key)
        self._sent: _Sent | None = None
        shared = _exchange(self._private, responder)
        if shared is None:
            raise InvalidValue(f"responder {responder}: a point of low order is nobody's public key")
        self._static_secret = shared

    def __repr__(self) -> str:
        return f"Initiator({self.public_key})"

    def initiate(
        self, sender: int, timestamp: Tai64n, ephemeral: PrivateKey | None = None, cookie: bytes | None = None
    ) -> bytes:
        """A fresh message 1 of 148 bytes. Its state replaces that of the last one.

        `sender` is a 32-bit index. Give an ephemeral key only for a reproducible message. With a cookie of 16 bytes the
        message has a mac2.
        """
        # (Epriv_i, Epub_i) := DH-Generate(); msg.ephemeral := Epub_i
        secret = X25519PrivateKey.from_private_bytes((ephemeral or PrivateKey.generate()).reveal())
        public = secret.public_key().public_bytes_raw()
        # H := Hash(H ‖ Spub_r)
        # C := Kdf₁(C, Epub_i); H := Hash(H ‖ msg.ephemeral)
        chain = kdf1(_CHAIN_START, public)
        transcript = hash_(hash_(_HASH_START + self._responder) + public)
        # (C, κ) := Kdf₂(C, DH(Epriv_i, Spub_r))
        chain, key = kdf2(chain, secret.exchange(X25519PublicKey.from_public_bytes(self._responder)))
        # msg.static := Aead(κ, 0, Spub_i, H); H := Hash(H ‖ msg.static)
        static = seal(key, self.public_key, transcript)
        transcript = hash_(transcript + static)
        # (C, κ) := Kdf₂(C, DH(Spriv_i, Spub_r))
        chain, key = kdf2(chain, self._static_secret)
        # msg.timestamp := Aead(κ, 0, Timestamp(), H); H := Hash(H ‖ msg.timestamp)
        stamp = seal(key, timestamp, transcript)
        transcript = hash_(transcript + stamp)
        # msg.mac1 := Mac(Hash(Label-Mac1 ‖ Spub_r), msg_α)
        bare = build_initiation(sender, public, static, stamp, NO_MAC2, NO_MAC2)
        mac1 = mac(_mac1_key(self._responder), bare[:MAC1_COVERS])
        self._sent = _Sent(sender, secret, chain, transcript, mac1)
        message = bare[:MAC1_COVERS] + mac1 + NO_MAC2
        # msg.mac2 := Mac(L, msg_β) with a cookie L, else zeros
        return message if cookie is None else message[:MAC2_COVERS] + mac(cookie, message[:MAC2_COVERS])

    def consume_response(self, message: bytes) -> SessionKeys | Refusal:
        """The session that message 2 opens, or a Refusal: of its layout, BAD_MAC1, BAD_POINT or FORGED.

        FORGED: the message does not answer the last initiation, or its sender lacks the responder's key or our
        preshared key. After a refused message the handshake still waits for the right one.
        """
        response = parse_response(message)
        if isinstance(response, Refusal):
            return response
        if mac(self._mac1_key, message[:MAC1_COVERS]) != response.mac1:
            return Refusal.BAD_MAC1
        sent = self._sent
        if sent is None or response.receiver != sent.sender:
            return Refusal.FORGED
        # C := Kdf₁(C, Epub_r); H := Hash(H ‖ msg.ephemeral)
        chain = kdf1(sent.chain, response.ephemeral)
        transcript = hash_(sent.hash + response.ephemeral)
        # C := Kdf₁(C, DH(Epriv_i, Epub_r)); C := Kdf₁(C, DH(Spriv_i, Epub_r))
        for private in (sent.ephemeral, self._private):
            shared = _exchange(private, response.ephemeral)
            if shared is None:
                return Refusal.BAD_POINT
            chain = kdf1(chain, shared)
        # (C, τ, κ) := Kdf₃(C, Q); H := Hash(H ‖ τ)
        chain, tau, key = kdf3(chain, self._preshared.reveal() if self._preshared else _NO_PSK)
        transcript = hash_(transcript + tau)
        # msg.empty := Aead(κ, 0, ε, H)
        if open_(key, response.encrypted_nothing, transcript) is None:
            return Refusal.FORGED
        # (Tsend_i, Trecv_i) := Kdf₂(C, ε)
        sending, receiving = kdf2(chain, b"")
        self._sent = None
        return SessionKeys(sent.sender, response.sender, sending, receiving)

    def consume_cookie_reply(self, message: bytes) -> bytes | Refusal:
        """The 16-byte cookie for the next `initiate`, or a Refusal: of its layout, or FORGED.

        FORGED: the reply does not answer the last initiation, or its sender does not know the responder's key.
        """
        reply = parse_cookie_reply(message)
        if isinstance(reply, Refusal):
            return reply
        sent = self._sent
        if sent is None or reply.receiver != sent.sender:
            return Refusal.FORGED
        cookie = open_cookie(self._responder, reply, sent.mac1)
        return Refusal.FORGED if cookie is None else cookie


def random_index() -> int:
    """A session index for `sender`: 32 random bits."""
    return secrets.randbits(32)

"""The packets of a flood: initiations of each kind that an attacker can make, in Ethernet frames.

| kind        | made with                                | a gateway that does all its checks refuses it as |
| ----------- | ---------------------------------------- | ------------------------------------------------ |
| `bad-mac1`  | nothing                                  | `bad_mac1`: a hash                               |
| `garbage`   | the gateway's public key                 | `bad_static`: a hash and one X25519              |
| `forged`    | that, and a registered peer's public key | `forged`: two X25519 and a lookup                |
| `unknown`   | that, and a private key of its own       | `unknown`: one X25519 and a lookup               |

Every message has its own ephemeral key, like an honest message, so that no message is a duplicate of another.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from wgjit.model import Endpoint, PrivateKey, PublicKey, Tai64n
from wgjit.wire.kdf import hash_, mac
from wgjit.wire.messages import INITIATION, LENGTH, MAC1_COVERS, NO_MAC2, build_initiation
from wgjit.wire.noise import Initiator
from wgjit.wire.packets import build

FRAME_LENGTH: Final = 14 + 20 + 8 + LENGTH[INITIATION]
"""Bytes: Ethernet, IPv4, UDP, initiation."""
SPOOFED_NETWORK: Final = 198 << 24 | 18 << 16
"""198.18.0.0/15 is set aside for benchmarks (RFC 2544): nobody is hit by an answer that leaks."""
SPOOFED_MOST: Final = 1 << 17
MESSAGES_A_KEY: Final = 5
"""How many initiations of kind `unknown` come from one key: making a key costs two more X25519."""


def bad_mac1(_gateway: PublicKey, _registered: PublicKey) -> Iterator[bytes]:
    """The shape of an initiation around noise."""
    while True:
        yield _noise(secrets.token_bytes(16))


def garbage(gateway: PublicKey, _registered: PublicKey) -> Iterator[bytes]:
    """Noise with a good mac1: nearly every 32 bytes are an ephemeral key, and the static key does not open."""
    key = hash_(b"mac1----" + gateway)  # Label-Mac1 ‖ Spub_r (paper, section 5.4.4)
    while True:
        message = _noise(NO_MAC2)
        yield message[:MAC1_COVERS] + mac(key, message[:MAC1_COVERS]) + NO_MAC2


def forged(gateway: PublicKey, registered: PublicKey) -> Iterator[bytes]:
    """Somebody else's key, well encrypted; the timestamp under the only `ss` a forger can compute, a wrong one."""
    forger = Initiator(PrivateKey.generate(), gateway)
    forger.public_key = registered
    while True:
        yield _initiate(forger)


def unknown(gateway: PublicKey, _registered: PublicKey) -> Iterator[bytes]:
    """Honest initiations of keys that no registry knows."""
    while True:
        stranger = Initiator(PrivateKey.generate(), gateway)
        for _ in range(MESSAGES_A_KEY):
            yield _initiate(stranger)


KINDS: Final[dict[str, Callable[[PublicKey, PublicKey], Iterator[bytes]]]] = {
    "bad-mac1": bad_mac1,
    "garbage": garbage,
    "forged": forged,
    "unknown": unknown,
}
"""By name: a function of the gateway's and a registered peer's public key that yields messages without end."""


def _noise(mac1: bytes) -> bytes:
    return build_initiation(
        secrets.randbits(32),
        secrets.token_bytes(32),
        secrets.token_bytes(48),
        secrets.token_bytes(28),
        mac1,
        NO_MAC2,
    )


def _initiate(initiator: Initiator) -> bytes:
    return initiator.initiate(secrets.randbits(32), Tai64n.from_unix_ns(time.time_ns()))


def sources(count: int) -> list[Endpoint]:
    """So many made-up IPv4 sources, each with a port."""
    if not 0 < count < SPOOFED_MOST:
        raise ValueError(f"sources {count}: must be 1 to {SPOOFED_MOST - 1}")
    return [Endpoint((SPOOFED_NETWORK + 1 + n).to_bytes(4, "big"), 1024 + n * 7 % 60000) for n in range(count)]


def frame(source: Endpoint, target: Endpoint, to_mac: bytes, message: bytes) -> bytes:
    """An Ethernet frame to a hardware address of 6 bytes, from one that nobody has."""
    return to_mac + b"\x02\0\0\0\xff\xff\x08\0" + build(source, target, message)


def frames(
    messages: Sequence[bytes], senders: Sequence[Endpoint], target: Endpoint, to_mac: bytes, count: int
) -> Iterator[bytes]:
    """`count` frames; messages and senders take turns, each around its own circle."""
    for n in range(count):
        yield frame(senders[n % len(senders)], target, to_mac, messages[n % len(messages)])

"""Invariant: any bytes give a value or a Refusal, and a value that is written again is read as the same value.

- `peel` gives a Datagram or NOT_UDP. A datagram that is packed again peels to itself, with a correct checksum. A packet
  whose checksum was finished peels to the same datagram and has the same sum. Finishing it again changes nothing.
- `parse_*`: a parsed message is built to the same bytes.
- With a correct mac1, `identify` and `prove` give a key and a timestamp, or the Refusals of their own step.
- An initiation with any claimed key and any timestamp, sealed with knowledge of the responder's private key, opens to
  the same key and timestamp. If any byte of it is changed, it gives a Refusal.
- The feed's line of a packet is JSON, whatever timestamp a client wrote, and is read back to the same record.
- The capture filter in the kernel passes exactly the packets that its contract names, and every knock that `peel` finds
  without IPv6 extension headers.
- Any bytes have a sender among watched peers or none, and the filter over inner addresses passes all that have one.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from tests.forge import with_mac1
from tests.unit.drivers.test_source_filter import Sieve as SourceSieve
from tests.unit.wire.test_bpf import PORT, Sieve, expected
from wgjit.core.knock.observe import observe_packet
from wgjit.drivers.confirm.source_filter import program
from wgjit.drivers.confirm.watched import Watched
from wgjit.model import parse_allowed_ip
from wgjit.record import FeedRecord
from wgjit.refusal import Refusal
from wgjit.wire.bpf import capture_filter
from wgjit.wire.endpoint import Endpoint
from wgjit.wire.keys import PrivateKey, PublicKey
from wgjit.wire.messages import (
    LENGTH,
    build_cookie_reply,
    build_initiation,
    build_response,
    parse_cookie_reply,
    parse_initiation,
    parse_response,
)
from wgjit.wire.noise import Initiator, Responder
from wgjit.wire.packets import Datagram, build, finish_checksum, peel
from wgjit.wire.tai64n import Tai64n

_PRIVATE: Final = PrivateKey(b"\x42" * 32)
_RESPONDER: Final = Responder(_PRIVATE)
_ENDS: Final = Endpoint.parse("192.0.2.1:4000"), Endpoint.parse(f"192.0.2.2:{PORT}")
_SEALED: Final = 1 + 32 + Tai64n.LENGTH
"""Bytes that make an initiation of their own: which byte to turn, the claimed key, the stamp."""

_LARGEST: Final = 4096
"""Bytes of an input that are looked at: the rest tells nothing new."""


@cache
def _sieve(responses: bool) -> Sieve:
    """The filter in the kernel, attached once a process."""
    return Sieve(capture_filter(PORT, responses=responses))


@cache
def _watched() -> tuple[Watched, SourceSieve]:
    """Peers at the addresses that the corpus' packets come from, and in prefixes; and the filter over these."""
    watched = Watched()
    for number, prefix in enumerate(("192.0.2.1/32", "192.0.0.0/14", "2001:db8::1/128", "2001:db8::/50", "8000::/1")):
        watched.add(PublicKey(bytes([number]) * 32), [parse_allowed_ip(prefix)])
    return watched, SourceSieve(program(watched.hashes()))


def check(data: bytes) -> None:
    """Hold one input to the invariant."""
    data = data[:_LARGEST]
    datagram = peel(data)
    if isinstance(datagram, Datagram):
        _check_datagram(data, datagram)
        _check_message(datagram.payload)
    else:
        assert datagram is Refusal.NOT_UDP
        _check_message(data)
    if len(data) == _SEALED:
        _check_sealed(turn=data[0], claimed=PublicKey(data[1:33]), timestamp=Tai64n(data[33:]))
    _check_filter(data)
    watched, sieve = _watched()
    if watched.sender(data) is not None:
        assert sieve.passes(data), "a packet that the filter hides"


def _check_datagram(packet: bytes, datagram: Datagram) -> None:
    assert datagram.payload in packet
    packed = build(*datagram)
    assert peel(packed) == datagram
    assert _sums_up(packed, datagram)
    finished = finish_checksum(packet)
    assert peel(finished) == datagram
    assert packed[-8 - len(datagram.payload) :] in finished
    assert finish_checksum(finished) == finished
    _check_record(packet)

    to_us = build(datagram.source, datagram.destination._replace(port=PORT), datagram.payload)
    _check_filter(to_us)
    if not isinstance(parse_initiation(datagram.payload), Refusal):
        assert _sieve(responses=False).passes(to_us), "a knock that the filter hides"


def _sums_up(packet: bytes, datagram: Datagram) -> bool:
    """RFC 768, added up word by word: not the way in which the product does it."""
    source, destination, payload = datagram
    udp = packet[-8 - len(payload) :]
    words = source.address + destination.address + bytes([0, 17]) + len(udp).to_bytes(2, "big") + udp
    words += bytes(len(words) % 2)
    total = sum(words[at] << 8 | words[at + 1] for at in range(0, len(words), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total == 0xFFFF and udp[6:8] != b"\0\0"


def _check_message(message: bytes) -> None:
    shape = {Refusal.BAD_LENGTH, Refusal.BAD_TYPE, Refusal.BAD_RESERVED}
    for parse, rebuild in (
        (parse_initiation, build_initiation),
        (parse_response, build_response),
        (parse_cookie_reply, build_cookie_reply),
    ):
        parsed = parse(message)  # type: ignore[operator]
        if isinstance(parsed, Refusal):
            assert parsed in shape
            continue
        raw, *fields = parsed
        assert raw == message == rebuild(*fields)
    if not isinstance(parse_initiation(message), Refusal):
        _check_proof(with_mac1(_RESPONDER.public_key, message))


def _check_proof(message: bytes) -> None:
    initiation = parse_initiation(message)
    assert not isinstance(initiation, Refusal)
    assert _RESPONDER.check_mac1(initiation)
    claimed = _RESPONDER.identify(initiation)
    if isinstance(claimed, Refusal):
        assert claimed in {Refusal.BAD_POINT, Refusal.BAD_STATIC}
        return
    timestamp = _RESPONDER.prove(claimed)
    assert isinstance(timestamp, Tai64n) or timestamp in {Refusal.BAD_POINT, Refusal.FORGED}


def _check_sealed(turn: int, claimed: PublicKey, timestamp: Tai64n) -> None:
    """The honest code of Initiator, with `ss` from the responder's side: so any key at all can be claimed."""
    ephemeral = PrivateKey(timestamp.ljust(32, b"\1"))
    initiator = Initiator(ephemeral, _RESPONDER.public_key)
    initiator.public_key = claimed
    try:
        secret = X25519PrivateKey.from_private_bytes(_PRIVATE.reveal())
        initiator._static_secret = secret.exchange(X25519PublicKey.from_public_bytes(claimed))
    except ValueError:  # a point of low order: nothing can be sealed for it that would open
        initiator._static_secret = bytes(32)
        low_order = True
    else:
        low_order = False
    message = initiator.initiate(int.from_bytes(timestamp[:4], "big"), timestamp, ephemeral)

    honest = parse_initiation(message)
    assert not isinstance(honest, Refusal)
    opened = _RESPONDER.identify(honest)
    assert not isinstance(opened, Refusal)
    assert opened.public_key == claimed
    assert _RESPONDER.prove(opened) == (Refusal.BAD_POINT if low_order else timestamp)
    _check_record(build(*_ENDS, message))

    at = 8 + turn % (LENGTH[1] - 8 - 32)  # what the seals cover: from the ephemeral key up to mac1
    turned = bytearray(message)
    turned[at] ^= 1 + turn // 108
    initiation = parse_initiation(with_mac1(_RESPONDER.public_key, bytes(turned)))
    assert not isinstance(initiation, Refusal)
    other = _RESPONDER.identify(initiation)
    assert isinstance(other, Refusal) or isinstance(_RESPONDER.prove(other), Refusal)


def _check_record(packet: bytes) -> None:
    record = observe_packet(_RESPONDER, packet, time=1_800_000_000.5)
    if record is None:
        return
    line = json.loads(json.dumps(record.as_dict()))
    assert FeedRecord.from_dict(line) == record


def _check_filter(packet: bytes) -> None:
    for responses in (False, True):
        assert _sieve(responses).passes(packet) is expected(packet, responses)

"""Opens an initiation with the gateway's private key, without any decision about it."""

from __future__ import annotations

from wgjit.model import Endpoint
from wgjit.record import Decision, FeedRecord
from wgjit.refusal import Refusal
from wgjit.wire.messages import INITIATION, LENGTH, parse_initiation
from wgjit.wire.noise import Responder
from wgjit.wire.packets import peel


def observe_packet(responder: Responder, packet: bytes, time: float | None = None) -> FeedRecord | None:
    """Open the initiation in an IP packet; None if it holds none, by length and type. `time` is Unix seconds."""
    datagram = peel(packet)
    if isinstance(datagram, Refusal):
        return None
    return observe_message(responder, datagram.payload, time, datagram.source, datagram.destination)


def observe_message(
    responder: Responder,
    message: bytes,
    time: float | None = None,
    source: Endpoint | None = None,
    destination: Endpoint | None = None,
) -> FeedRecord | None:
    """Open a message; None if it is no initiation, by length and type. `time` is Unix seconds."""
    if len(message) != LENGTH[INITIATION] or message[0] != INITIATION:
        return None
    record = FeedRecord(time, source, destination)
    record.refusal = _open(responder, message, record)
    if record.refusal is None:
        record.decision = Decision.OBSERVED
    return record


def _open(responder: Responder, message: bytes, record: FeedRecord) -> Refusal | None:
    """Fill in the record from the message, step by step; return the refusal of the step that failed."""
    initiation = parse_initiation(message)
    if isinstance(initiation, Refusal):
        return initiation
    if not responder.check_mac1(initiation):
        return Refusal.BAD_MAC1
    claimed = responder.identify(initiation)
    if isinstance(claimed, Refusal):
        return claimed
    record.public_key = claimed.public_key
    timestamp = responder.prove(claimed)
    if isinstance(timestamp, Refusal):
        return timestamp
    record.proven, record.timestamp = True, timestamp
    return None

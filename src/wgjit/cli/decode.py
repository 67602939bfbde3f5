"""`wgjit decode`: who knocked, read offline from a capture file or one message, with the gateway's private key."""

from __future__ import annotations

import errno
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from wgjit.errors import InvalidValue
from wgjit.refusal import Refusal
from wgjit.wire.endpoint import Endpoint
from wgjit.wire.keys import PrivateKey, PublicKey
from wgjit.wire.messages import INITIATION, LENGTH, parse_initiation
from wgjit.wire.noise import Responder
from wgjit.wire.packets import peel
from wgjit.wire.pcap import read_packets
from wgjit.wire.tai64n import Tai64n


@dataclass(frozen=True, slots=True)
class Decoded:
    """One initiation, as far as the private key tells."""

    time: float | None
    source: Endpoint | None
    destination: Endpoint | None
    public_key: PublicKey | None
    timestamp: Tai64n | None
    refusal: Refusal | None

    def as_json(self) -> str:
        """One object; what is not known is null."""
        return json.dumps(
            {
                "time": _rfc3339(self.time),
                "source": _text(self.source),
                "destination": _text(self.destination),
                "public_key": _text(self.public_key),
                "proven": self.timestamp is not None,
                "timestamp": _text(self.timestamp),
                "refusal": _text(self.refusal),
            }
        )

    def as_line(self) -> str:
        """The same for a person; what is not known is a dash."""
        verdict = f"proven {self.timestamp}" if self.timestamp else str(self.refusal)
        cells = (_rfc3339(self.time), _text(self.source), _text(self.destination), _text(self.public_key), verdict)
        return _row(*(cell or "-" for cell in cells))


def decode(
    private_key: Annotated[Path, typer.Option(help="File with the gateway's private key, as `wg genkey` writes it.")],
    source: Annotated[
        str,
        typer.Argument(
            metavar="PCAP | HEX",
            help="A pcap or pcapng file, or one message or IP packet in hex. Default, or -: a capture on stdin.",
        ),
    ] = "-",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
) -> None:
    """Show the initiations in a capture: who claims to be whom, proven or not, and when it was made.

    Other packets are skipped. bad_mac1 means: made for another gateway's key.

    Ends with status 1 if the key or the input cannot be read, or if what is given in hex is no initiation.
    """
    responder = Responder(_read_key(private_key))
    count = 0
    for count, decoded in enumerate(_decode_source(responder, source), start=1):
        if count == 1 and not as_json:
            print(_row("TIME", "SOURCE", "DESTINATION", "PUBLIC KEY", "VERDICT"))
        print(decoded.as_json() if as_json else decoded.as_line(), flush=True)
    if not count:
        print("wgjit: no initiation in this capture", file=sys.stderr)


def _read_key(path: Path) -> PrivateKey:
    try:
        text = path.read_text("ascii")
    except OSError as error:
        raise InvalidValue(f"--private-key {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        text = ""
    try:
        return PrivateKey.parse(text)
    except InvalidValue as error:
        raise InvalidValue(f"--private-key {path}: {error}") from None


def _decode_source(responder: Responder, source: str) -> Iterator[Decoded]:
    if source == "-":
        if sys.stdin is None or sys.stdin.isatty():
            raise InvalidValue(
                "standard input is a terminal or closed: name a capture file, a message in hex, or pipe a capture"
            )
        yield from _decode_packets(responder, read_packets(sys.stdin.buffer))
        return
    try:
        with open(source, "rb") as stream:
            yield from _decode_packets(responder, read_packets(stream))
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENAMETOOLONG):
            raise InvalidValue(f"{source}: {error.strerror}") from None
        yield _decode_hex(responder, source)


def _decode_packets(responder: Responder, packets: Iterator[tuple[float | None, bytes]]) -> Iterator[Decoded]:
    for time, packet in packets:
        decoded = _decode_packet(responder, packet, time)
        if decoded is not None:
            yield decoded


def _decode_packet(responder: Responder, packet: bytes, time: float | None) -> Decoded | None:
    """What an IP packet holds, or None if that is no initiation by length and type."""
    datagram = peel(packet)
    if (
        isinstance(datagram, Refusal)
        or len(datagram.payload) != LENGTH[INITIATION]
        or datagram.payload[0] != INITIATION
    ):
        return None
    return _decode_message(responder, datagram.payload, time, datagram.source, datagram.destination)


def _decode_hex(responder: Responder, text: str) -> Decoded:
    digits = "".join(text.replace(":", "").split()).removeprefix("0x")  # without what people put between them
    try:
        raw = bytes.fromhex(digits)
    except ValueError:
        raw = b""
    if not raw:
        raise InvalidValue(f"{_shortened(text)}: no such file, and not hex")
    if len(raw) == LENGTH[INITIATION] and raw[0] == INITIATION:
        return _decode_message(responder, raw)
    decoded = _decode_packet(responder, raw, None)
    if decoded is None:
        raise InvalidValue(
            f"{_shortened(text)}: {len(raw)} bytes that are no initiation; "
            "give the message (148 bytes, the first is 01) or the whole IP packet around it"
        )
    return decoded


def _decode_message(
    responder: Responder,
    message: bytes,
    time: float | None = None,
    source: Endpoint | None = None,
    destination: Endpoint | None = None,
) -> Decoded:
    public_key: PublicKey | None = None
    outcome: Tai64n | Refusal
    initiation = parse_initiation(message)
    if isinstance(initiation, Refusal):
        outcome = initiation
    elif not responder.check_mac1(initiation):
        outcome = Refusal.BAD_MAC1
    else:
        claimed = responder.identify(initiation)
        if isinstance(claimed, Refusal):
            outcome = claimed
        else:
            public_key = claimed.public_key
            outcome = responder.prove(claimed)
    if isinstance(outcome, Refusal):
        return Decoded(time, source, destination, public_key, None, outcome)
    return Decoded(time, source, destination, public_key, outcome, None)


def _shortened(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:40]}..."


def _row(time: str, source: str, destination: str, public_key: str, verdict: str) -> str:
    return f"{time:<27}  {source:<21}  {destination:<21}  {public_key:<44}  {verdict}"


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _rfc3339(time: float | None) -> str | None:
    """To the microsecond, UTC; None also for a time that no calendar holds: a file can say anything."""
    if time is None:
        return None
    try:
        return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
    except (ValueError, OverflowError, OSError):
        return None

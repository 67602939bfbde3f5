"""`wgjit decode`: decode the initiations in a capture file, or one message, offline with the gateway's private key."""

from __future__ import annotations

import errno
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from wgjit.core.knock.observe import observe_message, observe_packet
from wgjit.errors import InvalidValue
from wgjit.record import FeedRecord
from wgjit.wire.key_text import holds_key, shown
from wgjit.wire.keys import PrivateKey
from wgjit.wire.noise import Responder
from wgjit.wire.pcap import read_packets
from wgjit.wire.unread import Tally, why_unread


def decode(
    private_key: Annotated[
        Path, typer.Option(help="The file with the gateway's private key, as `wg genkey` writes it.")
    ],
    source: Annotated[
        str,
        typer.Argument(
            metavar="PCAP | HEX",
            help="A pcap or pcapng file, or one message or IP packet in hex. - (default) reads a capture from stdin.",
        ),
    ] = "-",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
) -> None:
    """Show each initiation in a capture: its claimed key, whether the key is proven, and its timestamp.

    Other packets are skipped. bad_mac1 means that the initiation was made for another gateway's key.

    Packets that are cut short, fragments and packets in tunnels are not read; standard error says how many there were.

    Exit status 1 if the key or the input cannot be read, if not all packets were read in which an initiation may be, or
    if the given hex is no initiation.
    """
    responder = Responder(_read_key(private_key))
    count, tally = 0, Tally()
    try:
        for decoded in _decode_source(responder, source, tally):
            if not count and not as_json:
                print(_row("TIME", "SOURCE", "DESTINATION", "PUBLIC KEY", "VERDICT"))
            count += 1
            print(json.dumps(decoded.as_dict()) if as_json else _line(decoded), flush=True)
    finally:
        if tally.packets:
            print(_told(count, tally), file=sys.stderr)
    if tally.unread:
        raise typer.Exit(1)
    if not count:
        print("wgjit: no initiation in this capture", file=sys.stderr)


def _told(count: int, tally: Tally) -> str:
    """What was read of a capture, for people."""
    read = "all of them were read" if not tally.unread else tally.told()
    return f"wgjit: {count} initiations in {tally.packets} packets; {read}"


def _read_key(path: Path) -> PrivateKey:
    try:
        text = path.read_text("ascii")
    except OSError as error:
        raise InvalidValue(f"--private-key {shown(path)}: {error.strerror}") from None
    except UnicodeDecodeError:
        text = ""
    try:
        return PrivateKey.parse(text)
    except InvalidValue as error:
        raise InvalidValue(f"--private-key {shown(path)}: {error}") from None


def _decode_source(responder: Responder, source: str, tally: Tally) -> Iterator[FeedRecord]:
    if source == "-":
        if sys.stdin is None or sys.stdin.isatty():
            raise InvalidValue(
                "standard input is a terminal or closed: name a capture file, a message in hex, or pipe a capture"
            )
        yield from _decode_packets(responder, sys.stdin.buffer, tally)
        return
    try:
        with open(source, "rb") as stream:
            yield from _decode_packets(responder, stream, tally)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENAMETOOLONG):
            raise InvalidValue(f"{shown(source)}: {error.strerror}") from None
        yield _decode_hex(responder, source)


def _decode_packets(responder: Responder, stream: BinaryIO, tally: Tally) -> Iterator[FeedRecord]:
    for time, packet in read_packets(stream, tally):
        if record := observe_packet(responder, packet, time):
            yield record
        elif why := why_unread(packet):
            tally.unread[why] += 1


def _decode_hex(responder: Responder, text: str) -> FeedRecord:
    digits = "".join(text.replace(":", "").split()).removeprefix("0x")  # people write colons and spaces between digits
    try:
        raw = bytes.fromhex(digits)
    except ValueError:
        raw = b""
    if not raw:
        raise InvalidValue(f"{_shortened(text)}: no such file, and not hex")
    record = observe_message(responder, raw) or observe_packet(responder, raw)
    if record is None:
        raise InvalidValue(
            f"{_shortened(text)}: {len(raw)} bytes that are no initiation; "
            "give the message (148 bytes, the first is 01) or the whole IP packet around it"
        )
    return record


def _shortened(text: str) -> str:
    """The beginning of the given text: 40 characters, or only 8 if the text may hold a key."""
    most = 8 if holds_key(text) else 40
    return text if len(text) <= most else f"{text[:most]}..."


def _line(record: FeedRecord) -> str:
    """An initiation as a line for people. A dash stands for an unknown value."""
    known = record.as_dict()
    verdict = f"proven {known['timestamp']}" if record.proven else known["refusal"]
    cells = (known["time"], known["source"], known["destination"], known["public_key"], verdict)
    return _row(*(cell or "-" for cell in cells))


def _row(time: str, source: str, destination: str, public_key: str, verdict: str) -> str:
    return f"{time:<27}  {source:<21}  {destination:<21}  {public_key:<44}  {verdict}"

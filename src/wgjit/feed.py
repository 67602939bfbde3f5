"""The feed in Python: the public keys that an interface sees in handshake initiations.

    from wgjit.feed import feed

    async for knock in feed("wg0"):
        print(knock.public_key, knock.source, knock.decision)

With a gateway on the interface it is the gateway's own feed, with its decisions. Without one, `watch` taps the
interface itself, decides nothing and changes nothing.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import closing
from typing import Any

from wgjit.core.record import Decision, FeedRecord
from wgjit.daemon.control import socket_path
from wgjit.drivers.capture_packet import PacketCapture
from wgjit.drivers.device import open_device
from wgjit.errors import DeviceError, GatewayUnavailable
from wgjit.refusal import Refusal
from wgjit.wire.messages import parse_initiation
from wgjit.wire.noise import Responder
from wgjit.wire.packets import peel

__all__ = ["ask", "feed", "read", "watch"]


async def feed(interface: str) -> AsyncIterator[FeedRecord]:
    """Every initiation from now on: from the running gateway, else by watching the interface.

    Ends when the gateway ends. Raises DeviceError, CaptureError if the interface cannot be watched either.
    """
    try:
        lines = await _connect(interface, "feed")
    except GatewayUnavailable:
        source = watch(interface)
    else:
        source = _records(lines)
    async for record in source:
        yield record


async def read(interface: str) -> AsyncIterator[FeedRecord]:
    """The running gateway's feed. Raises GatewayUnavailable."""
    async for record in _records(await _connect(interface, "feed")):
        yield record


async def ask(interface: str, question: str) -> dict[str, Any]:
    """Ask the running gateway one question ("status"). Raises GatewayUnavailable."""
    async for answer in await _connect(interface, question):
        return answer
    raise GatewayUnavailable(f"{interface}: the gateway hung up without an answer")


async def watch(interface: str) -> AsyncIterator[FeedRecord]:
    """Tap the interface's port and open every initiation; nothing is decided, nothing changes.

    Raises NoSuchDevice, DeviceError, NotPermitted, CaptureError.
    """
    with closing(open_device(interface)) as device:
        info = device.info()
    if info.private_key is None or not info.listen_port:
        raise DeviceError(f"{interface}: has no private key or no listen port, so nobody can knock; set them with wg")
    responder = Responder(info.private_key)
    waiting = asyncio.Event()
    loop = asyncio.get_running_loop()
    with closing(PacketCapture(info.listen_port)) as capture:
        loop.add_reader(capture.fileno(), waiting.set)
        try:
            while True:
                await waiting.wait()
                waiting.clear()
                for captured in capture.read():
                    if record := observe(responder, captured.packet, time.time()):
                        yield record
        finally:
            loop.remove_reader(capture.fileno())


def observe(responder: Responder, packet: bytes, when: float | None) -> FeedRecord | None:
    """What an IP packet tells the holder of the private key; None if it is no initiation at all."""
    datagram = peel(packet)
    if isinstance(datagram, Refusal):
        return None
    initiation = parse_initiation(datagram.payload)
    if isinstance(initiation, Refusal):
        return None
    record = FeedRecord(when, datagram.source, datagram.destination)
    record.refusal = _open(responder, initiation, record)
    if record.refusal is None:
        record.decision = Decision.OBSERVED
    return record


def _open(responder: Responder, initiation: Any, record: FeedRecord) -> Refusal | None:
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


async def _connect(interface: str, question: str) -> AsyncIterator[dict[str, Any]]:
    path = socket_path(interface)
    try:
        reader, writer = await asyncio.open_unix_connection(path)
    except (FileNotFoundError, ConnectionRefusedError):
        raise GatewayUnavailable(f"{interface}: no gateway runs on it; start one with `wgjit up {interface}`") from None
    except PermissionError:
        raise GatewayUnavailable(f"{path}: permission denied; ask as the user that the gateway runs as") from None
    writer.write(json.dumps({"ask": question}).encode() + b"\n")
    return _lines(reader, writer)


async def _lines(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> AsyncIterator[dict[str, Any]]:
    try:
        while line := await reader.readline():
            yield json.loads(line)
    finally:
        writer.close()


async def _records(lines: AsyncIterator[dict[str, Any]]) -> AsyncIterator[FeedRecord]:
    async for line in lines:
        if "public_key" in line:
            yield FeedRecord.from_dict(line)

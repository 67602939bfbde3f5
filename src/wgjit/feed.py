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

from wgjit.core.observe import observe_packet
from wgjit.core.record import FeedRecord
from wgjit.daemon.control import socket_path
from wgjit.drivers.capture_packet import PacketCapture
from wgjit.drivers.device import open_device
from wgjit.errors import ConfigError, DeviceError, GatewayUnavailable, NotPermitted
from wgjit.wire.key_text import shown
from wgjit.wire.noise import Responder

__all__ = ["ask", "feed", "listen", "watch"]


async def feed(interface: str) -> AsyncIterator[FeedRecord]:
    """Every initiation from now on: from the running gateway, else by watching the interface.

    Ends when the gateway ends. Raises DeviceError, CaptureError if the interface cannot be watched either.
    """
    try:
        source = await listen(interface)
    except GatewayUnavailable:
        source = await watch(interface)
    async for record in source:
        yield record


async def listen(interface: str) -> AsyncIterator[FeedRecord]:
    """The running gateway's feed, from the moment that this returns. Raises GatewayUnavailable."""
    lines = await _connect(interface, "feed")
    async for line in lines:
        if line == {"feed": "open"}:
            return _records(lines)
    raise GatewayUnavailable(f"{interface}: the gateway hung up")


async def ask(interface: str, question: str) -> dict[str, Any]:
    """Ask the running gateway one question ("status"). Raises GatewayUnavailable."""
    async for answer in await _connect(interface, question):
        if "error" in answer:
            raise GatewayUnavailable(f"{interface}: {answer['error']}")
        return answer
    raise GatewayUnavailable(f"{interface}: the gateway hung up without an answer")


async def watch(interface: str) -> AsyncIterator[FeedRecord]:
    """Tap the interface's port and open every initiation, from the moment that this returns; nothing is changed.

    Raises NoSuchDevice, DeviceError, NotPermitted, CaptureError.
    """
    with closing(open_device(interface)) as device:
        info = device.info()
    if info.private_key is None or not info.listen_port:
        raise DeviceError(f"{interface}: has no private key or no listen port, so nobody can knock; set them with wg")
    return _observations(Responder(info.private_key), PacketCapture(info.listen_port))


async def _observations(responder: Responder, capture: PacketCapture) -> AsyncIterator[FeedRecord]:
    with closing(capture):
        while True:
            await _readable(capture.fileno())
            for captured in capture.read():
                if record := observe_packet(responder, captured.packet, time.time()):
                    yield record


async def _readable(descriptor: int) -> None:
    """Wait until there is something to read; the loop looks at the descriptor only while somebody waits for it."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)


async def _connect(interface: str, question: str) -> AsyncIterator[dict[str, Any]]:
    path = socket_path(interface)
    try:
        reader, writer = await asyncio.open_unix_connection(path)
    except (FileNotFoundError, ConnectionRefusedError):
        raise GatewayUnavailable(
            f"{shown(interface)}: no gateway runs on it; start one with `wgjit up {shown(interface)}`"
        ) from None
    except PermissionError:
        raise NotPermitted(f"{shown(path)}: permission denied; ask as the user that the gateway runs as") from None
    except OSError as error:
        raise ConfigError(f"{shown(path)}: {error}") from None
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
        yield FeedRecord.from_dict(line)

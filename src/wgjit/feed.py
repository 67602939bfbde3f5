"""The feed in Python: the public keys that an interface sees in handshake initiations.

    from wgjit.feed import feed

    async for knock in feed("wg0"):
        print(knock.public_key, knock.source, knock.decision)

If a gateway runs on the interface, this is the gateway's feed, with its decisions. If not, `watch` taps the interface
itself, and decides and changes nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import closing

from wgjit.control.client import listen
from wgjit.core.knock.observe import observe_packet
from wgjit.drivers.capture.packet import PacketCapture
from wgjit.drivers.wireguard.open import open_device
from wgjit.errors import DeviceError, GatewayUnavailable
from wgjit.record import FeedRecord
from wgjit.wire.noise import Responder

__all__ = ["feed", "listen", "watch"]


async def feed(interface: str) -> AsyncIterator[FeedRecord]:
    """Yield every initiation from now on: from the running gateway, or by watching the interface if there is none.

    Ends when the gateway ends. Raises DeviceError, CaptureError if there is no gateway and watching fails.
    """
    try:
        source = await listen(interface)
    except GatewayUnavailable:
        source = await watch(interface)
    async for record in source:
        yield record


async def watch(interface: str) -> AsyncIterator[FeedRecord]:
    """Tap the interface's port and open every initiation, from the moment that this returns. Changes nothing.

    Raises NoSuchDevice, DeviceError, NotPermitted, CaptureError.
    """
    with closing(open_device(interface)) as device:
        info = device.info()
    if info.private_key is None or not info.listen_port:
        raise DeviceError(
            "has no private key or no listen port, so nobody can knock; set them with wg", field=interface
        )
    return _observations(Responder(info.private_key), PacketCapture(info.listen_port))


async def _observations(responder: Responder, capture: PacketCapture) -> AsyncIterator[FeedRecord]:
    with closing(capture):
        while True:
            await _readable(capture.fileno())
            for captured in capture.read():
                if record := observe_packet(responder, captured.packet, time.time()):
                    yield record


async def _readable(descriptor: int) -> None:
    """Wait until the descriptor is readable. The event loop polls the descriptor only during this call."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)

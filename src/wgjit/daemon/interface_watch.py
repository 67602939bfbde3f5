"""Whether the interface is still the one that is served: its key, its port, and that it is there.

To ask wireguard-go is to ask for all its peers, and while it tells them it installs nobody. So the kernel is asked each
time whether the interface is there, and the device for its key and port the seldomer the longer its answer takes.
"""

from __future__ import annotations

import asyncio
import socket
import time

import structlog

from wgjit.core.settings import Pace
from wgjit.drivers.base import Device
from wgjit.errors import DeviceError, NoSuchDevice
from wgjit.model import DeviceInfo

log = structlog.get_logger()

INTERVAL = 2.0
"""Seconds between two looks at the interface."""


SHARE = Pace().share
"""A look that takes a second is followed by so many without one, as the gateway's own are."""


async def until_changed(device: Device, served: DeviceInfo) -> None:
    """Return when the interface has another key or port, or is another interface of the same name, or none."""
    due = time.monotonic()
    while True:
        await asyncio.sleep(INTERVAL)
        if time.monotonic() < due and _index(served.name) == served.index:
            continue
        began = time.monotonic()
        try:
            now = await asyncio.to_thread(device.info)
        except NoSuchDevice:
            log.warning("interface is gone", interface=served.name)
            return
        except DeviceError as error:  # it may pass; what is served is served
            log.debug("interface cannot be read", error=str(error))
            continue
        if now != served:
            log.warning("interface has changed", interface=served.name, listen_port=now.listen_port)
            return
        ended = time.monotonic()
        due = ended + SHARE * (ended - began)


def _index(name: str) -> int | None:
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return None

"""Notices when the interface has another key or port, was made anew, or is gone.

wireguard-go can only be asked for everything, including all peers, and installs no peer while it answers. So each look
asks the kernel whether the interface exists. The device is asked for its key and port less often the longer it takes.
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
"""Least pause before the device is asked again, as a multiple of the time that its last answer took (`Pace.share`)."""


async def until_changed(device: Device, served: DeviceInfo) -> None:
    """Return when the interface has another key or port, is another interface of the same name, or is gone."""
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
        except DeviceError as error:  # the error may pass, and the gateway goes on meanwhile
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

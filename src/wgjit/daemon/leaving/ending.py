"""SIGTERM in a fleet: drain first, if `fleet.drain_on_stop` says so, and end when no client is left or time is up.

The service manager is asked for more time as long as this takes (EXTEND_TIMEOUT_USEC of sd_notify), so its own timeout
need not be longer. A second signal ends the gateways at once. Sessions that are left stay up in any case.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Protocol

import structlog

from wgjit.notify import Notifier

log = structlog.get_logger()

LOOK = 0.25
"""Seconds between two looks at how many clients are left."""

MORE = 10.0
"""Seconds for which the service manager is asked with each look."""


class Leaver(Protocol):
    """A gateway that may drain."""

    drain_on_stop: float
    """Seconds for which it drains before it ends, at most; 0 if it does not."""

    def set_draining(self, drains: bool) -> None:
        """Drain, or serve as before."""

    def left(self) -> int:
        """Number of clients that the drain waits for."""

    def others(self) -> int:
        """Number of other gateways that live and do not drain, as far as is known."""


class Ending:
    """The end of a daemon with these gateways, by interface. More may be added until the end is asked for."""

    def __init__(self, stop: asyncio.Event, notifier: Notifier, gateways: Mapping[str, Leaver]) -> None:
        """`stop` is set when the gateways are to end."""
        self._stop = stop
        self._notifier = notifier
        self._gateways = gateways
        self._drain: asyncio.Task[None] | None = None

    def asked(self) -> None:
        """Somebody wants the daemon to end."""
        leaving = {name: each for name, each in self._gateways.items() if each.drain_on_stop and each.left()}
        if self._drain is not None or not leaving:
            self._stop.set()
            return
        self._drain = asyncio.get_running_loop().create_task(self._until_left(leaving))

    async def _until_left(self, leaving: dict[str, Leaver]) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            for name, gateway in leaving.items():
                gateway.set_draining(True)
                log.info("drains before the end", interface=name, clients=gateway.left(), most=gateway.drain_on_stop)
            while not self._stop.is_set():
                waits = {
                    name: gateway.left()
                    for name, gateway in leaving.items()
                    if loop.time() - began < gateway.drain_on_stop and gateway.left() and gateway.others()
                }
                if not waits:
                    break
                self._notifier.extend(f"draining: {sum(waits.values())} clients are left", MORE)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), LOOK)
            for name, gateway in leaving.items():
                why = {} if gateway.others() else {"why": "no other gateway of the fleet is known to serve"}
                log.info("drained", interface=name, left=gateway.left(), **why)
        finally:
            self._stop.set()

"""Notices that no packet of a client can reach the gateway, since the interface's socket is in another namespace."""

from __future__ import annotations

import asyncio

import structlog

from wgjit.drivers.wireguard.listening import why_deaf

log = structlog.get_logger()

INTERVAL = 5.0
"""Seconds between two looks."""

AGAIN = 0.5
"""Seconds after which a first finding is looked at again: WireGuard may just be opening its socket."""


class DeafWatch:
    """Looks at the port of one interface. `why`: why the gateway hears nothing, for people; None if it hears."""

    def __init__(self, interface: str, port: int) -> None:
        self._interface = interface
        self._port = port
        self.why: str | None = None

    async def run(self) -> None:
        """Look until cancelled. Each change is logged."""
        while True:
            why = await self._look()
            if why is not None and self.why is None:
                await asyncio.sleep(AGAIN)
                why = await self._look()
            if (why is None) != (self.why is None):
                self._tell(why)
            self.why = why
            await asyncio.sleep(INTERVAL)

    async def _look(self) -> str | None:
        return await asyncio.to_thread(why_deaf, self._interface, self._port)

    def _tell(self, why: str | None) -> None:
        if why is None:
            log.info("packets of clients can come here now", interface=self._interface, port=self._port)
        else:
            log.warning("the gateway hears no client", interface=self._interface, why=why)

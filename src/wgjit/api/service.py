"""What all routes share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from wgjit.api.caller import Gatekeeper
from wgjit.api.changes import Follower
from wgjit.api.registries import Registries
from wgjit.api.streams import Streams
from wgjit.errors import WgjitError
from wgjit.feed import ask
from wgjit.management import client_config
from wgjit.management.client_config import Server
from wgjit.management.site import Site
from wgjit.model import PublicKey


@dataclass
class Service:
    """The registry, and what is said of it in the configuration."""

    interface: str
    site: Site
    registries: Registries
    gatekeeper: Gatekeeper = field(init=False)
    follower: Follower = field(init=False)
    streams: Streams = field(default_factory=Streams)

    def __post_init__(self) -> None:
        settings = self.site.config.api
        self.gatekeeper = Gatekeeper(self.registries, settings.rate, settings.gateway_rate)
        self.follower = Follower(self.registries)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """What goes on beside requests, while the block runs."""
        tasks = [asyncio.create_task(self.follower.run()), asyncio.create_task(self.streams.watch())]
        try:
            yield
        finally:
            self.streams.end()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def server(self) -> Server | None:
        """The gateway as clients have to know it; None if the configuration does not say enough.

        Its private key is not read: this process must not have it. If `client.public_key` is not set, a running gateway
        is asked for the public one. Call it on a thread without an event loop.
        """
        key: PublicKey | None = None
        try:
            if self.site.config.client.endpoint is None:
                return None
            if self.site.config.client.public_key is None:
                key = PublicKey.parse(str(asyncio.run(ask(self.interface, "status")).get("public_key")))
            return client_config.server(self.site, key)
        except WgjitError:
            return None

"""What all routes share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from wgjit.api.caller import Gatekeeper
from wgjit.api.changes import Follower
from wgjit.api.entrance.notices import Notices
from wgjit.api.entrance.quota import Quota
from wgjit.api.entrance.tenure import Tenure
from wgjit.api.entrance.threads import Threads
from wgjit.api.health import GatewayHealth, Health
from wgjit.api.registries import Registries
from wgjit.api.routes.streams import Streams
from wgjit.control import client
from wgjit.errors import WgjitError
from wgjit.management import client_config
from wgjit.management.client_config import Server
from wgjit.management.own import Own
from wgjit.management.site import Site
from wgjit.model import PublicKey

IMPORTS, IMPORT_SHARE, IMPORTS_KEPT = 8, 2, 2
"""Imports at once: in all, of one caller, and those of all that only the Unix socket gets."""

_ASK_AGAIN = 60.0
"""Seconds for which a gateway's answer, or its silence, is believed."""


@dataclass
class Service:
    """What all routes share: the registry, its configuration, and the limits of requests."""

    interface: str
    site: Site
    registries: Registries
    notices: Notices = field(default_factory=Notices)
    threads: Threads = field(default_factory=Threads)
    streams: Streams = field(default_factory=Streams)
    imports: Quota = field(default_factory=lambda: Quota("imports", IMPORTS, IMPORTS_KEPT))
    load: Callable[[], dict[str, Any]] = dict
    """The listeners' figures. The function is set by the code that opens the listeners."""
    gatekeeper: Gatekeeper = field(init=False)
    follower: Follower = field(init=False)
    health: Health = field(init=False)
    gateway_health: GatewayHealth = field(init=False)
    tenure: Tenure = field(init=False)
    _running: Own = field(default_factory=Own)
    _ask_at: float = float("-inf")

    def __post_init__(self) -> None:
        settings = self.site.config.api
        self.gatekeeper = Gatekeeper(self.registries, settings.rate, self.threads, self.notices, settings.gateway_rate)
        self.follower = Follower(self.registries, self.threads)
        self.health = Health(self.registries, self.threads)
        self.gateway_health = GatewayHealth(self.interface)
        self.tenure = Tenure(self.threads)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the background tasks (change log, token checks) while the block runs."""
        self.threads.set_up()
        tasks = [asyncio.create_task(self.follower.run()), asyncio.create_task(self.tenure.watch())]
        try:
            yield
        finally:
            self.streams.end()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def figures(self) -> dict[str, Any]:
        """How much of each limit is used, and how often a request was refused for it."""
        return {
            "streams": {"open": self.streams.quota.total, "refused": self.streams.quota.refused},
            "imports": {"open": self.imports.total, "refused": self.imports.refused},
            "troubles": dict(self.notices.counts),
            **self.load(),
        }

    def own(self) -> Own:
        """The gateway's own key and addresses, which no peer may have. Call this on a thread without an event loop.

        If no setting names the key, a running gateway is asked for it, once a minute.
        """
        now = time.monotonic()
        if not self.site.own.keys and now >= self._ask_at:
            self._ask_at = now + _ASK_AGAIN
            self._running = Own()
            with suppress(WgjitError):
                self._running = Own(frozenset([self._running_key()]))
        return self.site.own | self._running

    def server(self) -> Server | None:
        """The gateway's values for a client's configuration. None if the configuration does not say enough.

        The gateway's private key is not read, because this process must not have it. If `client.public_key` is not set,
        a running gateway is asked for its public key. Call this on a thread without an event loop.
        """
        key: PublicKey | None = None
        try:
            if self.site.config.client.endpoint is None:
                return None
            if self.site.config.client.public_key is None:
                key = self._running_key()
            return client_config.server(self.site, key)
        except WgjitError:
            return None

    def _running_key(self) -> PublicKey:
        """The public key of the running gateway. Raises WgjitError if none runs or answers."""
        return PublicKey.parse(str(asyncio.run(client.status(self.interface)).public_key))

"""A running loop with everything around it in memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from tests.fakes.capture import FakeCapture, FakeInjector
from tests.fakes.confirmations import FakeConfirmations
from tests.fakes.device import FakeDevice
from tests.fakes.fleet import FakeFleet
from tests.fakes.restraint import FakeRestraint
from tests.fakes.routes import FakeRoutes
from tests.fakes.store import FakeRegistry
from tests.unit.core.conftest import Client
from wgjit.control.status import GatewayStatus
from wgjit.core.gateway import Gateway
from wgjit.core.settings import RouteRule, Settings
from wgjit.core.vocabulary.events import DeviceRead
from wgjit.daemon.feed_hub import FeedHub, Subscription
from wgjit.daemon.loop import Loop
from wgjit.daemon.metrics import Metrics
from wgjit.model import Delivery, PrivateKey
from wgjit.record import FeedRecord
from wgjit.wire.noise import Responder


class Running:
    """A loop under test and its surroundings."""

    def __init__(
        self,
        clients: int,
        delivery: Delivery,
        store_is_local: bool,
        hold_deadline: float,
        fleet: FakeFleet | None,
        routes: RouteRule | None,
    ) -> None:
        private = PrivateKey(b"\x42" * 32)
        responder = Responder(private)
        self.clients = [Client(responder.public_key, number) for number in range(1, clients + 1)]
        self.device = FakeDevice(private_key=private)
        self.capture = FakeCapture(holds=delivery is Delivery.HOLD)
        self.injector = FakeInjector()
        self.store = FakeRegistry([client.peer for client in self.clients], is_local=store_is_local)
        self.store.fleet = fleet
        self.confirmations = None if fleet is None else FakeConfirmations()
        self.restraint = None if fleet is None else FakeRestraint()
        self.routes = FakeRoutes()
        self.about = GatewayStatus(interface="wg0")
        self.metrics = Metrics()
        self.feed = FeedHub()
        self.subscription: Subscription = self.feed.subscribe()
        settings = Settings(
            gateway="g",
            delivery=delivery,
            store_is_local=store_is_local,
            hold_deadline=hold_deadline,
            fleet=fleet is not None,
            routes=routes,
        )
        self.gateway = Gateway(responder, settings)
        self.loop = Loop(
            self.gateway,
            self.device,
            self.capture,
            self.injector,
            self.store,
            self.feed,
            self.metrics,
            confirmations=self.confirmations,
            restraint=self.restraint,
            routes=self.routes if routes else None,
        )
        self._records = aiter(self.subscription)

    def knock(self, client: int = 0) -> None:
        """A client's initiation of this moment arrives."""
        self.capture.arrive(self.clients[client].packet(time.time()))

    async def told(self) -> FeedRecord:
        """The next line of the feed."""
        return await asyncio.wait_for(anext(self._records), 60)


@asynccontextmanager
async def running(
    clients: int = 1,
    delivery: Delivery = Delivery.REPLAY,
    store_is_local: bool = True,
    hold_deadline: float = 0.5,
    before: Callable[[Running], None] = lambda _: None,
    fleet: FakeFleet | None = None,
    routes: RouteRule | None = None,
) -> AsyncIterator[Running]:
    """Run a loop for the time of a `with`; an error that ended it comes out."""
    stage = Running(clients, delivery, store_is_local, hold_deadline, fleet, routes)
    before(stage)
    residents = DeviceRead(time.monotonic(), list(stage.device.peers()))
    task = asyncio.create_task(stage.loop.run(residents))
    await asyncio.sleep(0)
    try:
        yield stage
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        stage.capture.close()
        stage.routes.close()


class Clock:
    """The time of what is under test, which stands still until told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


async def until(condition: Callable[[], bool]) -> None:
    """Wait, up to a minute, until something is so."""
    for _ in range(6000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come about within a minute")

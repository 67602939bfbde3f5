"""The watch for strays: how it is filled, and how the loop answers for whom is held where."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Iterator
from ipaddress import ip_address

import pytest
from structlog.testing import capture_logs

from tests.fakes.fleet import FakeFleet
from tests.fakes.store import FakeRegistry
from tests.unit.core.conftest import Client
from wgjit.core.settings import Settings
from wgjit.core.vocabulary.commands import FindHolders, NoStray, StrayAgain
from wgjit.core.vocabulary.events import Event, HoldersFound, Stray
from wgjit.core.vocabulary.told import Takeover
from wgjit.daemon.effects.stray_work import StrayWork
from wgjit.daemon.faults import Faults
from wgjit.daemon.metrics import Metrics
from wgjit.drivers.base import StrayCounters
from wgjit.errors import CaptureError, StoreError
from wgjit.model import Endpoint, Holding, OtherGateway, PrivateKey, Registration, Tai64n
from wgjit.refusal import Refusal

SERVICE = Endpoint.parse("127.0.0.1:51820")
CLIENTS = [Client(PrivateKey(b"\x42" * 32).public(), number) for number in range(1, 6)]


class FakeWatch:
    """Implements `wgjit.drivers.base.StrayWatch`, in memory."""

    def __init__(self) -> None:
        self.known: set[Endpoint] = set()
        self.anew: list[Endpoint] = []
        self.waiting: list[tuple[Endpoint, Endpoint]] = []
        self.flushed = self.broken = False
        self.clears = 0
        self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def put(self, endpoints: Iterable[Endpoint]) -> None:
        if self.broken:
            raise CaptureError("nft table: no buffer space available")
        self.known |= set(endpoints)

    def put_anew(self, endpoints: Iterable[Endpoint]) -> None:
        some = list(endpoints)
        self.put(some)
        self.anew += some

    def forget(self, endpoints: Iterable[Endpoint]) -> None:
        self.known -= set(endpoints)

    def clear(self) -> None:
        self.clears += 1
        self.known.clear()

    def fileno(self) -> int:
        return self._event

    def report(self, source: Endpoint, destination: Endpoint) -> None:
        self.waiting.append((source, destination))
        os.eventfd_write(self._event, 1)

    def read(self) -> list[tuple[Endpoint, Endpoint]]:
        os.eventfd_read(self._event)
        found, self.waiting = self.waiting, []
        return found

    def heartbeat(self) -> bool:
        flushed, self.flushed = self.flushed, False
        return flushed

    def counters(self) -> StrayCounters:
        return StrayCounters(len(self.known), 0, 0)

    def close(self) -> None:
        os.close(self._event)


class Place:
    """A StrayWork on a loop, with what it stands on."""

    def __init__(self, watch: FakeWatch | None) -> None:
        self.watch = watch
        self.fleet = FakeFleet()
        self.fleet.gateways = [
            OtherGateway("a", True, service=(ip_address("127.0.0.1"),)),
            OtherGateway("c", True, service=(ip_address("203.0.113.9"),)),
        ]
        store = FakeRegistry()
        store.fleet = self.fleet
        self.metrics = Metrics()
        self.events: list[Event] = []
        settings = Settings(gateway="g", shared=frozenset({SERVICE.address}))
        self.work = StrayWork(store, watch, Faults(self.metrics), self.events.extend, settings)
        self.work.begin(asyncio.get_running_loop())

    def hold(self, client: Client, gateway: str = "a") -> Holding:
        holding = Holding(client.key, Tai64n.from_unix(9.0), 0, gateway, 1, client.endpoint, 9.0)
        self.fleet.held.setdefault(client.endpoint, []).append(Registration(client.peer, None, holding))
        return holding

    async def until(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < end, "it did not come about"
            await asyncio.sleep(0.005)

    def end(self) -> None:
        self.work.end(asyncio.get_running_loop())


@pytest.fixture
def watch() -> Iterator[FakeWatch]:
    watch = FakeWatch()
    yield watch
    watch.close()


def test_the_watch_is_filled_from_the_replica_and_by_what_is_heard(
    watch: FakeWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wgjit.daemon.effects.stray_work.PAGE", 2)

    async def run() -> None:
        place = Place(watch)
        holdings = [place.hold(client) for client in CLIENTS[:4]]
        place.work.fill()
        await place.until(lambda: watch.known == {client.endpoint for client in CLIENTS[:4]})
        new = place.hold(CLIENTS[4])
        place.work.heard([new])
        await place.until(lambda: watch.anew == [CLIENTS[4].endpoint])
        left = Holding(*(*(getattr(holdings[0], name) for name in holdings[0].__slots__[:7]), 10.0))
        place.work.heard([left])
        place.work.no_stray(NoStray((CLIENTS[1].endpoint,)))
        own = place.hold(CLIENTS[0], "g")
        place.work.heard([own])
        await place.until(lambda: watch.known == {client.endpoint for client in CLIENTS[2:]})
        place.work.again(StrayAgain((CLIENTS[2].endpoint,)))
        await place.until(lambda: watch.anew == [CLIENTS[4].endpoint, CLIENTS[2].endpoint])
        place.end()

    asyncio.run(run())


def test_a_flushed_watch_is_filled_anew(watch: FakeWatch) -> None:
    async def run() -> None:
        place = Place(watch)
        place.hold(CLIENTS[0])
        place.work.fill()
        await place.until(lambda: watch.known != set())
        watch.known.clear()
        watch.flushed = True
        place.work.beat()
        await place.until(lambda: watch.known == {CLIENTS[0].endpoint})
        assert watch.clears == 2
        place.end()

    asyncio.run(run())


def test_what_has_become_outdated_goes_when_much_has_come(watch: FakeWatch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wgjit.daemon.effects.stray_work.FRESH", 2)

    async def run() -> None:
        place = Place(watch)
        place.hold(CLIENTS[0])
        place.work.fill()
        await place.until(lambda: watch.known != set())
        roamed = [
            Holding(CLIENTS[0].key, Tai64n.from_unix(9.0), 0, "a", 1, Endpoint(bytes([10, 0, 0, at]), 7), 9.0)
            for at in range(3)
        ]
        place.work.heard(roamed)
        await place.until(lambda: len(watch.known) == 4)
        place.work.beat()
        await place.until(lambda: watch.known == {CLIENTS[0].endpoint})
        place.end()

    asyncio.run(run())


def test_a_fault_is_counted_and_the_watch_filled_again(watch: FakeWatch) -> None:
    async def run() -> None:
        place = Place(watch)
        place.hold(CLIENTS[0])
        watch.broken = True
        place.work.fill()
        await place.until(lambda: place.metrics.faults["strays"] == 1)
        watch.broken = False
        place.work.beat()
        await place.until(lambda: watch.known == {CLIENTS[0].endpoint})
        place.fleet.failure = StoreError("registry: disk I/O error")
        place.work.fill()
        await place.until(lambda: place.metrics.faults["strays"] == 2)
        assert place.work.find_holders(FindHolders(CLIENTS[0].endpoint)).found is Refusal.STORE_FAILED
        assert place.metrics.faults["store"] == 1
        place.end()

    asyncio.run(run())


def test_the_core_hears_of_strays_and_who_is_held_where(watch: FakeWatch) -> None:
    async def run() -> None:
        place = Place(watch)
        local = Endpoint.parse("127.0.0.1:4000")
        a, c = CLIENTS[0], CLIENTS[1]
        for client, gateway in ((a, "a"), (c, "c")):
            client.endpoint = Endpoint(local.address, 4000 + client.endpoint.port + ord(gateway))
            place.hold(client, gateway)
        place.work.beat()
        watch.report(a.endpoint, SERVICE)
        await place.until(lambda: place.events == [Stray(a.endpoint, SERVICE)])
        shared = frozenset({SERVICE.address})
        found = place.work.find_holders(FindHolders(a.endpoint))
        assert found == HoldersFound(a.endpoint, tuple(place.fleet.held[a.endpoint]), shared, SERVICE.address)
        assert place.work.find_holders(FindHolders(c.endpoint)).service == frozenset({ip_address("203.0.113.9").packed})
        assert place.work.find_holders(FindHolders(local)).found == ()
        figures = place.work.figures()
        assert figures is not None
        assert figures["shared_with"] == ["a"]
        place.end()

    asyncio.run(run())


def test_what_a_person_has_to_do_is_told_once(watch: FakeWatch) -> None:
    async def run() -> None:
        place = Place(watch)
        for _ in range(3):
            place.work.tell(Takeover.WRONG_SOURCE)
            place.work.tell(Takeover.COMPLETED)
        place.end()

    with capture_logs() as said:
        asyncio.run(run())
    assert ["it would be called from another address" in line["event"] for line in said] == [True]


def test_without_a_watch_nothing_is_done() -> None:
    async def run() -> None:
        place = Place(None)
        place.work.fill()
        place.work.beat()
        place.work.heard([place.hold(CLIENTS[2])])
        place.work.no_stray(NoStray((CLIENTS[2].endpoint,)))
        assert place.work.figures() is None
        place.end()

    asyncio.run(run())

"""The loop: it hands events to the core and performs the core's commands. Nothing else turns a command into an effect.

    capture ── packets ──▶ Gateway.handle ── commands ──▶ device, capture, injector, store, feed

One thread runs the loop. It does short work itself (a netlink install, a local lookup, a verdict), since a hop to
another thread costs more than the call. Work that may be long (a dump of all residents, a write to the registry, a
remote lookup) runs on another thread, and its result comes back as an event.

No fault ends the loop. The loop counts the fault, logs it once until it has passed, and releases the packet. A change
of a resident that failed is tried again until it succeeds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import Any

from wgjit.config.settings import HealthSettings
from wgjit.control.status import GatewayStatus
from wgjit.core.agenda import Agenda, Installs, Verdicts
from wgjit.core.gateway import Gateway
from wgjit.core.vocabulary.commands import (
    Ask,
    AwaitData,
    Configure,
    Evict,
    FindCover,
    FindHolders,
    FollowUp,
    Install,
    Lookup,
    NoStray,
    PutRoutes,
    ReadDevice,
    Recheck,
    Release,
    Replay,
    RoutesKnown,
    SaveClaim,
    SayHolding,
    SessionOver,
    SessionUp,
    Sheltered,
    StrayAgain,
    TakeRoutes,
)
from wgjit.core.vocabulary.events import (
    Arrived,
    DeviceRead,
    Drain,
    Event,
    FollowUpDue,
    Installed,
    LookedUp,
    Tick,
    Undrain,
)
from wgjit.core.vocabulary.moment import OfKnock
from wgjit.core.vocabulary.told import (
    Came,
    Count,
    Flipped,
    Left,
    LeftOut,
    NotCompleted,
    PinsAbsent,
    PutBack,
    Revoked,
    Tell,
    TookOver,
    Vanished,
)
from wgjit.daemon.alarm import Alarm
from wgjit.daemon.effects.device_work import HEAD_START, DeviceWork
from wgjit.daemon.effects.fleet_work import FleetWork
from wgjit.daemon.effects.route_work import RouteWork
from wgjit.daemon.effects.stray_work import StrayWork
from wgjit.daemon.faults import Faults
from wgjit.daemon.feed_hub import FeedHub
from wgjit.daemon.leaving.health import failing
from wgjit.daemon.metrics import Metrics
from wgjit.daemon.notices import Notices
from wgjit.daemon.registry_watch import RegistryWatch
from wgjit.daemon.stages import Stages
from wgjit.daemon.telling.losses import Losses
from wgjit.drivers.base import Capture, Captured, Confirmations, Device, Injector, Restraint, Routes, StrayWatch
from wgjit.errors import WgjitError
from wgjit.model import PublicKey
from wgjit.refusal import Refusal
from wgjit.stores.base import Store

BATCH = 16
"""Most packets that are read before installs are made: enough to share a netlink message, but few, so that the first
packet does not wait long for the last. The loop begins with one packet, and reads more while more packets wait."""

QUESTIONS = 16
"""Questions to a fleet's registry of record that may wait at once, each on its own thread."""

AWAITED = 64
"""Lookups in a remote store that may wait at once, each on its own thread."""

TOGETHER = 0.02
"""Least seconds between two rounds of the registry's thread, so that what is said in between goes together."""

HEARTBEAT = 1.0
"""Seconds between two heartbeats to the capture."""


class Loop:
    """The loop of one gateway on one device. It runs until `run` is cancelled."""

    def __init__(
        self,
        gateway: Gateway,
        device: Device,
        capture: Capture,
        injector: Injector,
        store: Store,
        feed: FeedHub,
        metrics: Metrics,
        alive: Callable[[], None] = lambda: None,
        confirmations: Confirmations | None = None,
        restraint: Restraint | None = None,
        routes: Routes | None = None,
        strays: StrayWatch | None = None,
        fwmark: int = 0,
    ) -> None:
        """`alive` is called with each heartbeat. It tells a supervisor's watchdog that the loop runs.

        `confirmations` tells which peers' sessions have passed data; without it, looks at the device tell it later.
        `restraint` keeps WireGuard from calling back clients that have moved. `routes` lead traffic to residents.
        `strays` notices clients that the network has led here; `fwmark` is the mark of the interface's own packets.
        """
        self.drains_at_first = False
        """The gateway drains from the start of `run` on."""
        self._gateway = gateway
        self._capture = capture
        self._injector = injector
        self._store = store
        self._feed = feed
        self._metrics = metrics
        self._alive = alive
        self._faults = Faults(metrics)
        self._numbers = 0
        self._captured: dict[int, Captured] = {}
        """The packets of knocks that are being handled."""
        self._agenda = Agenda()
        self._stages = Stages(feed)
        self._running = False
        self._news = asyncio.Event()
        """There is something to say to the fleet, or to hear from it."""
        self._batch = 1
        self._install_took = 0.0
        self._alarm = Alarm(lambda: self.feed_event(Tick()))
        self._tasks: set[asyncio.Task[None]] = set()
        threads = AWAITED if not store.is_local else 4 if store.fleet is None else QUESTIONS
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="wgjit")
        self._registry_thread = ThreadPoolExecutor(1, thread_name_prefix="wgjit-registry")
        self._watch = RegistryWatch(store, self._faults, gateway.concerned, gateway.is_concerned)
        self._notices = Notices(metrics)
        self._losses = Losses(capture, self._threads, self._faults, self._notices.troubles)
        self._fleet = FleetWork(store, confirmations, restraint, self._faults, self.feed_event)
        self._routes = RouteWork(routes, self._faults)
        self._strays = StrayWork(store, strays, self._faults, self.feed_events, gateway.settings, fwmark)
        self._watch.heard = self._strays.heard
        self._work = DeviceWork(device, self._faults, head_start=0.0 if capture.holds else HEAD_START)
        self._turns: dict[type, Callable[[Any], None]] = {
            Verdicts: lambda _: self._flush(),
            Installs: self._install,
            SaveClaim: self._save_claim,
            SayHolding: self._say_holding,
            Tell: self._tell,
        }
        """How the tasks of the agenda that are no events are done."""
        self._perform: dict[type, Callable[[Any], None]] = {
            Release: self._release,
            Lookup: self._lookup,
            Ask: lambda command: self._in_background(self._ask_the_record(command)),
            Install: self._agenda.install,
            Configure: self._configure,
            Evict: lambda command: self._in_background(self._evict(command)),
            Recheck: lambda command: self._watch.recheck(command.keys),
            Replay: self._replay,
            SaveClaim: self._agenda.record,
            SayHolding: self._agenda.record,
            AwaitData: self._fleet.await_data,
            SessionUp: self._fleet.session_up,
            SessionOver: self._fleet.session_over,
            PutRoutes: self._routes.put,
            TakeRoutes: self._routes.take,
            RoutesKnown: self._routes.known,
            LeftOut: self._notices.left_out,
            FindHolders: lambda command: self._agenda.hear(self._strays.find_holders(command)),
            NoStray: self._strays.no_stray,
            StrayAgain: self._strays.again,
            TookOver: self._took_over,
            ReadDevice: self._read_device,
            FindCover: lambda command: self._watch.find_cover(command.within),
            Sheltered: self._notices.sheltered,
            FollowUp: self._agenda.follow_up,
            Flipped: self._notices.flipped,
            Came: self._notices.came,
            Left: self._notices.left,
            Revoked: self._notices.clients.revoked,
            Vanished: self._notices.troubles.vanished,
            NotCompleted: self._notices.not_completed,
            PinsAbsent: self._notices.pins_absent,
            PutBack: self._notices.put_back,
            Tell: self._agenda.record,
            Count: self._count,
        }

    async def run(self, residents: DeviceRead) -> None:
        """Serve until cancelled. `residents` is a reading of the device from before the capture was opened."""
        self._loop = asyncio.get_running_loop()
        self._routes.begin(self._loop)
        self.feed_event(residents)
        if self.drains_at_first:
            self.set_draining(True)
        self._loop.add_reader(self._capture.fileno(), self._packets_wait)
        self._fleet.begin(self._loop, self._news.set)
        self._strays.begin(self._loop)
        try:
            await asyncio.gather(self._beat(), self._follow_registry())
        finally:
            self._loop.remove_reader(self._capture.fileno())
            self._fleet.end(self._loop)
            self._routes.end(self._loop)
            self._strays.end(self._loop)
            self._alarm.cancel()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._loop.run_in_executor(self._registry_thread, self._watch.close)
            self._work.close()
            self._threads.shutdown(wait=False)
            self._registry_thread.shutdown(wait=False)

    def set_draining(self, drains: bool) -> None:
        """Let the gateway drain, or serve as before. The fleet hears of it at once."""
        self.feed_event(Drain() if drains else Undrain())
        if (fleet := self._store.fleet) is not None:
            fleet.set_draining(drains)

    @property
    def left(self) -> int:
        """Number of clients that a drain waits for."""
        return self._gateway.left

    @property
    def others(self) -> int:
        """Number of other gateways of the fleet that live and do not drain, as far as is known."""
        return self._gateway.others

    def failing(self, interface: str, settings: HealthSettings) -> dict[str, str]:
        """The checks of the gateway's health that fail, and why, for people."""
        return dict(failing(interface, self._store, self._faults, settings))

    # --- events in ----------------------------------------------------------------------------------------------

    def _packets_wait(self) -> None:
        try:
            batch = self._capture.read(self._batch)
        except WgjitError as error:
            self._faults.occurred("capture", error)
            return
        self._batch = min(2 * self._batch, BATCH) if len(batch) == self._batch else 1
        self._stages.look()
        for captured in batch:
            self._numbers += 1
            self._captured[self._numbers] = captured
            self._stages.begin(self._numbers)
            held = captured.token is not None
            self._agenda.hear(Arrived(self._numbers, captured.packet, held, captured.ifindex))
        self._process()

    def feed_event(self, event: Event) -> None:
        """Let the core handle an event that is no packet."""
        self.feed_events((event,))

    def feed_events(self, events: Iterable[Event]) -> None:
        """Let the core handle events that are no packets. Their installs are made together."""
        self._stages.look()
        for event in events:
            self._agenda.hear(event)
        self._process()

    def _process(self) -> None:
        """Do all tasks of the agenda."""
        if self._running:
            return  # an effect has made an event: the outer call of this method handles it
        self._running = True
        try:
            while (task := self._agenda.next()) is not None:
                try:
                    self._turns.get(type(task), self._handle)(task)
                except Exception as error:  # a bug with one packet must not affect the other packets
                    self._faults.occurred("core", error)
                    if isinstance(task, OfKnock):
                        self._abandon(task.knock)
        finally:
            self._running = False
            self._alarm.set(self._loop, self._gateway.next_deadline())

    def _handle(self, event: Event) -> None:
        commands = self._gateway.handle(event, self._stages.now())
        if isinstance(event, OfKnock):
            self._stages.lap(event.knock, _STAGES[type(event)])
        elif isinstance(event, Installed):
            for command in commands:
                if isinstance(command, OfKnock):
                    self._stages.shared(command.knock, "install", self._install_took)
        for command in commands:
            self._perform[type(command)](command)

    def _abandon(self, knock: int) -> None:
        """Release the packet of a knock that the core has failed to handle."""
        self._stages.end(knock)
        captured = self._captured.pop(knock, None)
        if captured is not None and captured.token is not None:
            with suppress(WgjitError):  # the packet may have been released before
                self._capture.release(captured.token)
                self._agenda.released()

    # --- commands out -------------------------------------------------------------------------------------------

    def _release(self, command: Release) -> None:
        captured = self._captured.get(command.knock)
        if captured is None or captured.token is None:
            return  # abandoned
        try:
            self._capture.release(captured.token)
            self._agenda.released()
        except WgjitError as error:
            self._faults.occurred("capture", error)
        self._stages.lap(command.knock, "deliver")

    def _flush(self) -> None:
        """Send all verdicts in one message. The heartbeat sends verdicts that this call fails to send."""
        self._fleet.flush()  # first: on one CPU a client near by may be faster than this process
        try:
            self._capture.flush()
        except Exception as error:
            self._faults.occurred("capture", error)
        if self._feed:
            self._stages.look()  # this time is in no knock's stages, since several knocks share it

    def _replay(self, command: Replay) -> None:
        captured = self._captured.get(command.knock)
        if captured is None:
            return  # abandoned
        try:
            self._injector.inject(captured)
            self._faults.passed("inject")
        except WgjitError as error:
            self._faults.occurred("inject", error)
        self._stages.lap(command.knock, "deliver")

    def _lookup(self, command: Lookup) -> None:
        if not self._store.is_local:
            self._in_background(self._lookup_remotely(command))
            return
        self._agenda.hear(LookedUp(command.knock, self._ask(command.key)))
        self._stages.lap(command.knock, "lookup")

    async def _lookup_remotely(self, command: Lookup) -> None:
        began = time.monotonic()
        found = await self._loop.run_in_executor(self._threads, self._ask, command.key)
        self._stages.shared(command.knock, "lookup", time.monotonic() - began)
        self.feed_event(LookedUp(command.knock, found))

    async def _ask_the_record(self, command: Ask) -> None:
        began = time.monotonic()
        found = await self._loop.run_in_executor(self._threads, self._fleet.ask, command.key)
        self._stages.shared(command.knock, "ask", time.monotonic() - began)
        self.feed_event(LookedUp(command.knock, found, asked=True))

    def _ask(self, key: PublicKey) -> Any:
        try:
            found = self._store.lookup(key) or self._store.former(key)
        except Exception as error:
            self._faults.occurred("store", error)
            return Refusal.STORE_FAILED
        self._faults.passed("store")
        return found

    def _install(self, installs: Installs) -> None:
        failures = self._work.install(installs.changes)
        self._install_took = self._stages.look()
        for change in installs.changes:
            self._agenda.hear(Installed(change.public_key, failures.get(change.public_key)))

    async def _evict(self, command: Evict) -> None:
        self._routes.take_now()
        self.feed_event(await self._work.evict(command.keys, command.first))

    def _read_device(self, command: ReadDevice) -> None:
        if command.at_once:
            self._agenda.hear(self._work.read_at_once())
        else:
            self._in_background(self._read_in_parts())

    async def _read_in_parts(self) -> None:
        async for part in self._work.read():
            self.feed_event(part)

    def _configure(self, command: Configure) -> None:
        if self._agenda.take_verdicts():
            self._flush()  # no packet waits behind a configuration
        self._routes.take_now()
        self._work.configure(command.changes)
        self._stages.look()  # this time is in no knock's stages

    def _save_claim(self, command: SaveClaim) -> None:
        self._watch.save(command.claim, said=command.said)

    def _say_holding(self, command: SayHolding) -> None:
        self._notices.said(command)
        self._watch.say(command.holding)
        self._news.set()

    def _tell(self, command: Tell) -> None:
        record = command.record
        self._captured.pop(command.knock, None)
        if stages := self._stages.end(command.knock):
            record.stages = stages
        self._notices.saw(record)
        if self._feed:
            self._feed.publish(record)

    def _took_over(self, command: TookOver) -> None:
        self._metrics.takeovers[command.outcome] += 1
        self._strays.tell(command.outcome)
        if command.record is not None:
            self._notices.saw(command.record)
            if self._feed:
                self._feed.publish(command.record)

    def _count(self, command: Count) -> None:
        self._captured.pop(command.knock, None)
        self._stages.end(command.knock)
        self._notices.refused(command.refusal)

    # --- background tasks ---------------------------------------------------------------------------------------

    async def _beat(self) -> None:
        while True:
            try:
                if self._capture.heartbeat():
                    self._notices.troubles.rules_put_back()
                self._faults.passed("heartbeat")
            except Exception as error:
                self._faults.occurred("heartbeat", error)
            self._stages.compare_clocks()
            self._work.retry()
            self._fleet.flush()
            self._fleet.beat(len(self._gateway.residency), drains=self._gateway.drains)
            self._routes.beat()
            self._strays.beat()
            self._notices.beat()
            self._losses.beat()
            self.feed_event(Tick())  # also for deadlines by the wall clock, which may have been stepped
            self._alive()
            await asyncio.sleep(HEARTBEAT)

    async def _follow_registry(self) -> None:
        filled = False
        while True:
            self._news.clear()  # before the round: what comes while it runs is for the next one
            try:
                for event in await self._loop.run_in_executor(self._registry_thread, self._watch.round):
                    self.feed_event(event)
                    await asyncio.sleep(0)  # waiting packets come first
                if not filled:  # what is heard from now on goes into the watch, too
                    self._strays.fill()
                    filled = True
            except Exception as error:
                self._faults.occurred("registry", error)
            await asyncio.sleep(TOGETHER)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), RegistryWatch.INTERVAL - TOGETHER)

    def _in_background(self, work: Any) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _takeover(self) -> dict[str, Any] | None:
        """What the status says of clients that the network leads here."""
        figures = self._strays.figures()
        return None if figures is None else {"off": self._gateway.takes_nobody_over, **figures}

    async def status(self, about: GatewayStatus) -> GatewayStatus:
        """`about` with the current numbers. A thread asks for the capture's, since that may run a program."""
        counters = await self._loop.run_in_executor(self._threads, self._capture.counters)
        return replace(
            about,
            residents=len(self._gateway.residency),
            holding=self._gateway.holding if self._store.fleet is not None else None,
            draining=self._gateway.drains if self._store.fleet is not None else None,
            waiting=len(self._captured),
            sheltered=self._gateway.sheltered,
            calls_held=self._fleet.calls_held(),
            routes=self._routes.status(self._gateway.routes_left_out),
            takeover=self._takeover(),
            **self._metrics.as_dict(counters),
            troubled_by=self._notices.troubles.lately() or None,
            feed_dropped=self._feed.dropped,
            registry=self._store.figures() or None,
        )


_STAGES: dict[type, str] = {Arrived: "identify", LookedUp: "prove", FollowUpDue: "prove"}

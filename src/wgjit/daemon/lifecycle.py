"""Starts and ends the gateway on one interface, without touching a session.

Start: make the interface if it does not exist, read its key and port, take over residents, capture, serve. No packet is
held before the gateway can release it at once. End: stop the capture, save the last claims. The interface and its
sessions stay as they are. `process.serve` runs one or more of these services, and holds their locks and registries.
"""

from __future__ import annotations

import asyncio
import os
import time
import traceback
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from typing import Any, ParamSpec, Protocol

import structlog

from wgjit.config import Config, read_private_key
from wgjit.config.settings import GatewaySettings
from wgjit.control.health import Health
from wgjit.control.status import GatewayStatus
from wgjit.core.gateway import Gateway
from wgjit.core.vocabulary.events import DeviceRead
from wgjit.daemon.core_settings import core_settings
from wgjit.daemon.feed_hub import FeedHub
from wgjit.daemon.interface_watch import INTERVAL, until_changed
from wgjit.daemon.leaving.deaf import DeafWatch
from wgjit.daemon.leaving.inside import Inside
from wgjit.daemon.loop import Loop
from wgjit.daemon.metrics import Metrics
from wgjit.doctor.choice import Choice, choose_delivery, examine, hold_by
from wgjit.drivers.base import Capture, Confirmations, Restraint, Routes, StrayWatch
from wgjit.drivers.capture.packet import PacketCapture
from wgjit.drivers.capture.queue import NfqueueCapture
from wgjit.drivers.confirm.packets import PacketConfirmations
from wgjit.drivers.replay.inject import ReplayInjector
from wgjit.drivers.restraint.nft import NftRestraint
from wgjit.drivers.routes.kernel import KernelRoutes
from wgjit.drivers.strays.nft import NftStrays
from wgjit.drivers.wireguard.interface import create_interface, delete_interface, interface_exists
from wgjit.drivers.wireguard.open import open_device
from wgjit.errors import CaptureError, ConfigError, DeviceError, NotInFleet, NotPermitted, WgjitError
from wgjit.model import Delivery, DeviceInfo
from wgjit.stderr import lost_lines
from wgjit.stores.base import Store
from wgjit.wire.key_text import without_keys
from wgjit.wire.noise import Responder

P = ParamSpec("P")

log = structlog.get_logger()

PROGRESS = 0.5
"""Seconds between two words on how far a drain is."""


class Supervisor(Protocol):
    """The part of a daemon that all its interfaces share: start, end, and messages to the service manager."""

    stop: asyncio.Event
    """Set when the daemon is to end."""
    alone: bool
    """The daemon has one interface. A later fault of it ends the daemon, for a service manager to start it anew."""

    async def prepared(self) -> None:
        """Wait until all interfaces are prepared. No interface captures before, since its packets would wait."""

    def ready(self, interface: str, about: GatewayStatus) -> None:
        """The gateway can answer knocks on this interface. Called again after each change of the interface."""

    def alive(self, interface: str) -> None:
        """The interface's loop runs, or it waits for its interface."""


class Service:
    """The gateway on one interface. Registry, feed and counters outlive a change of the interface."""

    def __init__(self, interface: str, config: Config, store: Store, supervisor: Supervisor) -> None:
        self._interface = interface
        self._config = config
        self._store = store
        self._supervisor = supervisor
        self._stop = supervisor.stop
        self._metrics = Metrics()
        self._about: GatewayStatus | None = None
        """The part of the status that stays the same while an interface is served; None before the first interface."""
        self._loop: Loop | None = None
        self._deaf: DeafWatch | None = None
        self._drains = False
        self._inside = None if config.health.target is None else Inside(config.health.target, config.health)
        self.drain_on_stop = float(config.fleet.drain_on_stop)
        self.feed = FeedHub()

    async def run(self, undo: ExitStack) -> None:
        """Serve until `supervisor.stop` is set. When the interface changes, start over with the changed interface.

        `undo` takes back what the first start has made, if that start fails. Raises ConfigError, DeviceError,
        CaptureError if the first start fails.
        """
        inside = None if self._inside is None else asyncio.create_task(self._inside.run())
        try:
            await self._round(undo, first=True)
            while await self._until_there():
                with ExitStack() as again:
                    await self._round(again, first=False)
        finally:
            if inside is not None:
                inside.cancel()

    async def _round(self, undo: ExitStack, *, first: bool) -> None:
        with ExitStack() as stack:
            try:
                await _to_its_end(self._prepare, stack, undo)
                if first:
                    await self._supervisor.prepared()
                await _to_its_end(self._capture, stack)
                if not first:
                    undo.pop_all()  # from now on the interface stays
                await self._serve_until_changed()
            except Exception as error:
                if self._about is None:
                    raise  # the interface never worked, so this is a mistake to report, not a change to follow
                if isinstance(error, DeviceError):
                    log.warning("interface is not to be used", interface=self._interface, error=str(error))
                elif self._supervisor.alone:
                    raise
                else:  # start over, so that the other interfaces go on
                    told = str(error) if isinstance(error, WgjitError) else without_keys(repr(error))
                    frames = "".join(traceback.format_tb(error.__traceback__))
                    log.error("gateway starts over", interface=self._interface, error=told, traceback=frames)
                    await self._pause()
            finally:
                self._loop = None

    def _prepare(self, stack: ExitStack, undo: ExitStack) -> None:
        """Make or open the interface and read its residents. All long work comes before the capture, since packets may
        wait once the capture is open."""
        if not interface_exists(self._interface):
            _make(self._interface, self._config)
            undo.callback(delete_interface, self._interface)
        self._device = stack.enter_context(closing(open_device(self._interface)))
        self._info = self._device.info()
        self._responder = _responder(self._info)
        self._injector = stack.enter_context(closing(ReplayInjector()))
        is_fleet = self._store.fleet is not None
        self._confirmations = _open_confirmations(self._interface, stack) if is_fleet else None
        self._restraint = _open_restraint(self._info, self._config.gateway.capacity, stack) if is_fleet else None
        self._routes = _open_routes(self._info, self._config, stack)
        self._strays = _open_strays(self._info, self._config, stack) if is_fleet else None
        began = time.monotonic()
        self._residents = DeviceRead(began, list(self._device.peers()))

    def _capture(self, stack: ExitStack) -> None:
        """Open the capture and make the loop."""
        capture, choice = _open_capture(self._interface, self._config, self._info)
        stack.enter_context(closing(capture))
        log.info("delivery", delivery=choice.delivery.value, backend=choice.backend, why=choice.why)
        settings = core_settings(
            self._config, choice.delivery, store_is_local=self._store.is_local, fleet=self._store.fleet is not None
        )
        self._loop = Loop(
            Gateway(self._responder, settings),
            self._device,
            capture,
            self._injector,
            self._store,
            self.feed,
            self._metrics,
            lambda: self._supervisor.alive(self._interface),
            self._confirmations,
            self._restraint,
            self._routes,
            self._strays,
            self._info.fwmark,
        )
        self._loop.drains_at_first = self._drains
        self._about = GatewayStatus(
            interface=self._interface,
            public_key=str(self._responder.public_key),
            listen_port=self._info.listen_port,
            delivery=choice.delivery.value,
            delivery_why=choice.why,
            store=str(self._config.store.url or self._config.store_path(self._interface)),
            process=os.getpid(),
        )

    async def _serve_until_changed(self) -> None:
        """Serve until the daemon is to end or the interface has changed. Raises any error that ends the loop."""
        assert self._loop is not None
        serving = asyncio.create_task(self._loop.run(self._residents))
        self._deaf = DeafWatch(self._interface, self._info.listen_port)
        deaf = asyncio.create_task(self._deaf.run())
        others = {asyncio.create_task(self._stop.wait()), asyncio.create_task(until_changed(self._device, self._info))}
        try:
            await asyncio.sleep(0)  # the loop takes over its residents and begins to read packets
            self._supervisor.ready(self._interface, await self.status())
            await asyncio.wait({serving, *others}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (serving, deaf, *others):
                task.cancel()
            results = await asyncio.gather(serving, deaf, *others, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def _until_there(self) -> bool:
        """Wait until there is an interface to serve; False if the daemon is to end first."""
        while not self._stop.is_set():
            self._supervisor.alive(self._interface)
            if self._config.interface.private_key_file and not interface_exists(self._interface):
                return True  # wgjit makes the interface
            with suppress(DeviceError), closing(open_device(self._interface)) as device:
                info = device.info()
                if info.private_key and info.listen_port:
                    return True
            await self._pause()
        return False

    async def _pause(self) -> None:
        """Wait until the next look at the interface, or until the daemon is to end."""
        self._supervisor.alive(self._interface)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), INTERVAL)

    # --- leave and come back ------------------------------------------------------------------------------------

    def set_draining(self, drains: bool) -> None:
        """Drain, or serve as before, also after a change of the interface.

        Raises NotInFleet: nobody would tell that another gateway serves a client.
        """
        if self._store.fleet is None:
            raise NotInFleet(
                "this gateway is in no fleet, so no other gateway takes its clients over; a fleet "
                "shares a registry in PostgreSQL (store.url)"
            )
        if drains != self._drains:
            log.info("draining" if drains else "serves again", interface=self._interface, clients=self.left())
        self._drains = drains
        if self._loop is not None:
            self._loop.set_draining(drains)

    def left(self) -> int:
        """Number of clients that a drain waits for."""
        return 0 if self._loop is None else self._loop.left

    def others(self) -> int:
        """Number of other gateways of the fleet that live and do not drain, as far as is known."""
        return 0 if self._loop is None else self._loop.others

    async def drain(self) -> AsyncIterator[Mapping[str, Any]]:
        """Drain. Gives how far that is, at once and then every `PROGRESS` seconds, until it is over. Raises
        NotInFleet."""
        self.set_draining(True)
        while True:
            left = self.left()
            yield {"draining": self._drains, "left": left, "others": self.others()}
            if not left or not self._drains:
                return
            await asyncio.sleep(PROGRESS)

    async def undrain(self) -> AsyncIterator[Mapping[str, Any]]:
        """Serve as before. Raises NotInFleet."""
        self.set_draining(False)
        yield {"draining": False, "left": self.left(), "others": self.others()}

    async def health(self) -> AsyncIterator[Mapping[str, Any]]:
        """Whether the gateway is fit to serve clients: one answer."""
        yield self._health().as_dict()

    def _health(self) -> Health:
        if self._loop is None:
            return Health(self._interface, {"interface": "the gateway does not serve it yet"})
        failing = self._loop.failing(self._interface, self._config.health)
        if self._inside is not None and (why := self._inside.trouble()) is not None:
            failing["inside"] = why
        if self._deaf is not None and self._deaf.why is not None:
            failing["port"] = self._deaf.why
        if self._drains:
            failing["draining"] = f"{self.left()} clients are left"
        return Health(self._interface, failing)

    async def status(self) -> GatewayStatus:
        """The status that `wgjit status` shows."""
        about = self._about or GatewayStatus(interface=self._interface)
        about = replace(about, unhealthy=self._health().failing or None)
        if self._loop is None:
            return replace(about, waiting_for="the interface", log_lines_lost=lost_lines())
        return replace(await self._loop.status(about), log_lines_lost=lost_lines())


async def _to_its_end(function: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
    """Call a function on a thread, so that other interfaces are served meanwhile. Wait for its end even if cancelled,
    since everything that it makes must be known to be taken back."""
    call = asyncio.ensure_future(asyncio.to_thread(function, *args, **kwargs))
    try:
        await asyncio.shield(call)
    except asyncio.CancelledError:
        await asyncio.wait({call})
        raise


def _make(interface: str, config: Config) -> None:
    wanted = config.interface
    if wanted.private_key_file is None:
        raise ConfigError(
            "there is no such interface; to let wgjit make it, give a configuration file with "
            "interface.private_key_file and interface.addresses",
            field=interface,
        )
    key = read_private_key(wanted.private_key_file)
    backend = create_interface(
        interface,
        addresses=[str(address) for address in wanted.addresses],
        routes=[str(route) for route in wanted.routes],
        mtu=wanted.mtu,
        backend=wanted.backend,
    )
    try:
        with closing(open_device(interface)) as device:
            device.set_interface(private_key=key.reveal(), listen_port=wanted.listen_port)
    except DeviceError:
        delete_interface(interface)
        raise
    log.info("interface made", interface=interface, backend=backend)


def _open_confirmations(interface: str, stack: ExitStack) -> Confirmations | None:
    """What sees awaited data on the interface. Without it, looks at the device confirm sessions."""
    try:
        return stack.enter_context(closing(PacketConfirmations(interface)))
    except (CaptureError, NotPermitted) as error:
        log.warning(
            "the first data of a session cannot be seen: a client that moves is noticed some seconds later",
            interface=interface,
            why=str(error),
        )
        return None


def _open_restraint(info: DeviceInfo, capacity: int, stack: ExitStack) -> Restraint | None:
    """What keeps WireGuard from calling back clients that have moved. Without it such clients take longer to move."""
    try:
        return stack.enter_context(closing(NftRestraint(info.name, info.listen_port, 2 * capacity)))
    except (CaptureError, NotPermitted) as error:
        log.warning(
            "a client that a route has moved to another gateway may be called back, or not be served for two minutes",
            interface=info.name,
            do="let wgjit use nftables: install nft, and have the kernel's nf_tables",
            why=str(error),
        )
        return None


def _open_routes(info: DeviceInfo, config: Config, stack: ExitStack) -> Routes | None:
    """What puts routes for residents into the kernel, if it is to. Raises RouteError: the operator has asked for it."""
    wanted = config.routes
    if wanted.mode == "off":
        return None
    return stack.enter_context(closing(KernelRoutes(info.index, wanted.table, wanted.protocol)))


def _open_strays(info: DeviceInfo, config: Config, stack: ExitStack) -> StrayWatch | None:
    """What notices clients that the network has led here from another gateway. Without it they knock after 15 s."""
    addresses = [str(address) for address in config.takeover.addresses]
    if not addresses:
        return None
    try:
        return stack.enter_context(closing(NftStrays(info.name, info.listen_port, addresses)))
    except (CaptureError, NotPermitted) as error:
        log.warning(
            "takeover.addresses has no effect: a client that the network has led here knocks by itself, after 15 s",
            interface=info.name,
            do="let wgjit use nftables: install nft, and have the kernel's nf_tables and nfnetlink_log",
            why=str(error),
        )
        return None


def _responder(info: DeviceInfo) -> Responder:
    if info.private_key is None:
        raise ConfigError(f"has no private key; set one: wg set {info.name} private-key FILE", field=info.name)
    if not info.listen_port:
        raise ConfigError(f"has no listen port; set one: wg set {info.name} listen-port 51820", field=info.name)
    return Responder(info.private_key)


def _open_capture(interface: str, config: Config, info: DeviceInfo) -> tuple[Capture, Choice]:
    """Open the capture for the configured delivery, or for the best delivery that works.

    To try hold, this opens the real queue: this asks the kernel for exactly what is needed, and costs no extra time.
    The trials of `wgjit doctor` in a throw-away namespace decide among the other deliveries.
    """
    wanted = None if config.gateway.delivery == "auto" else Delivery(config.gateway.delivery)
    failures = []
    for backend in ("nft", "xt") if wanted in (None, Delivery.HOLD) else ():
        try:
            capture = NfqueueCapture(
                interface,
                info.listen_port,
                backend=backend,
                max_length=config.gateway.queue_length,
                louder=config.gateway.source_rate / GatewaySettings().source_rate,
            )
        except NotPermitted:
            raise
        except CaptureError as error:
            failures.append(f"{backend}: {error}")
        else:
            return capture, hold_by(backend)
    reasons = "; ".join(failures)
    if wanted is Delivery.HOLD:
        raise CaptureError(f"delivery hold: cannot work here: {reasons}")
    choice = choose_delivery(examine(interface, info.listen_port), wanted, but_not=Delivery.HOLD)
    if failures:
        log.warning("hold does not work here", why=reasons)
    return PacketCapture(info.listen_port), choice

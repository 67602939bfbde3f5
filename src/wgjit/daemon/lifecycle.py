"""From nothing to a running gateway, and back, without touching a session.

Start: hold the interface's lock, open the registry, make the interface if it is not there, read its key and port,
take over residents, capture, serve. Nothing is held before it can be let go at once. End: stop capturing, write the
last claims. The interface and its sessions stay as they are.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from typing import Any

import structlog

from wgjit.config import Config, read_private_key
from wgjit.core.gateway import Gateway
from wgjit.core.settings import Settings
from wgjit.core.vocabulary import DeviceRead
from wgjit.daemon.control import ControlServer
from wgjit.daemon.doctor import Choice, choose_delivery, examine, hold_by
from wgjit.daemon.feed import FeedHub
from wgjit.daemon.lock import interface_lock
from wgjit.daemon.loop import Loop
from wgjit.daemon.metrics import Metrics
from wgjit.daemon.open_store import open_store
from wgjit.drivers.base import Capture
from wgjit.drivers.capture_nfqueue import NfqueueCapture
from wgjit.drivers.capture_packet import PacketCapture
from wgjit.drivers.device import open_device
from wgjit.drivers.inject import ReplayInjector
from wgjit.drivers.links import check_name, create_interface, delete_interface, interface_exists
from wgjit.errors import CaptureError, ConfigError, DeviceError, NoSuchDevice, NotPermitted
from wgjit.model import Delivery, DeviceInfo
from wgjit.notify import Notifier
from wgjit.stores.base import Store
from wgjit.wire.noise import Responder

log = structlog.get_logger()

SWITCH = 0.0005
"""Seconds after which a thread that reads a crowd of residents must let packets go first."""

LOOK_AT_INTERFACE = 2.0
"""Seconds between two looks at the interface's own key, port and existence."""


async def serve(interface: str, config: Config, ready: Callable[[dict[str, Any]], None] = lambda _: None) -> None:
    """Run the gateway on this interface until SIGTERM or SIGINT.

    `ready` is called once, with what the gateway says of itself, when the first knock can be answered. Raises
    GatewayRunning, ConfigError, DeviceError, StoreError, CaptureError if it cannot start; what it had made is then
    taken back. An interface that changes later (another key or port, deleted, made anew) is followed.
    """
    check_name(interface)
    sys.setswitchinterval(SWITCH)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):  # before anything is made that an end must take back
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with ExitStack() as stack:
        stack.enter_context(interface_lock(interface))
        store = stack.enter_context(closing(open_store(interface, config)))
        notifier = Notifier()
        gateway = _Service(interface, config, store, stop, notifier)
        async with ControlServer(interface, gateway.status, gateway.feed):
            try:
                await gateway.run(ready)
            finally:
                notifier.stopping("ending; sessions stay")
    log.info("ended", sessions="stay")


class _Service:
    """What outlives a change of the interface: the registry, the feed, the counters."""

    def __init__(self, interface: str, config: Config, store: Store, stop: asyncio.Event, notifier: Notifier) -> None:
        self._notifier = notifier
        self._interface = interface
        self._config = config
        self._store = store
        self._stop = stop
        self._metrics = Metrics()
        self._about: dict[str, Any] = {}
        self._loop: Loop | None = None
        self.feed = FeedHub()

    async def run(self, ready: Callable[[dict[str, Any]], None]) -> None:
        """Serve; when the interface turns out to be another than it was, start over with the new one."""
        while not self._stop.is_set():
            with ExitStack() as stack:
                try:
                    await self._start(stack)
                    await self._serve_until_changed(ready)
                except DeviceError as error:
                    if not self._about:
                        raise  # it never worked: a mistake to be told, not a change to be followed
                    log.warning("interface is not to be used", interface=self._interface, error=str(error))
                finally:
                    self._loop = None
            ready = _no_more
            await self._until_there()

    async def _start(self, stack: ExitStack) -> None:
        """From the interface to a loop with its residents and a capture; undone if one step fails."""
        with ExitStack() as undo:
            if not interface_exists(self._interface):
                _make(self._interface, self._config)
                undo.callback(delete_interface, self._interface)
            device = stack.enter_context(closing(open_device(self._interface)))
            self._device, self._info = device, device.info()
            responder = _responder(self._info)
            injector = stack.enter_context(closing(ReplayInjector()))
            # Whatever takes long comes before the capture: from then on packets may wait for us.
            began = time.monotonic()
            self._residents = DeviceRead(began, await asyncio.to_thread(lambda: list(device.peers())))
            capture, choice = _open_capture(self._interface, self._config, self._info)
            stack.enter_context(closing(capture))
            log.info("delivery", delivery=choice.delivery.value, backend=choice.backend, why=choice.why)
            undo.pop_all()  # from here on the interface stays
        settings = Settings(
            gateway=self._config.gateway.name,
            delivery=choice.delivery,
            store_is_local=self._store.is_local,
            hold_deadline=self._config.gateway.hold_deadline,
            max_skew=self._config.gateway.max_clock_skew,
            exchanges=self._config.gateway.exchange_rate,
            source_rate=self._config.gateway.source_rate,
            idle_timeout=self._config.gateway.idle_timeout,
            unconfirmed_timeout=self._config.gateway.unconfirmed_timeout,
            capacity=self._config.gateway.capacity,
            exclusive=self._config.gateway.exclusive,
        )
        gateway = Gateway(responder, settings)
        loop = Loop(gateway, device, capture, injector, self._store, self.feed, self._metrics, self._notifier.alive)
        self._loop = loop
        self._about = {
            "interface": self._interface,
            "public_key": str(responder.public_key),
            "listen_port": self._info.listen_port,
            "delivery": choice.delivery.value,
            "delivery_why": choice.why,
            "store": str(self._config.store_path(self._interface)),
            "process": os.getpid(),
        }

    async def _serve_until_changed(self, ready: Callable[[dict[str, Any]], None]) -> None:
        """Serve until the end is asked for or the interface is not what it was; raises what ended it otherwise."""
        assert self._loop is not None
        serving = asyncio.create_task(self._loop.run(self._residents))
        others = {asyncio.create_task(self._stop.wait()), asyncio.create_task(self._interface_changes())}
        await asyncio.sleep(0)  # the loop takes its residents over and reads packets
        ready(await self.status())
        self._notifier.ready(f"port {self._info.listen_port}, delivery {self._about['delivery']}")
        await asyncio.wait({serving, *others}, return_when=asyncio.FIRST_COMPLETED)
        for task in (serving, *others):
            task.cancel()
        results = await asyncio.gather(serving, *others, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def _interface_changes(self) -> None:
        """Return when the interface has another key or port, or is another interface of the same name, or none."""
        while True:
            await asyncio.sleep(LOOK_AT_INTERFACE)
            try:
                now = await asyncio.to_thread(self._device.info)
            except NoSuchDevice:
                log.warning("interface is gone", interface=self._interface)
                return
            except DeviceError as error:  # it may pass; what is served is served
                log.debug("interface cannot be read", error=str(error))
                continue
            if now != self._info:
                log.warning("interface has changed", interface=self._interface, listen_port=now.listen_port)
                return

    async def _until_there(self) -> None:
        """Wait until there is an interface to serve, or the end is asked for."""
        while not self._stop.is_set():
            self._notifier.alive()
            if self._config.interface.private_key_file and not interface_exists(self._interface):
                return  # it is ours to make
            with suppress(DeviceError), closing(open_device(self._interface)) as device:
                info = device.info()
                if info.private_key and info.listen_port:
                    return
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), LOOK_AT_INTERFACE)

    async def status(self) -> dict[str, Any]:
        """What `wgjit status` tells."""
        if self._loop is None:
            return {**self._about, "interface": self._interface, "residents": 0, "waiting_for": "the interface"}
        return self._about | await self._loop.status()


def _no_more(_about: dict[str, Any]) -> None:
    """Readiness is told once."""


def _make(interface: str, config: Config) -> None:
    wanted = config.interface
    if wanted.private_key_file is None:
        raise ConfigError(
            f"{interface}: there is no such interface; to let wgjit make it, give a configuration file with "
            "interface.private_key_file and interface.addresses"
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


def _responder(info: DeviceInfo) -> Responder:
    if info.private_key is None:
        raise ConfigError(f"{info.name}: has no private key; set one: wg set {info.name} private-key FILE")
    if not info.listen_port:
        raise ConfigError(f"{info.name}: has no listen port; set one: wg set {info.name} listen-port 51820")
    return Responder(info.private_key)


def _open_capture(interface: str, config: Config, info: DeviceInfo) -> tuple[Capture, Choice]:
    """The capture for the delivery that is wanted, or the best that works.

    For hold, opening the real queue is the trial: it asks the kernel for exactly what is needed, and costs a start
    nothing. What is tried for `wgjit doctor` in a throw-away namespace decides among the rest.
    """
    wanted = None if config.gateway.delivery == "auto" else Delivery(config.gateway.delivery)
    failures = []
    for backend in ("nft", "xt") if wanted in (None, Delivery.HOLD) else ():
        try:
            capture = NfqueueCapture(
                interface, info.listen_port, backend=backend, max_length=config.gateway.queue_length
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

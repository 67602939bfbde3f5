"""From nothing to a running gateway, and back, without touching a session.

Start: hold the interface's lock, make the interface if it is not there, read its key and port, open the registry,
choose the delivery, capture, take over residents, serve. End: stop capturing, write the last claims. The interface
and its sessions stay as they are.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import structlog

from wgjit.core.gateway import Gateway, Settings
from wgjit.daemon.config import STATE_FOLDER, Config, read_private_key
from wgjit.daemon.control import ControlServer
from wgjit.daemon.doctor import Choice, choose_delivery, examine, hold_by
from wgjit.daemon.feed import FeedHub
from wgjit.daemon.lock import interface_lock
from wgjit.daemon.loop import Loop
from wgjit.daemon.metrics import Metrics
from wgjit.drivers.base import Capture, Device
from wgjit.drivers.capture_nfqueue import NfqueueCapture
from wgjit.drivers.capture_packet import PacketCapture
from wgjit.drivers.device import open_device
from wgjit.drivers.inject import ReplayInjector
from wgjit.drivers.links import create_interface, delete_interface, interface_exists
from wgjit.errors import CaptureError, ConfigError, DeviceError, NotPermitted
from wgjit.model import Delivery, DeviceInfo
from wgjit.stores.base import Store
from wgjit.stores.sqlite import SqliteRegistry
from wgjit.wire.noise import Responder

log = structlog.get_logger()


async def serve(interface: str, config: Config, ready: Callable[[dict[str, Any]], None] | None = None) -> None:
    """Run the gateway on this interface until SIGTERM or SIGINT.

    `ready` is called once, with what the gateway says of itself, when the first knock can be answered. Raises
    GatewayRunning, ConfigError, DeviceError, StoreError, CaptureError if it cannot start.
    """
    with ExitStack() as stack:
        stack.enter_context(interface_lock(interface))
        device = stack.enter_context(_device(interface, config))
        info = device.info()
        responder = _responder(info)
        store = stack.enter_context(closing(_open_store(config.store_path(interface))))
        capture, choice = _open_capture(interface, config, info)
        stack.enter_context(closing(capture))
        log.info("delivery", delivery=choice.delivery.value, backend=choice.backend, why=choice.why)
        injector = stack.enter_context(closing(ReplayInjector()))

        settings = Settings(
            gateway=config.gateway.name,
            delivery=choice.delivery,
            store_is_local=store.is_local,
            hold_deadline=config.gateway.hold_deadline,
            max_skew=config.gateway.max_clock_skew,
        )
        gateway, feed, metrics = Gateway(responder, settings), FeedHub(), Metrics()
        loop = Loop(gateway, device, capture, injector, store, feed, metrics)
        about = {
            "interface": interface,
            "public_key": str(responder.public_key),
            "listen_port": info.listen_port,
            "delivery": choice.delivery.value,
            "delivery_why": choice.why,
            "store": str(config.store_path(interface)),
            "process": os.getpid(),
        }
        async with ControlServer(interface, lambda: about | loop.status(), feed):
            await _until_signal(loop, lambda: ready(about | loop.status()) if ready else None)


async def _until_signal(loop: Loop, ready: Callable[[], None]) -> None:
    stop = asyncio.Event()
    running = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        running.add_signal_handler(number, stop.set)
    serving = asyncio.create_task(loop.run())
    stopping = asyncio.create_task(stop.wait())
    started = asyncio.create_task(loop.started.wait())
    started.add_done_callback(lambda task: None if task.cancelled() else ready())
    try:
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (serving, stopping, started):
            task.cancel()
        await asyncio.gather(stopping, started, return_exceptions=True)
        try:
            await serving  # gives the error that ended it, if one did
        except asyncio.CancelledError:
            log.info("ended", sessions="stay")


@contextmanager
def _device(interface: str, config: Config) -> Iterator[Device]:
    """The interface as it stands, or a new one; a new one that cannot be set up is taken away again."""
    if interface_exists(interface):
        device = open_device(interface)
        log.info("interface is used as it stands", interface=interface)
    else:
        device = _make(interface, config)
    with closing(device):
        yield device


def _make(interface: str, config: Config) -> Device:
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
        device = open_device(interface)
        device.set_interface(private_key=key.reveal(), listen_port=wanted.listen_port)
    except DeviceError:
        delete_interface(interface)
        raise
    log.info("interface made", interface=interface, backend=backend)
    return device


def _responder(info: DeviceInfo) -> Responder:
    if info.private_key is None:
        raise ConfigError(f"{info.name}: has no private key; set one: wg set {info.name} private-key FILE")
    if not info.listen_port:
        raise ConfigError(f"{info.name}: has no listen port; set one: wg set {info.name} listen-port 51820")
    return Responder(info.private_key)


def _open_store(path: Path) -> Store:
    if path.parent == STATE_FOLDER:
        STATE_FOLDER.mkdir(mode=0o700, parents=True, exist_ok=True)
    return SqliteRegistry(path)


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

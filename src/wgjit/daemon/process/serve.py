"""The daemon: a gateway on each of its interfaces, in one process, on one asyncio loop.

The gateways start and end together. If one cannot start, none starts, and everything that was made is taken back. While
they run, each gateway follows its own interface, and none ends because of another. The loop gives each capture its
turn, for one batch of packets (`loop.BATCH`) at most.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, closing, contextmanager

import structlog

from wgjit.config import Config
from wgjit.control.status import GatewayStatus
from wgjit.daemon.control import ControlServer
from wgjit.daemon.leaving.ending import Ending
from wgjit.daemon.lifecycle import Service
from wgjit.daemon.open_store import open_store
from wgjit.daemon.process.lock import interface_lock
from wgjit.daemon.process.signals import handle_signals, on_a_terminal
from wgjit.drivers.wireguard.interface import check_name
from wgjit.errors import WgjitError
from wgjit.notify import Notifier

log = structlog.get_logger()

SWITCH = 0.0005
"""Seconds after which a thread that reads many residents must let the loop handle packets (`sys.setswitchinterval`)."""


async def serve(interfaces: Mapping[str, Config], ready: Callable[[GatewayStatus], None] = lambda _: None) -> None:
    """Run a gateway on each interface until SIGTERM or SIGINT. At SIGTERM a gateway may drain first (`Ending`).

    When all gateways can answer knocks, `ready` is called once for each, in order, with its status. A gateway follows
    later changes of its interface (another key or port, deleted, made anew). Raises GatewayRunning, ConfigError,
    DeviceError, StoreError, CaptureError if a gateway cannot start; everything that was made is then taken back.
    """
    for interface in interfaces:
        check_name(interface)
    sys.setswitchinterval(SWITCH)
    stop = asyncio.Event()
    notifier = Notifier()
    services: dict[str, Service] = {}
    ending = Ending(stop, notifier, services)
    # Before the daemon makes anything that it must take back.
    handle_signals(asyncio.get_running_loop(), ending.asked, stop.set, terminal=on_a_terminal())
    async with AsyncExitStack() as stack:
        undo = stack.enter_context(ExitStack())
        supervisor = DaemonSupervisor(list(interfaces), stop, notifier, ready, undo)
        for interface, config in interfaces.items():
            with _named(interface, supervisor.alone):
                stack.enter_context(interface_lock(interface))
                store = stack.enter_context(closing(open_store(interface, config)))
                if store.fleet is not None:
                    await asyncio.to_thread(store.fleet.start)
                services[interface] = service = Service(interface, config, store, supervisor)
                verbs = {"health": service.health, "drain": service.drain, "undrain": service.undrain}
                await stack.enter_async_context(ControlServer(interface, service.status, service.feed, verbs))
        try:
            async with asyncio.TaskGroup() as group:
                for interface, service in services.items():
                    group.create_task(_run(interface, service, undo, supervisor.alone), name=interface)
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        finally:
            notifier.stopping("ending; sessions stay")
    log.info("ended", sessions="stay")


async def _run(interface: str, service: Service, undo: ExitStack, alone: bool) -> None:
    if not alone:
        structlog.contextvars.bind_contextvars(interface=interface)  # for this task and the tasks that it starts
    with _named(interface, alone):
        await service.run(undo)


@contextmanager
def _named(interface: str, alone: bool) -> Iterator[None]:
    """Add the interface's name to an error if there are several interfaces."""
    try:
        yield
    except WgjitError as error:
        if not alone and error.field != interface:
            error.text = f"{interface}: {error.told}"
            error.field = None
        raise


class DaemonSupervisor:
    """The part of a daemon that all its interfaces share; see `lifecycle.Supervisor`."""

    def __init__(
        self,
        interfaces: list[str],
        stop: asyncio.Event,
        notifier: Notifier,
        ready: Callable[[GatewayStatus], None],
        undo: ExitStack,
    ) -> None:
        """`undo` takes back what a failed start has made. It is emptied once all interfaces are ready."""
        self.stop = stop
        self.alone = len(interfaces) == 1
        self._interfaces = interfaces
        self._notifier = notifier
        self._tell = ready
        self._undo = undo
        self._told = False
        self._barrier = asyncio.Barrier(len(interfaces))
        self._about: dict[str, GatewayStatus] = {}
        self._beaten: set[str] = set()

    async def prepared(self) -> None:
        """Wait until all interfaces have called this."""
        await self._barrier.wait()

    def ready(self, interface: str, about: GatewayStatus) -> None:
        """Once all interfaces are ready, report each, in order. The service manager is told of later changes, too."""
        self._about[interface] = about
        if len(self._about) < len(self._interfaces):
            return
        if not self._told:
            self._told = True
            self._undo.pop_all()  # from now on the interfaces stay
            for name in self._interfaces:
                self._tell(self._about[name])
        self._notifier.ready("; ".join(self._line(name) for name in self._interfaces))

    def _line(self, interface: str) -> str:
        about = self._about[interface]
        name = "" if self.alone else f"{interface}: "
        return f"{name}port {about.listen_port}, delivery {about.delivery}"

    def alive(self, interface: str) -> None:
        """Tell the service manager once all interfaces are alive, so that it notices a single stuck interface."""
        self._beaten.add(interface)
        if len(self._beaten) == len(self._interfaces):
            self._beaten.clear()
            self._notifier.alive()

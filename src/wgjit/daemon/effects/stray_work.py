"""The effects of a gateway that takes over clients which the network leads here: the watch for strays, and its filling.

The watch has to have the endpoints of all peers that other gateways hold, as many as the fleet has sessions. They come
from the replica, some at a time, on a thread: all at the start, then what is heard. What has become outdated meanwhile
stays in the watch and does no harm, until the watch is filled anew.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import structlog

from wgjit.core.settings import Settings
from wgjit.core.vocabulary.commands import FindHolders, NoStray, StrayAgain
from wgjit.core.vocabulary.events import Event, HoldersFound, Stray
from wgjit.core.vocabulary.told import Takeover
from wgjit.daemon.faults import Faults
from wgjit.drivers.base import StrayWatch
from wgjit.drivers.strays.source import source_to
from wgjit.errors import CaptureError, StoreError, WgjitError
from wgjit.model import Holding, PublicKey
from wgjit.refusal import Refusal
from wgjit.stores.base import Store

log = structlog.get_logger()

PAGE = 1000
"""Endpoints that are read from the replica at a time, which takes a millisecond or two."""

PAUSE = 0.005
"""Seconds between two pages. So the filling takes at most a part of the machine's time, and knocks are looked up in
between."""

FRESH = 10_000
"""The watch is filled anew when more endpoints than this, and than half of all, have come since it was filled."""


class StrayWork:
    """The effects of one gateway. Without a watch it does nothing."""

    def __init__(
        self,
        store: Store,
        watch: StrayWatch | None,
        faults: Faults,
        hear: Callable[[Iterable[Event]], None],
        settings: Settings,
        fwmark: int = 0,
    ) -> None:
        """`hear` takes events for the core. `settings`: the core's. `fwmark`: of the interface's packets."""
        self._store = store
        self._watch = watch
        self._faults = faults
        self._hear = hear
        self._gateway, self._shared = settings.gateway, settings.shared
        self._fwmark = fwmark
        self._services: dict[str, frozenset[bytes]] = {}
        """The packed service addresses of the other gateways, by name."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="wgjit-strays")
        self._ending = threading.Event()
        self._filled = self._since = 0
        """Endpoints that the last filling has put in, and those that have come since."""
        self._filling = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._told: set[Takeover] = set()
        self._context = structlog.contextvars.get_contextvars()

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Serve on this loop."""
        self._loop = loop
        if self._watch is not None:
            loop.add_reader(self._watch.fileno(), self._strays_came)

    def end(self, loop: asyncio.AbstractEventLoop) -> None:
        """Stop serving. Waits for the page that is being put in."""
        if self._watch is not None:
            loop.remove_reader(self._watch.fileno())
        self._ending.set()
        self._thread.shutdown(wait=True, cancel_futures=True)

    # --- the watch is filled ------------------------------------------------------------------------------------

    def fill(self) -> None:
        """Fill the watch from the replica, unless that is being done."""
        if self._watch is not None and not self._filling and not self._ending.is_set():
            self._filling = True
            self._thread.submit(self._fill, self._watch)

    def heard(self, holdings: Iterable[Holding]) -> None:
        """Other gateways have said what they hold. Called on the registry's thread."""
        if self._watch is None or self._ending.is_set():
            return
        others = [one for one in holdings if one.gateway != self._gateway]
        held = [one.endpoint for one in others if one.until is None]
        left = [one.endpoint for one in others if one.until is not None]
        watch = self._watch
        if left:
            self._thread.submit(self._do, lambda: watch.forget(left))
        if held:
            self._since += len(held)
            self._thread.submit(self._do, lambda: watch.put_anew(held))

    def no_stray(self, command: NoStray) -> None:
        """Data from these endpoints is of this gateway's own peers."""
        if (watch := self._watch) is not None and not self._ending.is_set():
            self._thread.submit(self._do, lambda: watch.forget(command.endpoints))

    def again(self, command: StrayAgain) -> None:
        """Data from these endpoints is to be reported again."""
        if (watch := self._watch) is not None and not self._ending.is_set():
            self._thread.submit(self._do, lambda: watch.put_anew(command.endpoints))

    def beat(self) -> None:
        """Once a second: keep the watch in force, and learn who shares which addresses."""
        fleet = self._store.fleet
        if self._watch is None or fleet is None or self._ending.is_set():
            return
        try:
            self._services = {
                other.name: frozenset(address.packed for address in other.service) for other in fleet.others()
            }
        except StoreError as error:
            self._faults.occurred("store", error)
        self._thread.submit(self._keep, self._watch)
        if self._filled and self._since > max(FRESH, self._filled // 2):
            self.fill()

    def _keep(self, watch: StrayWatch) -> None:
        refill = False

        def beat() -> None:
            nonlocal refill
            refill = watch.heartbeat()

        self._do(beat)
        if refill and self._loop is not None:
            self._loop.call_soon_threadsafe(self.fill)

    def _fill(self, watch: StrayWatch) -> None:
        """Put all endpoints in, page by page."""
        try:
            self._since = count = 0
            after: PublicKey | None = None
            fleet = self._store.fleet
            assert fleet is not None  # there is a watch
            watch.clear()
            while not self._ending.is_set():
                endpoints, after = fleet.held_elsewhere(after, PAGE)
                watch.put(endpoints)
                count += len(endpoints)
                if after is None:
                    break
                self._ending.wait(PAUSE)
            self._filled = count
        except (CaptureError, StoreError) as error:
            self._occurred(error)
            self._filled, self._since = 1, FRESH + 1  # with the next beat
        finally:
            self._filling = False

    def _do(self, act: Callable[[], None]) -> None:
        """Do something with the watch. A failure is a fault and no more."""
        try:
            act()
            self._call(self._faults.passed, "strays")
        except WgjitError as error:
            self._occurred(error)

    def _occurred(self, error: WgjitError) -> None:
        self._call(self._faults.occurred, "strays", error)

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        """Call a function on the loop's thread."""
        if self._loop is not None and not self._ending.is_set():
            self._loop.call_soon_threadsafe(function, *arguments)

    # --- strays -------------------------------------------------------------------------------------------------

    def _strays_came(self) -> None:
        assert self._watch is not None
        try:
            self._hear([Stray(source, destination) for source, destination in self._watch.read()])
        except WgjitError as error:
            self._faults.occurred("strays", error)

    def find_holders(self, command: FindHolders) -> HoldersFound:
        """The answer for the core: who is held at an endpoint, and from where this machine would call."""
        fleet = self._store.fleet
        endpoint = command.endpoint
        try:
            found = () if fleet is None else tuple(fleet.held_at(endpoint))
            source = source_to(endpoint, self._fwmark)
        except Exception as error:  # the core waits for an answer
            self._faults.occurred("store", error)
            return HoldersFound(endpoint, Refusal.STORE_FAILED)
        holding = found[0].holding if len(found) == 1 else None
        service = frozenset() if holding is None else self._services.get(holding.gateway, frozenset())
        return HoldersFound(endpoint, found, service, source)

    def tell(self, outcome: Takeover) -> None:
        """Log an outcome for which a person has to act, once."""
        if outcome in self._told:
            return
        self._told.add(outcome)
        if outcome is Takeover.WRONG_SOURCE:
            log.warning(
                "a client of another gateway was not taken over: it would be called from another address than the "
                "shared one",
                do="let the route by which clients are reached name the service address: ip route replace default via "
                "... src ADDRESS, or a table of its own with a rule for the interface's fwmark",
                **self._context,
            )
        elif outcome is Takeover.NOT_SHARED:
            log.warning(
                "a client of another gateway was not taken over: that gateway does not have this service address",
                do="give all gateways that share the address the same takeover.addresses",
                **self._context,
            )

    def figures(self) -> dict[str, Any] | None:
        """The state of the watch for the status; None without one."""
        if self._watch is None:
            return None
        counters = self._watch.counters()
        with_others = sorted(name for name, service in self._services.items() if service & self._shared)
        return {
            "shared_with": with_others,
            "known": counters.known,
            "seen": counters.seen,
            "lost": counters.lost,
            "filling": self._filling,
        }

"""The effects that only a gateway of a fleet has: awaited data, calls held back, questions to the registry of record.

A session is confirmed by the first packet that comes out of WireGuard from an awaited address. Without the driver that
sees such packets, the next look at the device confirms the session, a few seconds later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import islice
from typing import Any

import structlog

from wgjit.core.vocabulary.commands import AwaitData, SessionOver, SessionUp
from wgjit.core.vocabulary.events import Confirmed, Event
from wgjit.daemon.faults import Faults
from wgjit.drivers.base import Confirmations, Restraint
from wgjit.errors import StoreDeferred, StoreError, WgjitError
from wgjit.model import Endpoint, PublicKey
from wgjit.refusal import Refusal
from wgjit.stores.base import Fleet, Store

log = structlog.get_logger()

TOGETHER = 0.02
"""Seconds for which sessions are collected before the restraint is told of them."""

AT_ONCE = 32
"""Most sessions of which the restraint is told at once: that takes up to a millisecond, and a knock may wait for it."""


class FleetWork:
    """The effects of one gateway. Without a fleet it does nothing."""

    def __init__(
        self,
        store: Store,
        confirmations: Confirmations | None,
        restraint: Restraint | None,
        faults: Faults,
        hear: Callable[[Event], None],
    ) -> None:
        """`hear` takes an event for the core."""
        self._store = store
        self._confirmations = confirmations
        self._restraint = restraint
        self._sessions: dict[Endpoint, float] = {}
        """Seconds that the sessions with these endpoints last, 0 if they are over. The restraint is to be told."""
        self._telling: asyncio.TimerHandle | None = None
        self._faults = faults
        self._hear = hear
        self._loop: asyncio.AbstractEventLoop | None = None
        self._others: list[str] = []
        """Gateways with another private key, as they were last logged."""
        self._context = structlog.contextvars.get_contextvars()
        self._waiting = False
        """Something was awaited since the last flush."""

    def begin(self, loop: asyncio.AbstractEventLoop, news: Callable[[], None]) -> None:
        """Serve on this loop. `news` is called when the replica has something new."""
        self._loop = loop
        if self._confirmations is not None:
            loop.add_reader(self._confirmations.fileno(), self._data_came)
        if (fleet := self._store.fleet) is not None:
            loop.add_reader(fleet.fileno(), self._news_came, fleet, news)

    def end(self, loop: asyncio.AbstractEventLoop) -> None:
        """Stop serving."""
        self._loop = None
        if self._telling is not None:
            self._telling.cancel()
        if self._confirmations is not None:
            loop.remove_reader(self._confirmations.fileno())
        if self._store.fleet is not None:
            loop.remove_reader(self._store.fleet.fileno())

    def beat(self, residents: int, *, drains: bool) -> None:
        """Once a second: what the fleet has to know of this gateway, and what a person has to know of the fleet."""
        fleet = self._store.fleet
        if fleet is None:
            return
        fleet.set_residents(residents)
        fleet.set_draining(drains)
        if (trouble := fleet.trouble()) is not None:
            self._faults.occurred("record", trouble)
        else:
            self._faults.passed("record")
        self._restrain(lambda restraint: restraint.heartbeat())
        if (taken := fleet.name_taken()) is not None:
            self._faults.occurred("fleet", taken)
        else:
            self._faults.passed("fleet")
        if (others := fleet.other_keys()) != self._others:
            self._others = others
            if others:
                log.warning(
                    "gateways of this fleet have another private key: clients of one cannot connect to the other",
                    gateways=others,
                    do="give all gateways that share a registry the same private key",
                    **self._context,
                )

    @staticmethod
    def _news_came(fleet: Fleet, news: Callable[[], None]) -> None:
        if fleet.read():
            news()

    # --- data ---------------------------------------------------------------------------------------------------

    def await_data(self, command: AwaitData) -> None:
        """Await a peer's data, or await it no more, from the next `flush` on. That comes with this turn of the loop."""
        if self._confirmations is None:
            return
        try:
            if command.allowed_ips:
                self._confirmations.watch(command.key, command.allowed_ips)
            else:
                self._confirmations.forget(command.key)
        except WgjitError as error:
            self._faults.occurred("confirmations", error)
        if self._loop is not None and not self._waiting:
            self._waiting = True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Put what is awaited into effect."""
        if self._confirmations is None or not self._waiting:
            return
        self._waiting = False
        try:
            self._confirmations.flush()
            self._faults.passed("confirmations")
        except WgjitError as error:
            self._waiting = True  # with the next flush
            self._faults.occurred("confirmations", error)

    def _data_came(self) -> None:
        assert self._confirmations is not None
        try:
            keys = self._confirmations.read()
        except WgjitError as error:
            self._faults.occurred("confirmations", error)
            return
        if keys:
            self._hear(Confirmed(tuple(keys)))

    # --- calls that are held back -------------------------------------------------------------------------------

    def session_up(self, command: SessionUp) -> None:
        """Tell the restraint of a session, soon and together with others."""
        self._tell(command.endpoint, command.seconds)

    def session_over(self, command: SessionOver) -> None:
        """Tell the restraint that a session is over, soon and together with others; at once what it has yet to hear."""
        if command.at_once:
            if self._sessions.pop(command.endpoint, None) is not None:
                self._restrain(lambda restraint: restraint.forget([command.endpoint]))
        else:
            self._tell(command.endpoint, 0.0)

    def calls_held(self) -> int | None:
        """The number of calls that were held back; None if nothing holds them back."""
        return None if self._restraint is None else self._restraint.held()

    def _tell(self, endpoint: Endpoint, seconds: float) -> None:
        if self._restraint is None or self._loop is None:
            return
        self._sessions.pop(endpoint, None)  # what is told last is told at last
        self._sessions[endpoint] = seconds
        if self._telling is None:
            self._telling = self._loop.call_later(TOGETHER, self._tell_some)

    def _tell_some(self) -> None:
        assert self._loop is not None
        some = {endpoint: self._sessions.pop(endpoint) for endpoint in list(islice(self._sessions, AT_ONCE))}
        self._telling = self._loop.call_later(TOGETHER, self._tell_some) if self._sessions else None
        up = {endpoint: seconds for endpoint, seconds in some.items() if seconds}
        over = [endpoint for endpoint, seconds in some.items() if not seconds]
        if up:
            self._restrain(lambda restraint: restraint.put(up))
        if over:
            self._restrain(lambda restraint: restraint.forget(over))

    def _restrain(self, act: Callable[[Restraint], None]) -> None:
        """Do something with the restraint, if there is one. A failure is a fault and no more."""
        if self._restraint is None:
            return
        try:
            act(self._restraint)
            self._faults.passed("restraint")
        except WgjitError as error:
            self._faults.occurred("restraint", error)

    # --- the registry of record ---------------------------------------------------------------------------------

    def ask(self, key: PublicKey) -> Any:
        """The answer of the registry of record for the core. May wait; called on a thread.

        If it cannot be asked, the replica's word counts, unless the replica may lack registered peers.
        """
        fleet = self._store.fleet
        assert fleet is not None
        try:
            found = fleet.ask(key)
        except StoreDeferred:
            return Refusal.OVERLOADED if fleet.is_behind() else self._known(key)
        except Exception as error:
            self._faults.occurred("record", error)
            return Refusal.STORE_FAILED if fleet.is_behind() else self._known(key)
        return found

    def _known(self, key: PublicKey) -> Any:
        try:
            return self._store.lookup(key) or self._store.former(key)
        except StoreError as error:
            self._faults.occurred("store", error)
            return Refusal.STORE_FAILED

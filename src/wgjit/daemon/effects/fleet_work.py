"""The effects that only a gateway of a fleet has: data that is awaited, and questions to the registry of record.

A session is confirmed by the first packet that comes out of WireGuard from an awaited address. Without the driver that
sees such packets, the next look at the device confirms the session, a few seconds later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import structlog

from wgjit.core.vocabulary import AwaitData, Confirmed, Event
from wgjit.daemon.faults import Faults
from wgjit.drivers.base import Confirmations
from wgjit.errors import StoreDeferred, StoreError, WgjitError
from wgjit.model import PublicKey
from wgjit.refusal import Refusal
from wgjit.stores.base import Fleet, Store

log = structlog.get_logger()


class FleetWork:
    """The effects of one gateway. Without a fleet it does nothing."""

    def __init__(
        self, store: Store, confirmations: Confirmations | None, faults: Faults, hear: Callable[[Event], None]
    ) -> None:
        """`hear` takes an event for the core."""
        self._store = store
        self._confirmations = confirmations
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
        if self._confirmations is not None:
            loop.remove_reader(self._confirmations.fileno())
        if self._store.fleet is not None:
            loop.remove_reader(self._store.fleet.fileno())

    def beat(self, residents: int) -> None:
        """Once a second: what the fleet has to know of this gateway, and what a person has to know of the fleet."""
        fleet = self._store.fleet
        if fleet is None:
            return
        fleet.set_residents(residents)
        if (trouble := fleet.trouble()) is not None:
            self._faults.occurred("record", trouble)
        else:
            self._faults.passed("record")
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

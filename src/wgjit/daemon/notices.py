"""What the core has to say that no packet waits for: counted, and logged where a person has to do something."""

from __future__ import annotations

from collections import OrderedDict

import structlog

from wgjit.core.vocabulary import Came, Flipped, Left, PutBack, Sheltered
from wgjit.daemon.metrics import Metrics
from wgjit.model import PublicKey
from wgjit.refusal import Refusal

log = structlog.get_logger()

REMEMBERED = 4096
"""Peers of which it is known that they were told of."""

_STATES = {Refusal.UNKNOWN: "removed", Refusal.DISABLED: "disabled", Refusal.EXPIRED: "expired"}


class Notices:
    """Counts for `wgjit status`, and the log."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._told: OrderedDict[PublicKey, None] = OrderedDict()
        self._context = structlog.contextvars.get_contextvars()

    def came(self, command: Came) -> None:
        """A peer is in the device."""
        self._metrics.arrivals[command.how] += 1

    def left(self, command: Left) -> None:
        """A peer was taken out of the device."""
        self._metrics.departures[command.why] += 1
        log.debug("peer left the device", peer=str(command.key), why=command.why.value)

    def flipped(self, command: Flipped) -> None:
        """Something became of a flip."""
        self._metrics.flips[command.outcome] += 1
        log.debug("flip", peer=str(command.key), outcome=command.outcome.value)

    def sheltered(self, command: Sheltered) -> None:
        """Registered addresses are kept from peers that the registry does not know, or are no more."""
        if not command.peers:
            log.info("no peer is around registered addresses any more", **self._context)
            return
        log.warning(
            "peers that the registry does not know have prefixes around registered addresses: these are kept from them"
            + ("" if command.exact else ", and unregistered ones beside them, too, for there are too many to list"),
            peers=[str(key) for key in command.peers],
            kept=command.prefixes,
            **self._context,
        )

    def put_back(self, command: PutBack) -> None:
        """Another program put a revoked peer back; each peer is told of once, and counted each time."""
        self._metrics.put_back += 1
        if command.key in self._told:
            return
        self._told[command.key] = None
        if len(self._told) > REMEMBERED:
            self._told.popitem(last=False)
        log.warning(
            "another program put a revoked peer back onto the interface; it was taken off again",
            peer=str(command.key),
            name=command.name,
            registry=_STATES[command.why],
            who="not wgjit: WireGuard does not tell which program (wg set, wg syncconf, a reload of wg-quick)",
            do="take the peer out of that program's configuration, or register or enable it",
            **self._context,
        )

"""Commands of the core that only count or log something. No packet waits for them."""

from __future__ import annotations

from collections import OrderedDict

import structlog

from wgjit.core.vocabulary.commands import SayHolding, Sheltered
from wgjit.core.vocabulary.told import Came, Flipped, Left, LeftOut, NoRoute, NotCompleted, PinsAbsent, PutBack
from wgjit.daemon.metrics import Metrics
from wgjit.daemon.telling.clients import Clients
from wgjit.daemon.telling.troubles import Troubles
from wgjit.model import AllowedIP, PublicKey
from wgjit.record import FeedRecord
from wgjit.refusal import Refusal
from wgjit.wire.key_text import quoted

log = structlog.get_logger()

REMEMBERED = 4096
"""Most peers of which it is remembered that they were logged."""

_NO_ROUTE = {
    NoRoute.DEFAULT: "it is the default route, which would send all of this machine's traffic to the peer",
    NoRoute.ENDPOINT: "the peer's own endpoint is inside, so packets for the tunnel would go into the tunnel",
}
"""Those that are told; `COVERED` is what the settings ask for."""

_NOT_PINNED = {
    Refusal.CONFLICT: "conflict: take the peer that the registry does not know and that has such an address off the "
    "interface, or register it",
    Refusal.FULL: "full: raise gateway.capacity, or pin fewer peers",
    Refusal.DEVICE_FAILED: "device_failed: see the faults of the device in this log",
}
"""What to do about pinned peers that are not installed."""

_STATES = {Refusal.UNKNOWN: "removed", Refusal.DISABLED: "disabled", Refusal.EXPIRED: "expired"}


class Notices:
    """Counts for `wgjit status`, and logs events for which a person has to act."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self.clients = Clients()
        self.troubles = Troubles(metrics)
        self._told: OrderedDict[PublicKey, None] = OrderedDict()
        self._told_left_out: OrderedDict[tuple[PublicKey, AllowedIP], None] = OrderedDict()
        self._context = structlog.contextvars.get_contextvars()

    def saw(self, record: FeedRecord) -> None:
        """Count one initiation, and log it if there is something to say of its peer."""
        self._metrics.saw(record)
        self.clients.saw(record)
        if record.refusal is Refusal.RATE_LIMITED:
            self.troubles.over_source_rate(record.source)

    def refused(self, refusal: Refusal) -> None:
        """Count a packet that is no initiation."""
        self._metrics.refused(refusal)
        self.clients.refused(refusal)

    def not_completed(self, command: NotCompleted) -> None:
        """Log that a peer's handshakes are never completed: for itself, and as a trouble of the gateway."""
        self.clients.not_completed(command)
        self.troubles.not_completed(command)

    def beat(self) -> None:
        """Log what waits for its time. Call this each second."""
        self.clients.beat()
        self.troubles.beat()

    def came(self, command: Came) -> None:
        """Count a peer that became resident."""
        self._metrics.arrivals[command.how] += 1

    def left(self, command: Left) -> None:
        """Count and log a peer that was taken out of the device."""
        self._metrics.departures[command.why] += 1
        self.clients.left(command)

    def said(self, command: SayHolding) -> None:
        """Count a holding that is said to the fleet."""
        self._metrics.said[command.why] += 1
        log.debug("holding said", peer=str(command.holding.public_key), why=command.why.value)

    def left_out(self, command: LeftOut) -> None:
        """Log that a prefix of a held peer gets no route, once for each."""
        which = (command.key, command.prefix)
        if which in self._told_left_out:
            return
        self._told_left_out[which] = None
        if len(self._told_left_out) > REMEMBERED:
            self._told_left_out.popitem(last=False)
        log.warning(
            "a prefix of a peer gets no route",
            peer=str(command.key),
            prefix=str(command.prefix),
            why=_NO_ROUTE[command.why],
            do="register narrower prefixes for the peer, or route this prefix by hand",
            **self._context,
        )

    def flipped(self, command: Flipped) -> None:
        """Count the outcome of a flip."""
        self._metrics.flips[command.outcome] += 1
        log.debug("flip", peer=str(command.key), outcome=command.outcome.value)

    def sheltered(self, command: Sheltered) -> None:
        """Log that the placeholder keeps registered addresses from foreign peers, or that it need not any more."""
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

    def pins_absent(self, command: PinsAbsent) -> None:
        """Log how many pinned peers are not on the interface, and why; also that all are there again."""
        self._metrics.pins_absent = {why.value: number for why, number in command.counts.items()}
        if not command.counts:
            log.info("all pinned peers are on the interface", **self._context)
            return
        log.warning(
            "pinned peers are not on the interface; each is tried again every 2 s",
            peers=sum(command.counts.values()),
            why={why.value: number for why, number in command.counts.items()},
            do="; ".join(_NOT_PINNED[why] for why in command.counts),
            **self._context,
        )

    def put_back(self, command: PutBack) -> None:
        """Count that another program put a revoked peer back. Each peer is logged once."""
        self._metrics.put_back += 1
        if command.key in self._told:
            return
        self._told[command.key] = None
        if len(self._told) > REMEMBERED:
            self._told.popitem(last=False)
        log.warning(
            "another program put a revoked peer back onto the interface; it was taken off again",
            peer=str(command.key),
            name=None if command.name is None else quoted(command.name),
            registry=_STATES[command.why],
            who="not wgjit: WireGuard does not tell which program (wg set, wg syncconf, a reload of wg-quick)",
            do="take the peer out of that program's configuration, or register or enable it",
            **self._context,
        )

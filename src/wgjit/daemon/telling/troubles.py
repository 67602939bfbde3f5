"""Trouble that looks like health: the gateway serves, and yet something is wrong about it that only a person can mend.

Each trouble is told once with its count, a moment after it begins, and again when the count has changed, at most once
in `QUIET` seconds; its end is told, too. `wgjit status` has the counts since the start, and what was so lately.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import structlog

from wgjit.core.knock.admission import source_of
from wgjit.core.vocabulary.told import NotCompleted, Vanished
from wgjit.daemon.metrics import Metrics
from wgjit.daemon.telling.words import likely
from wgjit.drivers.base import CaptureCounters
from wgjit.model import Endpoint, PublicKey
from wgjit.wire.key_text import quoted

log = structlog.get_logger()

QUIET = 60.0
"""Seconds between two lines of one trouble."""

CALM = 600.0
"""Seconds without it after which a trouble is over."""

SOURCES = 256
"""Sources over their limit that are counted one by one between two lines."""

NAMED = 3
"""Peers or sources that a line names."""


class Trouble(StrEnum):
    """The name of a trouble in status and log."""

    RULES_GONE = "rules_gone"
    """Another program took the firewall's rules away; they were put back."""
    VANISHED = "vanished"
    """Another program took residents out of the device."""
    NEVER_COMPLETED = "never_completed"
    """A peer's initiations are proven one after the other, and no handshake is completed."""
    OVER_SOURCE_RATE = "over_source_rate"
    """A source sends more initiations than it may."""
    QUEUE_OVERRAN = "queue_overran"
    """Packets passed unseen, because the queue or the socket was full."""


@dataclass(slots=True)
class _Seen:
    """One trouble that goes on. Monotonic seconds."""

    last: float
    count: int = 0
    told: int = 0
    told_at: float = float("-inf")


class Troubles:
    """All troubles of one gateway. To note one is a few steps; `beat` tells."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._context = structlog.contextvars.get_contextvars()
        self._now: dict[Trouble, _Seen] = {}
        self._some: tuple[tuple[PublicKey, str | None], ...] = ()
        self._vain: OrderedDict[PublicKey, NotCompleted] = OrderedDict()
        """Peers whose handshakes are not completed; the one that was told of last is last."""
        self._sources: dict[bytes, int] = {}
        self._dropped = self._beyond = 0
        self._tell: dict[Trouble, Callable[[_Seen], None]] = {
            Trouble.RULES_GONE: self._tell_rules,
            Trouble.VANISHED: self._tell_vanished,
            Trouble.NEVER_COMPLETED: self._tell_never_completed,
            Trouble.OVER_SOURCE_RATE: self._tell_sources,
            Trouble.QUEUE_OVERRAN: self._tell_queue,
        }

    # --- what happens -------------------------------------------------------------------------------------------

    def rules_put_back(self) -> None:
        """The firewall's rules were gone, and are there again."""
        self._note(Trouble.RULES_GONE)

    def vanished(self, command: Vanished) -> None:
        """Another program took residents out of the device."""
        self._some = command.some
        self._note(Trouble.VANISHED, command.number)

    def not_completed(self, command: NotCompleted) -> None:
        """A peer's handshakes are not completed, or are again."""
        known = self._vain.pop(command.key, None)
        if not command.over:
            self._vain[command.key] = command
            self._note(Trouble.NEVER_COMPLETED, 0 if known else 1)

    def over_source_rate(self, source: Endpoint | None) -> None:
        """An initiation was refused because its source sends more than it may."""
        if source is not None:
            network = source_of(source.address)
            if network in self._sources or len(self._sources) < SOURCES:
                self._sources[network] = self._sources.get(network, 0) + 1
        self._note(Trouble.OVER_SOURCE_RATE)

    def counted(self, counters: CaptureCounters) -> None:
        """The capture's numbers since it was opened."""
        if counters.dropped > self._dropped:
            self._note(Trouble.QUEUE_OVERRAN, counters.dropped - self._dropped)
        if counters.beyond > self._beyond:
            self._note(Trouble.OVER_SOURCE_RATE, counters.beyond - self._beyond)
        self._dropped, self._beyond = counters.dropped, counters.beyond

    def _note(self, trouble: Trouble, number: int = 1) -> None:
        now = time.monotonic()
        seen = self._now.get(trouble)
        if seen is None:
            seen = self._now[trouble] = _Seen(now)
        seen.last = now
        seen.count += number
        self._metrics.troubles[trouble] += number

    # --- what is told -------------------------------------------------------------------------------------------

    def beat(self) -> None:
        """Log what is new about each trouble, and what is over. Call this each second."""
        now = time.monotonic()
        for trouble, seen in list(self._now.items()):
            if self._is_over(trouble, seen, now):
                del self._now[trouble]
                if seen.told:
                    log.info("trouble is over", trouble=trouble.value, count=seen.count, **self._context)
            elif seen.count > seen.told and now - seen.told_at >= QUIET:
                self._tell[trouble](seen)
                seen.told, seen.told_at = seen.count, now

    def _is_over(self, trouble: Trouble, seen: _Seen, now: float) -> bool:
        if trouble is Trouble.NEVER_COMPLETED:
            return not self._vain
        return now - seen.last >= CALM

    def lately(self) -> dict[str, str]:
        """The troubles that are not over, in a sentence each, for people."""
        now = time.monotonic()
        return {trouble.value: self._sentence(trouble, seen, now) for trouble, seen in self._now.items()}

    def _sentence(self, trouble: Trouble, seen: _Seen, now: float) -> str:
        ago = f"the last time {max(0, round(now - seen.last))} s ago"
        match trouble:
            case Trouble.RULES_GONE:
                return f"another program took the firewall's rules away, {_times(seen.count)}, {ago}; they are back"
            case Trouble.VANISHED:
                return f"another program took {_peers(seen.count)} out of the interface, {ago}"
            case Trouble.NEVER_COMPLETED:
                knock = "knocks" if len(self._vain) == 1 else "knock"
                return f"{_peers(len(self._vain))} {knock} again and again, without a complete handshake: {self._who()}"
            case Trouble.OVER_SOURCE_RATE:
                return f"{seen.count} knocks were over gateway.source_rate, {ago}"
            case Trouble.QUEUE_OVERRAN:
                return f"{seen.count} packets passed unseen, since the queue was full, {ago}"

    def _tell_rules(self, seen: _Seen) -> None:
        log.warning(
            "another program took the firewall's rules away; they were put back",
            **_count(seen),
            who="a reload of the firewall (nft flush ruleset, iptables -F, firewalld, ufw, a container engine)",
            do="nothing, if it was once; else have that program reload without flushing the tables of others",
            **self._context,
        )

    def _tell_vanished(self, seen: _Seen) -> None:
        log.warning(
            "another program took residents out of the interface; each comes back when its client knocks",
            **_count(seen),
            peers=", ".join(_named(key, name) for key, name in self._some),
            who="not wgjit: WireGuard does not tell which (wg syncconf, wg setconf, networkctl reload, wg-quick)",
            do="have that program leave the interface's peers alone",
            **self._context,
        )

    def _tell_never_completed(self, seen: _Seen) -> None:
        last = next(reversed(self._vain.values()))
        log.warning(
            "peers knock again and again and never complete a handshake",
            count=len(self._vain),
            peers=self._who(),
            likely=likely(last),
            do="see the line `never completed` of each",
            **self._context,
        )

    def _tell_sources(self, seen: _Seen) -> None:
        most = sorted(self._sources.items(), key=lambda item: -item[1])[:NAMED]
        self._sources = {}
        log.warning(
            "a source sends more initiations than gateway.source_rate allows; those beyond wait for the client's retry",
            **_count(seen),
            sources=", ".join(f"{_source(network)} ({number})" for network, number in most),
            do="if many clients share the address (an office, a carrier's NAT, docker's userland-proxy), raise "
            "gateway.source_rate; else it is a flood, and nothing is to be done",
            **self._context,
        )

    def _tell_queue(self, seen: _Seen) -> None:
        log.warning(
            "packets passed unseen, because the queue was full; their clients get in by their retry",
            **_count(seen),
            do="if it goes on without a flood, raise gateway.queue_length, or give this machine more CPU",
            **self._context,
        )

    def _who(self) -> str:
        some = list(self._vain.values())[-NAMED:]
        more = len(self._vain) - len(some)
        return ", ".join(_named(one.key, one.name) for one in some) + (f" and {more} more" if more else "")


def _count(seen: _Seen) -> dict[str, int]:
    return {"count": seen.count, **({"more": seen.count - seen.told} if seen.told else {})}


def _named(key: PublicKey, name: str | None) -> str:
    return str(key)[:8] if name is None else f"{quoted(name)} ({str(key)[:8]})"


def _source(network: bytes) -> str:
    return Endpoint(network, 0).host if len(network) == 4 else f"{Endpoint(network + bytes(8), 0).host}/64"


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"


def _peers(number: int) -> str:
    return "a peer" if number == 1 else f"{number} peers"

"""Who gets a connection. Connections are counted before TLS, by source and in all, and later by caller. Pure: the
calling code passes the time.

A connection is *unproven* until a request on it shows a valid token (or comes over the Unix socket). The number of
unproven connections is small, and each source may have only a share of them. If all places are taken, a new connection
may displace an old one:

| all taken      | which connection is displaced                                                                   |
| -------------- | ----------------------------------------------------------------------------------------------- |
| of the source  | the source's oldest without a finished handshake, if older than `LEAST`; else its oldest with a |
|                | finished handshake, if that was finished `KNOWN` ago                                            |
| in all         | the oldest of the source that has most, if it has more than the new source would have; else a   |
|                | connection past `LEAST` or `KNOWN`, of a source that has more, or of the new source itself      |

A *proven* connection counts for its caller, and no stranger displaces it. So connections with a valid token survive a
flood of strangers. Only if callers have taken all proven places, the caller that has most loses the connection that was
used longest ago.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Self

from wgjit.api.entrance.rates import Rates

LEAST = 0.25
"""Seconds for which a new connection is not displaced. On most networks a TLS handshake takes less."""

KNOWN = 1.0
"""Seconds after the finished handshake for which a connection is not displaced."""

_GOOD_SOURCES = 4096
"""Remembered sources that have shown a valid token."""

_SELDOM = 0.75
"""A source comes seldom if its bucket is at least this full."""

_ANY = 1e9
"""A rate that limits nothing."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many connections may be open at once, and how many may be new per second."""

    unproven: int
    of_source: int
    """Unproven connections of one source."""
    proven: int
    of_caller: int
    """Proven connections of one caller."""
    rate: float = _ANY
    """New connections per second of all sources that come often, and the same number of all sources that come seldom;
    twice as many at once. A source that lately showed a valid token is not limited by this."""
    source_rate: float = _ANY
    """New connections per second of one source; twice as many at once."""

    @classmethod
    def of(cls, most: int, rate: float, source_rate: float) -> Self:
        """Bounds that add up to `most` connections."""
        unproven = min(256, most // 3)
        proven = most - unproven
        return cls(unproven, max(1, unproven // 4), proven, max(1, proven // 3), rate, source_rate)


def nothing() -> None:
    """The `give_up` of a connection that is gone already: nothing to do."""


@dataclass(eq=False, slots=True)
class Place:
    """A connection's place. `give_up` ends the connection, and is called when another connection displaces it."""

    source: str
    since: float
    give_up: Callable[[], None]
    is_shaken: bool = False
    """True if the handshake is finished."""
    caller: str | None = None
    """The caller that is proven on this connection."""


@dataclass(slots=True)
class _Source:
    raw: OrderedDict[Place, None] = field(default_factory=OrderedDict)
    """Places without a finished handshake, the oldest first."""
    shaken: OrderedDict[Place, None] = field(default_factory=OrderedDict)

    def __len__(self) -> int:
        return len(self.raw) + len(self.shaken)

    def oldest(self) -> Place:
        return next(iter(self.raw or self.shaken))

    def spent(self, now: float) -> Place | None:
        """A place that is past LEAST or KNOWN, None if there is none."""
        for some, least in ((self.raw, LEAST), (self.shaken, KNOWN)):
            if some and now - (place := next(iter(some))).since >= least:
                return place
        return None


class Places:
    """The places of one listener. Each place that `enter` gives has to be returned with `leave`."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self._sources: OrderedDict[str, _Source] = OrderedDict()
        self._unproven = 0
        self._callers: dict[str, OrderedDict[Place, None]] = {}
        """The places of each caller. The place that was used longest ago is first."""
        self._proven = 0
        self._good: OrderedDict[str, None] = OrderedDict()
        self._rates = Rates()
        self.refused: Counter[str] = Counter()
        """How many connections got no place or lost it, by reason."""

    @property
    def taken(self) -> tuple[int, int]:
        """The numbers of unproven and of proven connections."""
        return self._unproven, self._proven

    def is_good(self, source: str) -> bool:
        """Whether the source lately showed a valid token."""
        return source in self._good

    def enter(self, source: str, now: float, give_up: Callable[[], None]) -> Place | str:
        """A place for a new connection, or the reason why it gets none."""
        if reason := self._find_room(source, now):
            self.refused[reason] += 1
            return reason
        place = Place(source, now, give_up)
        self._sources.setdefault(source, _Source()).raw[place] = None
        self._unproven += 1
        return place

    def shake(self, place: Place, now: float) -> None:
        """Note that a connection's handshake is finished."""
        place.is_shaken, place.since = True, now
        found = self._sources.get(place.source)
        if found is not None and place in found.raw:
            del found.raw[place]
            found.shaken[place] = None

    def prove(self, place: Place, caller: str) -> bool:
        """Count a connection for the caller of a request on it. False if the caller has too many connections."""
        if place.caller == caller:
            self._callers[caller].move_to_end(place)
            return True
        number = len(self._callers.get(caller, ()))
        reason = "caller" if number >= self.bounds.of_caller else None
        if reason is None and place.caller is None and self._proven >= self.bounds.proven:
            most = max(self._callers.values(), key=len)
            reason = self._displace(next(iter(most)) if len(most) > number + 1 else None, "proven")
        if reason is not None:
            self.refused[reason] += 1
            return False
        self.leave(place)
        place.caller = caller
        self._callers.setdefault(caller, OrderedDict())[place] = None
        self._proven += 1
        self._good[place.source] = None
        self._good.move_to_end(place.source)
        if len(self._good) > _GOOD_SOURCES:
            self._good.popitem(last=False)
        return True

    def doubt(self, place: Place, now: float) -> None:
        """Count a connection as unproven again, since a request on it showed no valid token."""
        if place.caller is None:
            return
        self.leave(place)
        place.since, place.is_shaken = now, True
        self._sources.setdefault(place.source, _Source()).shaken[place] = None
        self._unproven += 1

    def leave(self, place: Place) -> None:
        """Free the place of a connection that is gone. A second call does nothing."""
        if place.caller is not None:
            caller, place.caller = place.caller, None
            self._proven -= 1
            del self._callers[caller][place]
            if not self._callers[caller]:
                del self._callers[caller]
            return
        found = self._sources.get(place.source)
        if found is None:
            return
        some = found.shaken if place in found.shaken else found.raw
        if place not in some:
            return
        del some[place]
        self._unproven -= 1
        if not len(found):
            del self._sources[place.source]

    def _find_room(self, source: str, now: float) -> str | None:
        """Make room for a new connection of a source. Returns None, or the reason why there is no room."""
        rate, source_rate = self.bounds.rate, self.bounds.source_rate
        fill = self._rates.fill(("source", source), source_rate, now)
        if fill * max(1.0, 2.0 * source_rate) < 1.0:
            return "source rate"
        comes = "seldom" if fill >= _SELDOM else "often"
        is_good = source in self._good
        if not is_good and self._rates.wait(comes, rate, now):
            return "rate"
        own = self._sources.get(source)
        number = 0 if own is None else len(own)
        reason = None
        if own is not None and number >= self.bounds.of_source:
            reason = self._displace(own.spent(now), "source")
        elif self._unproven >= self.bounds.unproven:
            most = max(self._sources.values(), key=len)
            greedy = most.oldest() if len(most) > number + 1 else None
            spent = greedy or next(self._spent(now, number), None) or (own and own.spent(now))
            reason = self._displace(spent or None, "all")
        if reason is None:
            self._rates.take(("source", source), source_rate, now)
            if not is_good:
                self._rates.take(comes, rate, now)
        return reason

    def _spent(self, now: float, number: int) -> Iterator[Place]:
        """Places past LEAST or KNOWN, of sources that have more than `number` places."""
        for some, least in (("raw", LEAST), ("shaken", KNOWN)):
            for source in self._sources.values():
                if len(source) <= number:
                    continue
                oldest = next(iter(getattr(source, some)), None)
                if oldest is not None and now - oldest.since >= least:
                    yield oldest

    def _displace(self, place: Place | None, reason: str) -> str | None:
        """Free a place for a new connection and return None. Without a place, return the reason for the refusal."""
        if place is None:
            return reason
        self.refused[f"{reason}, displaced"] += 1
        self.leave(place)
        place.give_up()
        return None

"""Who gets a connection: counted before TLS, by source and in all, and then by caller. Pure; the clock is the caller's.

A connection is *unproven* until a request on it shows a valid token (or comes by the Unix socket). Unproven ones are
few, a source has its share of them, and who comes when all are taken may take the place of another that had its time:

| all taken      | whose place is taken                                                                            |
| -------------- | ----------------------------------------------------------------------------------------------- |
| of the source  | its own oldest without a finished handshake, after `LEAST`; else its oldest with, after `KNOWN` |
| in all         | the oldest of the source that has most, if it has more than the newcomer would have; else one   |
|                | that has had its time, of a source that has more, or of the newcomer's own                      |

A *proven* connection counts for its caller, and no stranger takes its place: a good token's connections outlive any
crowd. Only if callers have taken all of them, the one who has most loses the one that was used longest ago.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Self

from wgjit.api.entrance.rates import Rates

LEAST = 0.25
"""Seconds that a connection keeps its place whatever comes: on most ways a TLS handshake takes less."""

KNOWN = 1.0
"""The same once its handshake is finished, from then on."""

_GOOD_SOURCES = 4096
"""Sources remembered that have shown a valid token."""

_SELDOM = 0.75
"""A source whose bucket is so full comes seldom."""

_ANY = 1e9
"""A rate that is none."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many connections at once, and how many new ones a second."""

    unproven: int
    of_source: int
    """Unproven ones of one source."""
    proven: int
    of_caller: int
    """Proven ones of one caller."""
    rate: float = _ANY
    """New ones a second of all sources that come often, and the same of all that come seldom; twice as many at once. A
    source that showed a valid token lately is not held to it."""
    source_rate: float = _ANY
    """New ones a second of one source; twice as many at once."""

    @classmethod
    def of(cls, most: int, rate: float, source_rate: float) -> Self:
        """Bounds that add up to `most` connections."""
        unproven = min(256, most // 3)
        proven = most - unproven
        return cls(unproven, max(1, unproven // 4), proven, max(1, proven // 3), rate, source_rate)


def nothing() -> None:
    """What there is to give up of a connection that is gone."""


@dataclass(eq=False, slots=True)
class Place:
    """A connection's place. `give_up` ends the connection; it is called when another gets its place."""

    source: str
    since: float
    give_up: Callable[[], None]
    is_shaken: bool = False
    """Its handshake is finished."""
    caller: str | None = None
    """Who is proven on it."""


@dataclass(slots=True)
class _Source:
    raw: OrderedDict[Place, None] = field(default_factory=OrderedDict)
    """Those without a finished handshake, the oldest first."""
    shaken: OrderedDict[Place, None] = field(default_factory=OrderedDict)

    def __len__(self) -> int:
        return len(self.raw) + len(self.shaken)

    def oldest(self) -> Place:
        return next(iter(self.raw or self.shaken))

    def spent(self, now: float) -> Place | None:
        """One that has had its time."""
        for some, least in ((self.raw, LEAST), (self.shaken, KNOWN)):
            if some and now - (place := next(iter(some))).since >= least:
                return place
        return None


class Places:
    """The places of one listener. A place that was given is to be left."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self._sources: OrderedDict[str, _Source] = OrderedDict()
        self._unproven = 0
        self._callers: dict[str, OrderedDict[Place, None]] = {}
        """The places of each, the one that was used longest ago first."""
        self._proven = 0
        self._good: OrderedDict[str, None] = OrderedDict()
        self._rates = Rates()
        self.refused: Counter[str] = Counter()
        """By reason, how many connections got no place, or lost it."""

    @property
    def taken(self) -> tuple[int, int]:
        """Unproven and proven connections."""
        return self._unproven, self._proven

    def is_good(self, source: str) -> bool:
        """Whether a valid token was shown from there lately."""
        return source in self._good

    def enter(self, source: str, now: float, give_up: Callable[[], None]) -> Place | str:
        """A place for a new connection, or the reason why there is none."""
        if reason := self._find_room(source, now):
            self.refused[reason] += 1
            return reason
        place = Place(source, now, give_up)
        self._sources.setdefault(source, _Source()).raw[place] = None
        self._unproven += 1
        return place

    def shake(self, place: Place, now: float) -> None:
        """Its handshake is finished."""
        place.is_shaken, place.since = True, now
        found = self._sources.get(place.source)
        if found is not None and place in found.raw:
            del found.raw[place]
            found.shaken[place] = None

    def prove(self, place: Place, caller: str) -> bool:
        """A request on it showed who asks. False: this caller has too many connections already."""
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
        """A request on it showed no valid token: from now on it is like one that never did."""
        if place.caller is None:
            return
        self.leave(place)
        place.since, place.is_shaken = now, True
        self._sources.setdefault(place.source, _Source()).shaken[place] = None
        self._unproven += 1

    def leave(self, place: Place) -> None:
        """The connection is gone; harmless a second time."""
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
        """The reason why there is no room for another one of a source; None: there is."""
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
        """Those that have had their time, of sources that have more than so many."""
        for some, least in (("raw", LEAST), ("shaken", KNOWN)):
            for source in self._sources.values():
                if len(source) <= number:
                    continue
                oldest = next(iter(getattr(source, some)), None)
                if oldest is not None and now - oldest.since >= least:
                    yield oldest

    def _displace(self, place: Place | None, reason: str) -> str | None:
        """Give up a place for another; the reason for a refusal if there is none."""
        if place is None:
            return reason
        self.refused[f"{reason}, displaced"] += 1
        self.leave(place)
        place.give_up()
        return None

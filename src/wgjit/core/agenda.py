"""The order in which what the core heard and said is done.

    events ─▶ verdicts ─▶ installs ─▶ records and claims ─▶ what can wait

An event may call for another lookup or verdict, so all events come first. Verdicts let packets go; installs, which take
longer, come behind them and are made together. No packet waits for a record, a claim, or a second look at a resident's
knock.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from wgjit.core.vocabulary import Event, FollowUp, FollowUpDue, Install, SaveClaim, Tell
from wgjit.model import PeerChange


@dataclass(frozen=True, slots=True)
class Verdicts:
    """Send the verdicts that were given since the last time."""


@dataclass(frozen=True, slots=True)
class Installs:
    """Make these installs, all in one go; hear an Installed for each."""

    changes: list[PeerChange]


Task = Event | Verdicts | Installs | SaveClaim | Tell

_VERDICTS = Verdicts()


class Agenda:
    """What is to be done. Whoever performs commands gives those here that have a turn of their own."""

    __slots__ = ("_events", "_installs", "_later", "_records", "_released")

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._released = False
        self._installs: list[PeerChange] = []
        self._records: deque[SaveClaim | Tell] = deque()
        self._later: deque[Event] = deque()

    def hear(self, event: Event) -> None:
        """The core has to hear of this."""
        self._events.append(event)

    def released(self) -> None:
        """A verdict was given that has to be sent."""
        self._released = True

    def take_verdicts(self) -> bool:
        """Whether verdicts have to be sent; the caller does it."""
        released, self._released = self._released, False
        return released

    def install(self, command: Install) -> None:
        """To be made with the others."""
        self._installs.append(command.change)

    def record(self, command: SaveClaim | Tell) -> None:
        """No packet waits for it."""
        self._records.append(command)

    def follow_up(self, command: FollowUp) -> None:
        """The core hears of it when all else is done."""
        self._later.append(FollowUpDue(command.knock))

    def next(self) -> Task | None:
        """What to do now; None if nothing is left."""
        if self._events:
            return self._events.popleft()
        if self.take_verdicts():
            return _VERDICTS
        if self._installs:
            changes, self._installs = self._installs, []
            return Installs(changes)
        if self._records:
            return self._records.popleft()
        return self._later.popleft() if self._later else None

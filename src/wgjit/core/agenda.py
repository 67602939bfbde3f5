"""The order in which the loop handles events and performs commands.

    events ─▶ verdicts ─▶ installs ─▶ records and claims ─▶ what can wait

An event may lead to another lookup or verdict, so all events come first. Verdicts let packets go. Installs take longer,
so they come after the verdicts, and are made together. No packet waits for a record, a claim, or the proof of a
resident's knock.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from wgjit.core.vocabulary.commands import FollowUp, Install, SaveClaim, SayHolding
from wgjit.core.vocabulary.events import Event, FollowUpDue
from wgjit.core.vocabulary.told import Tell
from wgjit.model import PeerChange


@dataclass(frozen=True, slots=True)
class Verdicts:
    """Send all verdicts that were given and not sent yet."""


@dataclass(frozen=True, slots=True)
class Installs:
    """Make these installs in one call; make an Installed event for each."""

    changes: list[PeerChange]


Task = Event | Verdicts | Installs | SaveClaim | SayHolding | Tell

_VERDICTS = Verdicts()


class Agenda:
    """The tasks of the loop. The loop adds events, and commands that have their own turn in the order."""

    __slots__ = ("_events", "_installs", "_later", "_records", "_released")

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._released = False
        self._installs: list[PeerChange] = []
        self._records: deque[SaveClaim | SayHolding | Tell] = deque()
        self._later: deque[Event] = deque()

    def hear(self, event: Event) -> None:
        """Add an event for the core."""
        self._events.append(event)

    def released(self) -> None:
        """Note that a verdict has to be sent."""
        self._released = True

    def take_verdicts(self) -> bool:
        """Whether verdicts have to be sent. The caller sends them."""
        released, self._released = self._released, False
        return released

    def install(self, command: Install) -> None:
        """Add an install; all installs are made together."""
        self._installs.append(command.change)

    def record(self, command: SaveClaim | SayHolding | Tell) -> None:
        """Add a record, a claim or a holding. No packet waits for it."""
        self._records.append(command)

    def follow_up(self, command: FollowUp) -> None:
        """Add a FollowUpDue event, for when all else is done."""
        self._later.append(FollowUpDue(command.knock))

    def next(self) -> Task | None:
        """The next task; None if nothing is left."""
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

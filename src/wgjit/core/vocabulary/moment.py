"""When something happens, and the knock that it belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Now(NamedTuple):
    """The time, read by the loop once per event."""

    monotonic: float
    """Seconds that only grow: for deadlines and ages."""
    wall: float
    """Unix seconds: for expiry, claims and people."""


@dataclass(frozen=True, slots=True)
class OfKnock:
    """The base of all events and commands that concern one knock."""

    knock: int
    """The knock's number, from 1 on."""

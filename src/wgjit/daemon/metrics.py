"""What the gateway counts. Labels are the enums' values, so that code, log, feed and metric say the same word."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from wgjit.drivers.base import CaptureCounters
from wgjit.record import FeedRecord
from wgjit.refusal import Refusal


@dataclass(slots=True)
class Metrics:
    """Counters since the start of the daemon."""

    decisions: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    """By refusal; also packets that were no initiation at all."""
    deliveries: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    """Machinery that failed: store, device, inject, capture."""
    flips: Counter[str] = field(default_factory=Counter)
    """What became of flips, and of replays that a flip had to mend: completed, repeated, given_up."""
    arrivals: Counter[str] = field(default_factory=Counter)
    """Peers that came to be in the device: installed, found."""
    departures: Counter[str] = field(default_factory=Counter)
    """Peers taken out of the device, by reason: idle, unconfirmed, room, revoked."""
    put_back: int = 0
    """Revoked peers that somebody else put into the device; each time counts."""

    def saw(self, record: FeedRecord) -> None:
        """Count one initiation."""
        self.decisions[record.decision] += 1
        if record.refusal is not None:
            self.refusals[record.refusal] += 1
        if record.delivery is not None:
            self.deliveries[record.delivery] += 1

    def refused(self, refusal: Refusal) -> None:
        """Count a packet that was no initiation."""
        self.refusals[refusal] += 1

    def as_dict(self, capture: CaptureCounters) -> dict[str, Any]:
        """The form for programs."""
        return {
            "decisions": dict(self.decisions),
            "refusals": dict(self.refusals),
            "deliveries": dict(self.deliveries),
            "flips": dict(self.flips),
            "arrivals": dict(self.arrivals),
            "departures": dict(self.departures),
            "put_back": self.put_back,
            "faults": dict(self.faults),
            "captured": capture.received,
            "capture_dropped": capture.dropped,
        }

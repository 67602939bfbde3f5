"""The gateway's counters. Labels are the enums' values, so that code, log, feed and metrics use the same words."""

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
    """By refusal, including packets that are no initiation."""
    deliveries: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    """Faults by the part that failed: store, device, inject, capture, heartbeat, registry, core,
    fleet, record, confirmations, restraint, routes, routes_lost, strays."""
    flips: Counter[str] = field(default_factory=Counter)
    """Outcomes of flips, including flips after a failed replay: completed, repeated, given_up."""
    arrivals: Counter[str] = field(default_factory=Counter)
    """Peers that became resident: installed, found, called, pinned."""
    departures: Counter[str] = field(default_factory=Counter)
    """Peers that were taken out of the device, by reason: idle, unconfirmed, room, revoked, moved,
    unanswered."""
    said: Counter[str] = field(default_factory=Counter)
    """Holdings that were said to the fleet, by reason: taken, taken_over, moved, repeated, left, called."""
    takeovers: Counter[str] = field(default_factory=Counter)
    """What became of data of other gateways' clients that came here; the words of `core.vocabulary.told.Takeover`."""
    troubles: Counter[str] = field(default_factory=Counter)
    """Trouble that looks like health; the words of `telling.troubles.Trouble`: rules_gone, vanished, never_completed,
    over_source_rate, queue_overran."""
    pins_absent: dict[str, int] = field(default_factory=dict)
    """Pinned peers that cannot be in the device now, by refusal. Not a counter."""
    put_back: int = 0
    """How often another program put a revoked peer into the device."""

    def saw(self, record: FeedRecord) -> None:
        """Count one initiation."""
        self.decisions[record.decision] += 1
        if record.refusal is not None:
            self.refusals[record.refusal] += 1
        if record.delivery is not None:
            self.deliveries[record.delivery] += 1

    def refused(self, refusal: Refusal) -> None:
        """Count a packet that is no initiation."""
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
            "said": dict(self.said) or None,
            "takeovers": dict(self.takeovers) or None,
            "troubles": dict(self.troubles),
            "pins_absent": self.pins_absent or None,
            "put_back": self.put_back,
            "faults": dict(self.faults),
            "captured": capture.received,
            "capture_dropped": capture.dropped + capture.beyond,
        }

"""FeedRecord: one initiation that was seen; a line of the feed, live (`wgjit feed`) or offline (`wgjit decode`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from wgjit.model import Delivery, Endpoint, PublicKey, Tai64n
from wgjit.refusal import Refusal


class Decision(StrEnum):
    """The outcome of a knock."""

    INSTALLED = "installed"
    """The peer was installed for this knock."""
    RESIDENT = "resident"
    """The peer was in the device already, so the kernel answers."""
    REFUSED = "refused"
    """The gateway did nothing. The refusal says why."""
    OBSERVED = "observed"
    """The initiation was seen and proven by a feed that does not act."""
    CALLED = "called"
    """No initiation was seen. Data of another gateway's client came here, and this gateway sends it an initiation."""


@dataclass(slots=True)
class FeedRecord:
    """One initiation that was seen, as `wgjit feed` shows it."""

    time: float | None
    """Unix seconds of its arrival; None if a recording does not tell."""
    source: Endpoint | None
    destination: Endpoint | None
    public_key: PublicKey | None = None
    """The claimed key; None if the message did not open."""
    name: str | None = None
    """The peer's registered name, if there is one."""
    proven: bool = False
    timestamp: Tai64n | None = None
    """The client's timestamp; known only if proven."""
    decision: Decision = Decision.REFUSED
    refusal: Refusal | None = None
    delivery: Delivery | None = None
    """How the packet reached WireGuard; None if wgjit did not deliver it."""
    held_by: str | None = None
    """The other gateway of the fleet that held the peer when it knocked or was called; None if none did."""
    stages: dict[str, float] = field(default_factory=dict)
    """Microseconds by stage: identify, lookup, prove, install, deliver, and total. The loop fills them in."""

    def as_dict(self) -> dict[str, Any]:
        """The form for programs, as in a line of JSON. The keys are stable."""
        return {
            "time": _moment(self.time),
            "source": None if self.source is None else str(self.source),
            "destination": None if self.destination is None else str(self.destination),
            "public_key": None if self.public_key is None else str(self.public_key),
            "name": self.name,
            "proven": self.proven,
            "timestamp": None if self.timestamp is None else str(self.timestamp),
            "decision": self.decision.value,
            "refusal": None if self.refusal is None else self.refusal.value,
            "delivery": None if self.delivery is None else self.delivery.value,
            "held_by": self.held_by,
            "stages": {stage: round(microseconds, 1) for stage, microseconds in self.stages.items()},
        }

    @classmethod
    def from_dict(cls, line: Mapping[str, Any]) -> FeedRecord:
        """Read the form for programs. Raises InvalidValue, KeyError if `as_dict` cannot have made it."""
        time, key = line["time"], line["public_key"]
        return cls(
            time=None if time is None else datetime.fromisoformat(time).timestamp(),
            source=Endpoint.parse(line["source"]) if line["source"] else None,
            destination=Endpoint.parse(line["destination"]) if line["destination"] else None,
            public_key=None if key is None else PublicKey.parse(key),
            name=line["name"],
            proven=line["proven"],
            timestamp=None if line["timestamp"] is None else Tai64n.parse(line["timestamp"]),
            decision=Decision(line["decision"]),
            refusal=None if line["refusal"] is None else Refusal(line["refusal"]),
            delivery=None if line["delivery"] is None else Delivery(line["delivery"]),
            held_by=line.get("held_by"),
            stages=dict(line["stages"]),
        )


def _moment(time: float | None) -> str | None:
    """RFC 3339 in UTC, to the microsecond. None also for a time outside the calendar, which a file may contain."""
    if time is None:
        return None
    try:
        return datetime.fromtimestamp(time, UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"
    except (ValueError, OverflowError, OSError):
        return None

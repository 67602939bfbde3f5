"""One initiation seen: the line of the feed, the same live (`wgjit feed`) and offline (`wgjit decode`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from wgjit.model import Delivery, Endpoint, PublicKey, Tai64n
from wgjit.refusal import Refusal


class Decision(StrEnum):
    """What became of a knock."""

    INSTALLED = "installed"
    """The peer was put into the device for it."""
    RESIDENT = "resident"
    """The peer was there already: the kernel's own business."""
    REFUSED = "refused"
    """Nothing was done; the refusal says why."""
    OBSERVED = "observed"
    """Seen and proven by a feed that does not act: nobody decided."""


@dataclass(slots=True)
class FeedRecord:
    """One initiation seen, as `wgjit feed` tells it."""

    time: float | None
    """Unix seconds of its arrival; None where a recording does not tell."""
    source: Endpoint | None
    destination: Endpoint | None
    public_key: PublicKey | None = None
    """The claimed key; None if the message did not open."""
    name: str | None = None
    """The peer's name, if registered under one."""
    proven: bool = False
    timestamp: Tai64n | None = None
    """The client's time stamp; only known once proven."""
    decision: Decision = Decision.REFUSED
    refusal: Refusal | None = None
    delivery: Delivery | None = None
    """How the packet reached WireGuard; None if it was not ours to deliver."""
    stages: dict[str, float] = field(default_factory=dict)
    """Microseconds by stage: identify, lookup, prove, install, deliver, and total. Filled in by the loop."""

    def as_dict(self) -> dict[str, Any]:
        """The form for programs, as it stands in a line of JSON; the keys are stable."""
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
            "stages": {stage: round(microseconds, 1) for stage, microseconds in self.stages.items()},
        }

    @classmethod
    def from_dict(cls, line: Mapping[str, Any]) -> FeedRecord:
        """Read the form for programs back. Raises InvalidValue, KeyError for what `as_dict` cannot have made."""
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
            stages=dict(line["stages"]),
        )


def _moment(time: float | None) -> str | None:
    """RFC 3339 in UTC, to the microsecond; None also for a time that no calendar holds: a file can say anything."""
    if time is None:
        return None
    try:
        return datetime.fromtimestamp(time, UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"
    except (ValueError, OverflowError, OSError):
        return None

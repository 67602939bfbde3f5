"""What became of all clients: counts, times, and what the generator itself took."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from math import ceil
from typing import Any

from bench.load.client import Connect


@dataclass(frozen=True)
class Spread:
    """Percentiles, in seconds, each a value that was measured; None without any."""

    p50: float | None = None
    p90: float | None = None
    p99: float | None = None
    max: float | None = None

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Of any number of values, in any order."""
        ordered = sorted(values)
        if not ordered:
            return cls()
        return cls(*(ordered[ceil(share * len(ordered)) - 1] for share in (0.5, 0.9, 0.99, 1.0)))


@dataclass(frozen=True)
class Result:
    """One run. Times are seconds; latencies count from the intended moment, not from when the sender got to it."""

    clients: int
    connects: int
    """First connects and rekeys that were begun."""
    up: int
    lost: int
    """Given up, or not up at the end."""
    rekeys: int
    """Of the connects, those of a client that was up before."""
    response: Spread
    """Until the session's keys were there."""
    up_after: Spread
    """Until the keys were known to agree: see `verified`."""
    rekeyed_after: Spread
    """The same, of rekeys alone."""
    retries: int
    """Initiations beyond the first of each connect."""
    retried: int
    """Connects that needed one."""
    at_once: int
    """Connects that came up without one."""
    cookies: int
    flips: int
    """Initiations of the gateway's that were answered."""
    refused: int
    """Messages that did not open, or were for nobody."""
    late: int
    """Responses to an initiation before the last."""
    echoes_again: int
    """ICMP echoes that were sent more than once."""
    unsent: int
    """Messages that this machine's kernel did not take."""
    last_up: float | None
    """When the last first connect was up, from the first one's intended moment."""
    connects_per_second: float | None
    """First connects that came up, by `last_up`."""
    behind: Spread
    """How long after the intended moment the first initiation left: how far this generator itself is to blame."""
    seconds: float
    """The whole run."""
    cpu_user: float
    cpu_system: float
    """The generator's own; what the kernel did with a packet at once, in the sender's time, is in it."""
    verified: bool
    """Up is an ICMP echo's reply that opened; else a response that opened and a keepalive sent."""
    up_times: list[float] = field(default_factory=list, repr=False)
    """When each first connect was up, from the first one's intended moment; in no order."""

    @property
    def cpu_per_connect(self) -> float | None:
        """Seconds of this process's CPU time for each connect that came up."""
        return (self.cpu_user + self.cpu_system) / self.up if self.up else None

    def as_dict(self) -> dict[str, Any]:
        """Without `up_times`, of which there is one for each client."""
        fields = asdict(self)
        del fields["up_times"]
        return fields | {"cpu_per_connect": self.cpu_per_connect}

    def to_json(self) -> str:
        """One line."""
        return json.dumps(self.as_dict())


def summarize(
    clients: int,
    connects: Sequence[Connect],
    *,
    began: float,
    seconds: float,
    cpu: tuple[float, float],
    unsent: int,
    verified: bool,
) -> Result:
    """`began`: what the connects' times count from; `cpu`: user and system seconds."""
    first = [connect for connect in connects if connect.is_first]
    rekeys = [connect for connect in connects if not connect.is_first]
    start = min((connect.intended for connect in first), default=began)
    up_times = [connect.up - start for connect in first if connect.up is not None]
    last = max(up_times, default=None)
    return Result(
        clients=clients,
        connects=len(connects),
        up=(up := sum(connect.up is not None for connect in connects)),
        lost=len(connects) - up,
        rekeys=len(rekeys),
        response=Spread.of(c.responded - c.intended for c in connects if c.responded is not None),
        up_after=Spread.of(c.up - c.intended for c in connects if c.up is not None),
        rekeyed_after=Spread.of(c.up - c.intended for c in rekeys if c.up is not None),
        retries=sum(max(0, connect.attempts - 1) for connect in connects),
        retried=sum(connect.attempts > 1 for connect in connects),
        at_once=sum(connect.up is not None and connect.attempts == 1 for connect in connects),
        cookies=sum(connect.cookies for connect in connects),
        flips=sum(connect.flips for connect in connects),
        refused=sum(connect.refused for connect in connects),
        late=sum(connect.late for connect in connects),
        echoes_again=sum(max(0, connect.echoes - 1) for connect in connects),
        unsent=unsent,
        last_up=last,
        connects_per_second=len(up_times) / last if last else None,
        behind=Spread.of(c.sent - c.intended for c in connects if c.sent is not None),
        seconds=seconds,
        cpu_user=cpu[0],
        cpu_system=cpu[1],
        verified=verified,
        up_times=up_times,
    )


def lines(result: Result) -> list[str]:
    """For people."""

    def spread(name: str, of: Spread) -> str:
        shown = (f"{share} {'-' if value is None else f'{value * 1e3:,.1f}'}" for share, value in asdict(of).items())
        return f"{name:<22} {', '.join(shown)} ms"

    how = "an echo's reply opened" if result.verified else "response opened, keepalive sent"
    last = f"{result.last_up:.3f} s, {result.connects_per_second:,.0f} a second" if result.last_up else "-"
    per = result.cpu_per_connect
    return [
        f"{'up':<22} {result.up} of {result.connects} ({how}); lost {result.lost}; rekeys {result.rekeys}",
        f"{'last one up after':<22} {last}",
        spread("response after", result.response),
        spread("up after", result.up_after),
        spread("sent behind its time", result.behind),
        f"{'retries':<22} {result.retries} by {result.retried} connects, {result.at_once} up without; "
        f"cookies {result.cookies}; flips {result.flips}",
        f"{'refused':<22} {result.refused}; late responses {result.late}; echoes again {result.echoes_again}; "
        f"unsent {result.unsent}",
        f"{'generator':<22} {result.cpu_user:.2f} s user, {result.cpu_system:.2f} s system"
        + (f", {per * 1e6:,.0f} µs a connect" if per is not None else ""),
    ]

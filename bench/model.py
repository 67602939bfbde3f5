"""A gateway's CPU share, computed from its unit costs: the model of docs/SCALING.md. Arithmetic only.

    share = idle + rekeys/s · rekey + connects/s · connect + knocks/s · (1 - share) · wake + looks
    looks = residents · look / (pause + residents · look)

A knock that finds the daemon asleep costs a wake more: the return from epoll, and caches that other processes have
used. Knocks come at random times, so the share of knocks that find the daemon asleep is the share of time in which it
sleeps (Poisson arrivals see time averages). So under more load each knock costs less. The equation is solved for the
share.

The pause between two looks is the daemon's own rule for a device that takes long to read
(core/residents/idleness.py): 30 s, or 15 s while handshakes of new peers are awaited; fifty times the cost of a look if
that is longer, but two minutes at most.
"""

from __future__ import annotations

from dataclasses import dataclass

from wgjit.core.settings import Pace, Settings

PACE = Pace()

REKEY_AFTER = 120.0
"""Seconds after which a client in use makes a new handshake (REKEY_AFTER_TIME, messages.h)."""


@dataclass(frozen=True)
class Costs:
    """Unit costs: CPU in seconds, memory in bytes."""

    idle: float
    """The daemon's, each second, whatever happens."""
    rekey: float
    """The daemon's, for a resident's new handshake, when it is at work anyway."""
    connect: float
    """The same, for a peer that is installed."""
    wake: float
    """The daemon's, for a knock of either kind that finds it asleep, on top."""
    look: float
    """The daemon's and its system calls', for each resident at each look at the device."""
    handshake: float
    """WireGuard's own, for each handshake, with all that the kernel does around it."""
    base: float
    """Of the daemon without residents."""
    resident: float
    """Of the daemon, for each resident."""
    peer: float
    """Of the kernel, for each installed peer."""


@dataclass(frozen=True)
class Demand:
    """What is asked of one gateway."""

    residents: int
    rekeys: float
    """Each second."""
    connects: float
    """Each second."""

    @classmethod
    def of(cls, residents: int, stay: float) -> Demand:
        """Residents that are all in use, and stay so many seconds on average: as many come as leave."""
        return cls(residents, residents / REKEY_AFTER, residents / stay)


@dataclass(frozen=True)
class Needs:
    """What it takes: shares of one CPU, bytes, seconds."""

    daemon: float
    looks: float
    """Of the daemon's share, what goes into looks."""
    wireguard: float
    daemon_memory: float
    kernel_memory: float
    look_seconds: float
    """How long one look at all residents takes, if nothing else is done."""


def needs(costs: Costs, demand: Demand) -> Needs:
    """The model."""
    took = demand.residents * costs.look
    pause = Settings().unconfirmed_timeout if demand.connects else PACE.interval
    pause = max(pause, min(PACE.longest, PACE.share * took))
    looks = took / (pause + took)
    handshakes = demand.rekeys * costs.rekey + demand.connects * costs.connect
    waking = (demand.rekeys + demand.connects) * costs.wake
    awake = costs.idle + looks + handshakes
    return Needs(
        daemon=awake if awake >= 1 else (awake + waking) / (1 + waking),
        looks=looks,
        wireguard=(demand.rekeys + demand.connects) * costs.handshake,
        daemon_memory=costs.base + demand.residents * costs.resident,
        kernel_memory=demand.residents * costs.peer,
        look_seconds=took,
    )


def most_residents(costs: Costs, stay: float, share: float) -> int:
    """With how many residents the daemon takes that share of a CPU: what one gateway serves, as far as it goes."""
    low, high = 0, 1 << 20
    while low < high:
        middle = (low + high + 1) // 2
        if needs(costs, Demand.of(middle, stay)).daemon <= share:
            low = middle
        else:
            high = middle - 1
    return low

"""CPU time as the kernel counts it in /proc: of one process, and of this whole machine."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_TICK = 1 / os.sysconf("SC_CLK_TCK")
"""Seconds of the unit in /proc (proc(5))."""


@dataclass(frozen=True)
class Cpu:
    """Seconds of CPU time."""

    user: float = 0.0
    system: float = 0.0

    @property
    def total(self) -> float:
        """Both."""
        return self.user + self.system

    def __add__(self, other: Cpu) -> Cpu:
        return Cpu(self.user + other.user, self.system + other.system)

    def __sub__(self, other: Cpu) -> Cpu:
        return Cpu(self.user - other.user, self.system - other.system)


def of_process(pid: int) -> Cpu:
    """What a process has had with all its threads, without its children. Raises FileNotFoundError if it is gone."""
    return parse_process(Path(f"/proc/{pid}/stat").read_text())


def of_machine() -> Cpu:
    """What all CPUs did since the start, interrupts as `system`; without idling, and without what a host took away."""
    return parse_machine(Path("/proc/stat").read_text())


def parse_process(stat: str, *, children: bool = False) -> Cpu:
    """A process's `stat`; its name is in parentheses and may hold anything, so it is counted from the last one.

    `children`: with those of its children that have ended and were waited for.
    """
    user, system, their_user, their_system = (int(field) * _TICK for field in stat.rpartition(")")[2].split()[11:15])
    return Cpu(user + their_user, system + their_system) if children else Cpu(user, system)


def parse_machine(stat: str) -> Cpu:
    """The first line of /proc/stat: user, nice, system, idle, iowait, irq, softirq, and more."""
    user, nice, system, _, _, irq, softirq = (int(field) for field in stat.split("\n", 1)[0].split()[1:8])
    return Cpu((user + nice) * _TICK, (system + irq + softirq) * _TICK)

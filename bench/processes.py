"""The memory and CPU time of a process, read from outside, and the memory of the kernel."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path


class Process:
    """A running process of this kernel, by its id. Reading one that has ended raises OSError."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        # clock_getcpuclockid(3): the kernel's own count in nanoseconds; /proc has ticks of 10 ms.
        self._clock = ~pid << 3 | 2

    def cpu(self) -> float:
        """CPU seconds that all its threads have had, in user mode and in the kernel."""
        return time.clock_gettime(self._clock)

    def memory(self) -> int:
        """Resident bytes."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def kernel_memory(meminfo: str) -> tuple[int, int]:
    """Bytes of slab that cannot be taken back and of per-CPU memory, and bytes that are available to processes, by
    /proc/meminfo. Raises KeyError for a text that does not have them."""
    values = {name: int(value) << 10 for name, value in re.findall(r"^(\w+):\s+(\d+) kB$", meminfo, re.MULTILINE)}
    return values["SUnreclaim"] + values.get("Percpu", 0), values["MemAvailable"]

"""What processes and this kernel took: CPU seconds and memory, read from outside."""

from __future__ import annotations

import os
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


def machine_cpu() -> float:
    """CPU seconds that this kernel has spent on anything but waiting, its own threads included; in ticks of 10 ms."""
    words = Path("/proc/stat").read_text().partition("\n")[0].split()[1:9]
    user, nice, system, _idle, _iowait, irq, softirq, _steal = map(int, words)
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def kernel_memory() -> int:
    """Bytes that this kernel uses for itself: slab and page tables, stacks and vmalloc."""
    fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    names = ("Slab", "PageTables", "KernelStack", "VmallocUsed")
    return sum(int(fields[name].split()[0]) for name in names if name in fields) << 10

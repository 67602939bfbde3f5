"""What a process takes: memory and CPU time, as proc(5) tells them."""

from __future__ import annotations

import os
import re
from pathlib import Path


def resident(pid: int) -> int:
    """Bytes that it has in memory."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def cpu_seconds(pid: int) -> float:
    """User and system time of all its threads, those that have ended included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def kernel_memory(meminfo: str) -> tuple[int, int]:
    """Bytes of slab that cannot be taken back and of per-CPU memory, and bytes that are available to processes, by
    /proc/meminfo. Raises KeyError for a text that does not have them."""
    values = {name: int(value) << 10 for name, value in re.findall(r"^(\w+):\s+(\d+) kB$", meminfo, re.MULTILINE)}
    return values["SUnreclaim"] + values.get("Percpu", 0), values["MemAvailable"]

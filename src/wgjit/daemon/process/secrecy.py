"""What keeps the process's memory, where the private key is, from other processes and from the disk."""

from __future__ import annotations

import ctypes
import resource

_PR_SET_DUMPABLE = 4  # linux/prctl.h

_libc = ctypes.CDLL(None, use_errno=True)


def seal_memory() -> None:
    """Leave no core dump, and let no process of the same user read our memory (prctl(2), ptrace(2)).

    The limit alone would not do: the kernel ignores it where core_pattern is a pipe. Programs that we start, such as
    wireguard-go, inherit the limit alone.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)

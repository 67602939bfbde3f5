"""Keeps the process's memory, which has the private key, from other processes and from the disk."""

from __future__ import annotations

import ctypes
import resource

_PR_SET_DUMPABLE = 4  # linux/prctl.h

_libc = ctypes.CDLL(None, use_errno=True)


def seal_memory() -> None:
    """Allow no core dump, and let no process of the same user read this process's memory (prctl(2), ptrace(2)).

    The limit alone is not enough: the kernel ignores it if core_pattern is a pipe. Programs that wgjit starts, such as
    wireguard-go, inherit only the limit.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)

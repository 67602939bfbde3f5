"""Be in a namespace of the lab: what the test opens from then on, sockets and processes, belongs there."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.netns import CLONE_NEWNET, NETNS, Namespace

_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def inside(namespace: Namespace) -> Iterator[None]:
    """Move the calling thread into the namespace, and back at the end. Threads that it starts are inside too."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _enter(NETNS / namespace.name)
        try:
            yield
        finally:
            _enter(Path(f"/proc/self/fd/{home}"))
    finally:
        os.close(home)


def _enter(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.setns(descriptor, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns {path}")
    finally:
        os.close(descriptor)

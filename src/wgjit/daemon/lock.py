"""One gateway per interface: two would answer the same knock twice and undo each other's residents."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from wgjit.config import run_folder
from wgjit.errors import ConfigError, GatewayRunning


@contextmanager
def interface_lock(interface: str) -> Iterator[None]:
    """Hold the interface. Raises GatewayRunning that names the holder; the kernel frees it when we die."""
    folder = run_folder()
    path = folder / f"{interface}.lock"
    try:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise ConfigError(
            f"{path}: {error.strerror}; wgjit needs a folder for its lock and socket: run as root or set "
            "WGJIT_RUN_FOLDER"
        ) from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 64).decode(errors="replace").strip() or "unknown"
            raise GatewayRunning(
                f"{interface}: another gateway (process {holder}) holds this interface; end it first"
            ) from None
        os.truncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(descriptor)

"""A lock for each interface. Two gateways would answer the same knock twice and undo each other's residents.

The lock is on a file. Another user who can open the file could hold the lock and keep the gateway from starting, so
only its owner can open it. A user who can write into the folder could put another file in its place. So the file is
checked before anything is done to it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import pwd
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wgjit.config import run_folder
from wgjit.drivers.wireguard.interface import check_name
from wgjit.errors import ConfigError, GatewayRunning
from wgjit.wire.key_text import shown

_TRIES = 10
"""How often the lock is tried if another file is put in its file's place meanwhile."""


@contextmanager
def interface_lock(interface: str) -> Iterator[None]:
    """Hold the interface's lock. The kernel frees the lock when this process dies.

    Raises GatewayRunning, which names the holder, and ConfigError if the file cannot be used."""
    check_name(interface)
    folder = run_folder()
    path = folder / f"{interface}.lock"
    try:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        descriptor = _locked(path, interface)
    except OSError as error:
        raise ConfigError(_advice(path, error)) from None
    try:
        yield
    finally:
        os.close(descriptor)


def _locked(path: Path, interface: str) -> int:
    """Lock the file at the path; return the descriptor that holds the lock."""
    for _ in range(_TRIES):
        # O_NONBLOCK: do not wait for the other end of a pipe. O_NOCTTY: do not take a terminal as controlling terminal.
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
        descriptor = os.open(path, flags, 0o600)
        try:
            _check(path, os.fstat(descriptor))
            _tighten(descriptor)
            _take(descriptor, interface)
            if _is_at(path, descriptor):
                os.truncate(descriptor, 0)
                os.write(descriptor, f"{os.getpid()}\n".encode())
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
    raise ConfigError(f"{path}: somebody puts other files in its place; set WGJIT_RUN_FOLDER to another folder")


def _check(path: Path, file: os.stat_result) -> None:
    """Raise ConfigError if the file is not a regular file with one name, or belongs to another user."""
    if not stat.S_ISREG(file.st_mode) or file.st_nlink > 1:
        raise ConfigError(f"{path}: is no lock file of its own; remove it, or set WGJIT_RUN_FOLDER to another folder")
    if file.st_uid not in (os.geteuid(), 0):
        raise ConfigError(
            f"{path}: belongs to {_account(file.st_uid)}, who could hold it and keep gateways from starting; if no "
            f"gateway of theirs runs, remove it: rm {path}"
        )


def _tighten(descriptor: int) -> None:
    """Keep other users from locking the file: they can if they can read it, as an older wgjit let them."""
    file = os.fstat(descriptor)
    if file.st_uid == os.geteuid() and stat.S_IMODE(file.st_mode) != 0o600:
        os.fchmod(descriptor, 0o600)


def _take(descriptor: int, interface: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 64).decode(errors="replace").strip()
        told = holder if holder.isdigit() else "unknown"
        raise GatewayRunning(
            f"{interface}: another gateway (process {told}) holds this interface; end it first"
        ) from None


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether the locked file is still the file at the path. A lock on a removed file does not keep a gateway out."""
    try:
        return os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _advice(path: Path, error: OSError) -> str:
    if error.errno == errno.ELOOP:
        return f"{path}: is a symbolic link, which is not followed; remove it: rm {path}"
    try:
        owner = os.stat(path, follow_symlinks=False).st_uid
    except OSError:
        owner = None
    if error.errno == errno.EACCES and owner is not None and owner != os.geteuid():
        return (
            f"{path}: belongs to {_account(owner)}, whose gateway it may be; if none runs, remove it: rm {path}, or "
            "run as that account"
        )
    return (
        f"{shown(path)}: {error.strerror}; wgjit needs a folder for its lock and socket: run as root or set "
        "WGJIT_RUN_FOLDER"
    )


def _account(uid: int) -> str:
    try:
        return f"{pwd.getpwuid(uid).pw_name} (uid {uid})"
    except KeyError:
        return f"uid {uid}"

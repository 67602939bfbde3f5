"""Turns errno into wgjit's own errors, for every protocol that reaches a WireGuard interface."""

from __future__ import annotations

import errno
import os

from wgjit.errors import DeviceError, DeviceFull, NoSuchDevice, NotPermitted

_MEANINGS: dict[int, tuple[type[DeviceError], str]] = {
    errno.ENODEV: (NoSuchDevice, "there is no such WireGuard interface"),
    errno.ENXIO: (NoSuchDevice, "there is no such WireGuard interface"),
    errno.ENOENT: (NoSuchDevice, "this kernel has no WireGuard; load the module wireguard or use wireguard-go"),
    errno.EOPNOTSUPP: (NoSuchDevice, "it is not a WireGuard interface"),
    errno.EPERM: (NotPermitted, "not permitted; run as root or with CAP_NET_ADMIN"),
    errno.EACCES: (NotPermitted, "not permitted; run as root or with CAP_NET_ADMIN"),
    errno.ENOMEM: (DeviceFull, "it cannot take another peer: 2^20 a kernel interface, or memory is out"),
    errno.ENOSPC: (DeviceFull, "it cannot take another peer"),
    errno.EAGAIN: (DeviceError, "no answer in time"),
    errno.ETIMEDOUT: (DeviceError, "no answer in time"),
    errno.EADDRINUSE: (DeviceError, "its listen port is taken by another program; choose another port"),
}


def device_error(number: int, name: str, detail: str = "") -> DeviceError:
    """The error for a positive errno, `number`, from interface `name`.

    `detail` is the kernel's own text (extended acknowledgement), which never holds configuration bytes.
    """
    kind, meaning = _MEANINGS.get(number, (DeviceError, f"refused: {os.strerror(number)}"))
    return kind(meaning + (f" ({detail})" if detail else ""), field=name)

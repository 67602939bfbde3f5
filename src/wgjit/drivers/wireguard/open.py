"""One way to reach an interface, whatever is behind it."""

from __future__ import annotations

from wgjit.drivers.base import Device
from wgjit.drivers.wireguard.kernel.device import KernelDevice
from wgjit.drivers.wireguard.userspace.device import UserspaceDevice
from wgjit.errors import NoSuchDevice
from wgjit.wire.key_text import shown, without_keys


def open_device(name: str) -> Device:
    """The WireGuard interface of this name in this network namespace. Raises NoSuchDevice, NotPermitted, DeviceError.

    The kernel is asked first: its answer is about this namespace, while the sockets of userspace implementations lie in
    one folder for all of them, so that one may belong to a namesake elsewhere.
    """
    try:
        return _answering(KernelDevice(name))
    except NoSuchDevice as absent:
        in_kernel = absent
    try:
        return _answering(UserspaceDevice(name))
    except NoSuchDevice as absent:
        told = shown(name)
        raise NoSuchDevice(
            f"{told}: no WireGuard interface. In the kernel: {_reason(in_kernel, name)}. In userspace: "
            f"{_reason(absent, name)}. Make it with `ip link add {told} type wireguard` or `wireguard-go {told}`"
        ) from None


def _answering(device: Device) -> Device:
    try:
        device.info()
    except BaseException:
        device.close()
        raise
    return device


def _reason(error: NoSuchDevice, name: str) -> str:
    return without_keys(str(error).removeprefix(f"{name}: "))

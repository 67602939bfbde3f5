"""Finds the WireGuard interface of a name, in the kernel or in userspace."""

from __future__ import annotations

from wgjit.drivers.base import Device
from wgjit.drivers.wireguard.kernel.device import KernelDevice
from wgjit.drivers.wireguard.userspace.device import UserspaceDevice
from wgjit.errors import NoSuchDevice
from wgjit.wire.key_text import shown, without_keys


def open_device(name: str) -> Device:
    """The WireGuard interface of this name in this network namespace. Raises NoSuchDevice, NotPermitted, DeviceError.

    The kernel is asked first, because its answer is about this namespace. The sockets of userspace implementations lie
    in one folder for all namespaces, so a socket may belong to an interface of the same name elsewhere.
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
            f"no WireGuard interface. In the kernel: {without_keys(in_kernel.text)}. In userspace: "
            f"{without_keys(absent.text)}. Make it with `ip link add {told} type wireguard` or `wireguard-go {told}`",
            field=told,
        ) from None


def _answering(device: Device) -> Device:
    try:
        device.info()
    except BaseException:
        device.close()
        raise
    return device

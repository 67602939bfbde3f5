"""Makes and deletes WireGuard interfaces, with their addresses and routes.

Everything happens in the network namespace of the calling thread. Errors are DeviceErrors, and InvalidValue for the
caller's mistakes.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Literal

from wgjit.drivers.netlink.route import InterfaceAddress, Rtnetlink
from wgjit.drivers.wireguard.kernel.device import KernelDevice
from wgjit.drivers.wireguard.open import open_device
from wgjit.drivers.wireguard.translate import device_error
from wgjit.drivers.wireguard.userspace.device import UserspaceDevice
from wgjit.errors import DeviceError, InvalidValue, NoSuchDevice
from wgjit.model import AllowedIP, parse_allowed_ip
from wgjit.wire.addresses import parse_interface
from wgjit.wire.key_text import quoted

Backend = Literal["kernel", "userspace"]

TUN = "/dev/net/tun"
"""The device that wireguard-go needs."""

_START = 10.0
"""Seconds for wireguard-go to start, and to end."""
_POLL = 0.01


def interface_exists(name: str) -> bool:
    """Whether there is a network interface of this name, of any kind. Raises InvalidValue, DeviceError."""
    check_name(name)
    with _rtnetlink(name) as route:
        return route.link(name) is not None


def local_addresses() -> frozenset[bytes]:
    """The packed addresses assigned on this machine: 4 bytes each for IPv4, 16 for IPv6. Raises DeviceError.

    Of 127.0.0.0/8, which the kernel treats as its own, only assigned addresses are in it.
    """
    with _rtnetlink("addresses") as route:
        return frozenset(route.addresses())


def create_interface(
    name: str,
    addresses: Sequence[str] = (),
    routes: Sequence[str] = (),
    mtu: int = 1420,
    backend: Backend | Literal["auto"] = "auto",
) -> Backend:
    """Make an interface, set its addresses (`10.8.0.1/16`), switch it on, and route more prefixes into it.

    Returns the kind that was made. `auto` uses the kernel if it has WireGuard, else wireguard-go, which runs on its own
    and outlives wgjit. An interface that cannot be finished is deleted again. Raises InvalidValue, DeviceError.
    """
    check_name(name)
    own = [_parse_address(address) for address in addresses]
    prefixes = [parse_allowed_ip(route) for route in routes]
    if not 1280 <= mtu <= 65535:
        raise InvalidValue(f"mtu {mtu}: must be 1280 to 65535")
    with _rtnetlink(name) as route:
        if route.link(name) is not None:
            raise DeviceError(
                "there is an interface of this name already; remove it or choose another name", field=name
            )
        used = _make(route, name, backend)
        try:
            if used == "userspace":
                _await(lambda: _answers(name), f"{name}: wireguard-go runs, but does not answer")
            _configure(route, name, own, prefixes, mtu)
        except BaseException:
            _discard(route, name, used)
            raise
    return used


def delete_interface(name: str) -> None:
    """Delete a WireGuard interface with all its sessions. Raises NoSuchDevice if there is none of this name."""
    check_name(name)
    device = open_device(name)
    try:
        if isinstance(device, KernelDevice):
            device.remove_all_peers()  # on several CPUs the kernel takes 18 ms a peer to delete a crowded interface
        with _rtnetlink(name) as route:
            link = route.link(name)
            if link is not None:
                route.delete_link(link.index)
    finally:
        device.close()
    if isinstance(device, UserspaceDevice):
        _await_end(name)


def _discard(route: Rtnetlink, name: str, made_of: Backend) -> None:
    """Delete what was made so far. Errors of this are ignored, since the error that led here counts."""
    with suppress(OSError, DeviceError):
        link = route.link(name)
        if link is not None:
            route.delete_link(link.index)
        if made_of == "userspace":
            _await_end(name)


def _await_end(name: str) -> None:
    """Wait until a userspace process has ended. It ends when its link is gone, and its name is free only then."""
    socket = UserspaceDevice(name).path
    _await(lambda: not socket.exists(), f"{name}: its process does not end, its socket is {socket}")


def check_name(name: str) -> None:
    """Raise InvalidValue for a name that no interface can have (`dev_valid_name` in the kernel)."""
    if not 0 < len(name.encode()) < 16 or name in (".", "..") or any(c in "/:" or c.isspace() for c in name):
        raise InvalidValue(f"interface name {quoted(name)}: must be 1 to 15 bytes without spaces, '/' and ':'")


def _parse_address(text: str) -> InterfaceAddress:
    try:
        return parse_interface(text)
    except InvalidValue as error:
        raise InvalidValue(f"address {error.text}") from None


def _make(route: Rtnetlink, name: str, backend: Backend | Literal["auto"]) -> Backend:
    if backend != "userspace":
        try:
            route.add_link(name, "wireguard")
            return "kernel"
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
        if backend == "kernel":
            raise DeviceError("this kernel has no WireGuard; load the module wireguard or use wireguard-go", field=name)
    _start_wireguard_go(name)
    return "userspace"


def _start_wireguard_go(name: str) -> None:
    """Start wireguard-go in the background, in its own session, so that neither wgjit's end nor a ^C ends it."""
    program = shutil.which("wireguard-go", path=os.environ.get("PATH", os.defpath) + ":/usr/local/bin:/usr/bin")
    if program is None:
        raise DeviceError("wireguard-go is not installed; install it, or use a kernel that has WireGuard", field=name)
    # Silent, because it would log to wgjit's output for as long as it lives. WG_* would change how it starts.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WG_")} | {"LOG_LEVEL": "silent"}
    try:
        status = subprocess.run(
            [program, name],
            env=environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            timeout=_START,
        ).returncode
    except subprocess.TimeoutExpired:
        raise DeviceError(f"wireguard-go does not come up in {_START:.0f} s", field=name) from None
    if status:
        raise DeviceError(f"wireguard-go ended with status {status}; {_why(program, name)}", field=name)


def _why(program: str, name: str) -> str:
    """Why wireguard-go may have ended, and what helps. It was silent."""
    if not os.path.exists(TUN):
        return f"there is no {TUN}: load the module tun, or pass the device into the container"
    if not os.access(TUN, os.R_OK | os.W_OK):
        return f"{TUN} is closed to this account: chmod 666 {TUN}, as udev sets it"
    return f"to see why, as this account: {program} -f {name}"


def _answers(name: str) -> bool:
    try:
        UserspaceDevice(name).info()
    except NoSuchDevice:
        return False
    return True


def _configure(
    route: Rtnetlink, name: str, addresses: Sequence[InterfaceAddress], prefixes: Sequence[AllowedIP], mtu: int
) -> None:
    link = route.link(name)
    if link is None:
        raise NoSuchDevice("the interface went away while it was made", field=name)
    for address in addresses:
        try:
            route.add_address(link.index, address)
        except OSError as error:
            raise device_error(error.errno or errno.EIO, name, f"address {address}") from None
    route.bring_up(link.index, mtu)
    connected = {address.network for address in addresses}  # the kernel has routed these already
    for prefix in prefixes:
        if prefix in connected:
            continue
        try:
            route.add_route(link.index, prefix)
        except OSError as error:
            if error.errno == errno.EEXIST:
                raise DeviceError(f"route {prefix}: the machine has one already; remove either", field=name) from None
            raise device_error(error.errno or errno.EIO, name, f"route {prefix}") from None


def _await(condition: Callable[[], bool], failure: str) -> None:
    deadline = time.monotonic() + _START
    while not condition():
        if time.monotonic() > deadline:
            raise DeviceError(failure)
        time.sleep(_POLL)


@contextmanager
def _rtnetlink(name: str) -> Iterator[Rtnetlink]:
    try:
        with Rtnetlink() as route:
            yield route
    except OSError as error:
        raise device_error(error.errno or errno.EIO, name, error.strerror or "") from None

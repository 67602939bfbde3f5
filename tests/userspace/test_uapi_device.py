"""wireguard-go through its UAPI socket, held to the device contract."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from tests.contracts.real_device import RealDeviceContract
from wgjit.drivers.base import Device
from wgjit.drivers.wireguard.interface import create_interface, interface_exists
from wgjit.drivers.wireguard.open import open_device
from wgjit.drivers.wireguard.userspace.device import UserspaceDevice
from wgjit.errors import DeviceError, NoSuchDevice, NotPermitted


class TestUserspaceDevice(RealDeviceContract):
    backend = "userspace"
    keeps_scope = False  # wireguard-go 0.0.20220316 uses it, but leaves it out of what it tells

    def test_it_is_found_by_its_socket(self, device: Device) -> None:
        assert isinstance(device, UserspaceDevice)
        assert device.path.is_socket()

    def test_it_runs_in_a_session_of_its_own_and_leaves_no_socket_behind(self, device: Device) -> None:
        assert isinstance(device, UserspaceDevice)
        [process] = _wireguard_go(device.name)
        assert os.getsid(process) != os.getsid(0)
        self.delete(device)
        assert not device.path.exists()

    def test_after_a_kill_it_is_gone_and_can_be_made_again(self, device: Device) -> None:
        [process] = _wireguard_go(device.name)
        os.kill(process, signal.SIGKILL)
        with pytest.raises(NoSuchDevice, match=device.name):
            _ask_for_ever(device)  # the kernel takes a moment to close what it had open
        while interface_exists(device.name):  # and another for the interface, after the socket
            time.sleep(0.01)
        assert create_interface(device.name) == "userspace"
        assert list(open_device(device.name).peers()) == []

    @pytest.mark.parametrize("change", [lambda path: os.chown(path, 54321, 54321), lambda path: path.chmod(0o777)])
    def test_giving_its_socket_away_ends_it(self, device: Device, change: Callable[[Path], None]) -> None:
        """Why the error about another account's socket warns of just that: it looks like the way out."""
        assert isinstance(device, UserspaceDevice)
        assert _wireguard_go(device.name)
        change(device.path)
        while interface_exists(device.name):  # it notices by itself, and the interface goes with it
            time.sleep(0.01)

    def test_to_another_account_its_error_says_what_works(self, device: Device) -> None:
        """A child is that account, as the service is: without a capability over files."""
        assert isinstance(device, UserspaceDevice)
        reader, writer = os.pipe()
        if not (child := os.fork()):
            os.setuid(54321)
            try:
                UserspaceDevice(device.name).info()
            except NotPermitted as error:
                os.write(writer, str(error).encode())
            finally:
                os._exit(0)
        os.close(writer)
        with open(reader) as told:
            text = told.read()
        os.waitpid(child, 0)
        assert text.startswith(f"{device.name}: ")
        assert "answers only to the account that started its process" in text or "is closed to this account" in text

    def test_a_namesake_elsewhere_is_not_taken_for_the_interface_here(self, device: Device) -> None:
        def look() -> None:
            with pytest.raises(NoSuchDevice, match="this network namespace has no interface of that name"):
                open_device(device.name)

        self.network.namespace("other").call(look)

    def test_without_wireguard_go_the_fix_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        name = self.name()
        monkeypatch.setattr("wgjit.drivers.wireguard.interface.shutil.which", lambda *_, **__: None)
        with pytest.raises(DeviceError, match="wireguard-go is not installed"):
            create_interface(name, backend="userspace")
        assert not interface_exists(name)


def _ask_for_ever(device: Device) -> NoReturn:
    while True:
        device.info()


def _wireguard_go(interface: str) -> list[int]:
    """The processes that serve this interface."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            words = path.read_bytes().split(b"\0")
            if words[0].endswith(b"wireguard-go") and interface.encode() in words:
                found.append(int(path.parent.name))
    return found

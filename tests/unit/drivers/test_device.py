"""Which device is opened, what an errno becomes, and a netlink socket that gets answers out of turn."""

from __future__ import annotations

import errno
import struct
import subprocess
from collections.abc import Callable, Iterator

import pytest

from tests.fakes.device import FakeDevice
from wgjit.drivers.netlink.codec import NLMSG_DONE, NLMSG_ERROR
from wgjit.drivers.netlink.generic import GenetlinkSocket
from wgjit.drivers.netlink.route import NETLINK_ROUTE, RTM_DELLINK, Rtnetlink
from wgjit.drivers.netlink.socket import NetlinkSocket
from wgjit.drivers.wireguard import interface
from wgjit.drivers.wireguard import open as device_module
from wgjit.drivers.wireguard.interface import check_name, interface_exists, local_addresses
from wgjit.drivers.wireguard.open import open_device
from wgjit.drivers.wireguard.translate import device_error
from wgjit.errors import DeviceError, DeviceFull, InvalidValue, NoSuchDevice, NotPermitted

# --- which device ---------------------------------------------------------------------------------------------


class Opened:
    """What stands behind a name: in the kernel, in userspace."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.kernel, self.userspace = FakeDevice(), FakeDevice()
        monkeypatch.setattr(device_module, "KernelDevice", lambda name: self.kernel)
        monkeypatch.setattr(device_module, "UserspaceDevice", lambda name: self.userspace)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Opened:
    return Opened(monkeypatch)


def test_the_kernel_comes_first(opened: Opened) -> None:
    assert open_device("wg0") is opened.kernel


def test_userspace_is_asked_when_the_kernel_has_none(opened: Opened) -> None:
    opened.kernel.vanish()
    assert open_device("wg0") is opened.userspace
    assert opened.kernel.closed


def test_neither_is_an_error_that_names_both_and_the_fix(opened: Opened) -> None:
    opened.kernel.vanish()
    opened.userspace.vanish()
    with pytest.raises(NoSuchDevice, match=r"^wg0: .*kernel: there is no.*userspace: .*ip link add wg0 type wireguard"):
        open_device("wg0")
    assert opened.kernel.closed
    assert opened.userspace.closed


@pytest.mark.parametrize("error", [NotPermitted("wg0: not permitted"), DeviceError("wg0: broken")])
def test_a_failure_is_not_taken_for_absence(opened: Opened, error: DeviceError) -> None:
    opened.kernel.fail(error)
    with pytest.raises(DeviceError) as caught:
        open_device("wg0")
    assert caught.value is error
    assert opened.kernel.closed


# --- errno ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENODEV, NoSuchDevice),
        (errno.ENOENT, NoSuchDevice),
        (errno.EOPNOTSUPP, NoSuchDevice),
        (errno.EPERM, NotPermitted),
        (errno.EACCES, NotPermitted),
        (errno.ENOMEM, DeviceFull),
        (errno.ENOSPC, DeviceFull),
        (errno.EADDRINUSE, DeviceError),
        (errno.EINVAL, DeviceError),
        (100_000, DeviceError),
    ],
)
def test_errno_is_translated(number: int, kind: type[DeviceError]) -> None:
    error = device_error(number, "wg0", "what the kernel said")
    assert type(error) is kind
    assert str(error).startswith("wg0: ")
    assert str(error).endswith(" (what the kernel said)")


# --- the netlink socket -----------------------------------------------------------------------------------------


class Scripted:
    """Stands for the kernel's side of a socket: each step makes the next datagram from the last request's sequence."""

    def __init__(self, *steps: Callable[[int], tuple[bytes, int]]) -> None:
        self.steps = list(steps)
        self.requests: list[bytes] = []

    def send(self, request: bytes) -> None:
        self.requests.append(request)

    def recvfrom(self, size: int) -> tuple[bytes, tuple[int, int]]:
        data, sender = self.steps.pop(0)(struct.unpack_from("=IHHI", self.requests[-1])[3])
        return data, (sender, 0)

    def close(self) -> None:
        pass


def datagram(kind: int, body: bytes, ago: int = 0, sender: int = 0) -> Callable[[int], tuple[bytes, int]]:
    """A message that answers the request `ago` before the last one."""
    return lambda sequence: (struct.pack("=IHHII", 16 + len(body), kind, 0, sequence - ago, 0) + body, sender)


def verdict(number: int, ago: int = 0, sender: int = 0) -> Callable[[int], tuple[bytes, int]]:
    return datagram(NLMSG_ERROR, struct.pack("=i", -number) + bytes(16), ago, sender)


def lost(sequence: int) -> tuple[bytes, int]:
    raise OSError(errno.ENOBUFS, "No buffer space available")


@pytest.fixture
def script() -> Iterator[Callable[..., tuple[NetlinkSocket, Scripted]]]:
    def make(*steps: Callable[[int], tuple[bytes, int]]) -> tuple[NetlinkSocket, Scripted]:
        made = NetlinkSocket(NETLINK_ROUTE)
        made.close()
        made._socket = kernel = Scripted(*steps)  # type: ignore[assignment]
        return made, kernel

    return make


def test_stale_and_foreign_answers_are_passed_over(script: Callable[..., tuple[NetlinkSocket, Scripted]]) -> None:
    asked, kernel = script(
        verdict(errno.EINVAL, ago=1), verdict(errno.EPERM, sender=4711), datagram(30, b"data"), verdict(0)
    )
    assert [message.body for message in asked.request(30, b"")] == [b"data"]
    assert not kernel.steps


def test_a_request_whose_answer_was_lost_is_sent_again(script: Callable[..., tuple[NetlinkSocket, Scripted]]) -> None:
    asked, kernel = script(lost, verdict(0, ago=1), lost, verdict(0))
    asked.request(30, b"set")
    assert len(kernel.requests) == 3
    asked, kernel = script(lost, lost, lost)
    with pytest.raises(OSError, match="No buffer space"):
        asked.request(30, b"set")


def test_the_error_at_the_end_of_a_dump_is_raised(script: Callable[..., tuple[NetlinkSocket, Scripted]]) -> None:
    asked, _ = script(datagram(30, b"one"), datagram(NLMSG_DONE, struct.pack("=i", -errno.ENODEV)))
    dump = asked.dump(30, b"")
    assert next(dump).body == b"one"
    with pytest.raises(OSError, match="19"):
        next(dump)


# --- the real kernel, as far as anybody may ask it ------------------------------------------------------------


def test_a_family_is_found_by_name() -> None:
    with GenetlinkSocket(2) as asked:
        assert asked.resolve("nlctrl") == 16
        with pytest.raises(OSError, match=r"\[Errno 2\]"):
            asked.resolve("no-such-family")


def test_links_and_addresses_are_read() -> None:
    with Rtnetlink() as route:
        loopback = route.link("lo")
        assert loopback is not None
        assert loopback.index == 1
        assert route.link("no-such-link") is None
        with pytest.raises(OSError, match=r"Errno (1|19)\b"):  # not permitted, or as root: no such device
            route.request(RTM_DELLINK, struct.pack("=BxHiII", 0, 0, 0x7FFFFFFF, 0, 0))
    assert interface_exists("lo")
    assert not interface_exists("no-such-link")
    assert all(len(address) in (4, 16) for address in local_addresses())


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a b", "a:b", "a\nb", "x" * 16, "ä" * 8])
def test_a_name_that_no_interface_can_have_is_refused(name: str) -> None:
    with pytest.raises(InvalidValue, match="interface name"):
        check_name(name)


@pytest.mark.parametrize("name", ["wg0", "x" * 15, "wg-0.1", "ä"])
def test_a_name_that_an_interface_can_have_is_taken(name: str) -> None:
    check_name(name)


# --- wireguard-go that does not start ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("exists", "opens", "told"),
    [
        (False, False, "there is no /dev/net/tun: load the module tun"),
        (True, False, "/dev/net/tun is closed to this account: chmod 666 /dev/net/tun"),
        (True, True, "to see why, as this account: /opt/wireguard-go -f wg0"),
    ],
)
def test_a_wireguard_go_that_ends_at_once_is_told_with_the_likely_reason(
    monkeypatch: pytest.MonkeyPatch, exists: bool, opens: bool, told: str
) -> None:
    monkeypatch.setattr(interface.shutil, "which", lambda *_, **__: "/opt/wireguard-go")
    monkeypatch.setattr(interface.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 1))
    monkeypatch.setattr(interface.os.path, "exists", lambda _path: exists)
    monkeypatch.setattr(interface.os, "access", lambda *_: opens)
    with pytest.raises(DeviceError, match=f"wg0: wireguard-go ended with status 1; {told}"):
        interface._start_wireguard_go("wg0")

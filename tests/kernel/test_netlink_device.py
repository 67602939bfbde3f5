"""The kernel's WireGuard, held to the device contract, and what only it does."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from lab.netns import Lab
from tests.contracts.device import DeviceContract, crowd, new_key, prefixes, shake_hands, told
from tests.inside import inside
from wgjit.drivers.base import Device
from wgjit.drivers.device import open_device
from wgjit.drivers.links import create_interface, delete_interface, interface_exists, local_addresses
from wgjit.drivers.wg_netlink import KernelDevice
from wgjit.errors import DeviceError, NoSuchDevice
from wgjit.model import PeerChange, PublicKey


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as lab, inside(lab.namespace("dev")):
        yield lab


@pytest.fixture
def device(lab: Lab) -> Iterator[KernelDevice]:
    name = lab.interface("d")
    assert create_interface(name) == "kernel"
    device = open_device(name)
    assert isinstance(device, KernelDevice)
    yield device
    device.close()


class TestKernelDevice(DeviceContract):
    @pytest.fixture(autouse=True)
    def _take_the_lab(self, lab: Lab) -> None:
        self.lab = lab

    @pytest.fixture
    def device(self, device: KernelDevice) -> KernelDevice:
        return device

    def delete(self, device: Device) -> None:
        delete_interface(device.name)

    def connect_client(self, device: Device) -> PublicKey:
        name = self.lab.interface("c")
        create_interface(name)
        return shake_hands(device, open_device(name), self.free_port())


# --- dumps of an interface that changes meanwhile -------------------------------------------------------------


def test_a_dump_that_loses_its_place_is_taken_again(device: KernelDevice) -> None:
    changes = crowd(3000)
    device.apply(changes)
    order = [peer.public_key for peer in device.peers()]
    stream = device.peers()
    found = {next(stream).public_key for _ in range(100)}
    # The kernel is at most a few messages ahead of us: its place is among these, and all are gone now.
    device.apply([PeerChange(key, remove=True) for key in order[90:1200]])
    found |= {peer.public_key for peer in stream}
    stayed = {*order[:90], *order[1200:]}
    assert found >= stayed
    assert told(device).keys() == stayed


def test_every_peer_that_stays_is_told_while_others_come_and_go(device: KernelDevice) -> None:
    stay, goes = crowd(1500), [new_key() for _ in range(1500)]
    device.apply([change for pair in zip(stay, map(PeerChange, goes), strict=True) for change in pair])
    ended = threading.Event()
    started = threading.Event()

    def churn() -> None:
        while not ended.is_set():
            for key in goes:
                device.apply([PeerChange(key, remove=True)])
                started.set()
                device.apply([PeerChange(key)])
                if ended.is_set():
                    return

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        assert started.wait(10)
        for _ in range(5):
            keys = [peer.public_key for peer in device.peers()]
            assert len(keys) == len(set(keys))
            assert {change.public_key for change in stay} <= set(keys)
    finally:
        ended.set()
        thread.join()


def test_a_split_peer_is_told_whole_or_again(device: KernelDevice) -> None:
    many = prefixes(*(f"10.{index >> 8}.{index & 255}.0/24" for index in range(4000)))
    big, thief = PeerChange(new_key(), allowed_ips=many), new_key()
    device.apply([big, PeerChange(thief)])
    stream = device.peers()
    # The dump is under way as soon as it is opened; a change of allowed IPs now cuts the split peer short in it.
    reader = threading.Thread(target=lambda: found.update({p.public_key: p for p in stream}))
    found: dict[PublicKey, object] = {}
    reader.start()
    device.apply([PeerChange(thief, allowed_ips=prefixes("192.0.2.0/24"))])
    reader.join()
    assert set(told(device)[big.public_key].allowed_ips) == set(many)
    assert found[big.public_key].allowed_ips.__len__() == len(many)  # type: ignore[attr-defined]


def test_an_interface_can_go_while_a_dump_of_it_is_abandoned(device: KernelDevice) -> None:
    device.apply(crowd(500))
    stream = device.peers()
    next(stream)
    stream.close()
    delete_interface(device.name)
    assert not interface_exists(device.name)


# --- what is not there ------------------------------------------------------------------------------------------


def test_another_kind_of_interface_is_not_taken_for_one_of_ours(lab: Lab) -> None:
    with pytest.raises(NoSuchDevice, match=r"lo: .*not a WireGuard interface"):
        open_device("lo")
    with pytest.raises(NoSuchDevice, match="lo"):
        delete_interface("lo")
    assert interface_exists("lo")


def test_a_port_that_is_taken_is_named(device: KernelDevice, lab: Lab) -> None:
    device.set_interface(listen_port=51820)
    name = lab.interface("e")
    create_interface(name)
    other = open_device(name)
    with pytest.raises(DeviceError, match="listen port is taken"):
        other.set_interface(listen_port=51820)


# --- links ------------------------------------------------------------------------------------------------------


def test_an_interface_is_made_with_addresses_and_routes(lab: Lab) -> None:
    name = lab.interface("e")
    create_interface(name, ["10.8.0.1/16", "fd00:8::1/64"], ["10.8.0.0/16", "192.0.2.0/24", "2001:db8::/48"], mtu=1400)
    assert {bytes([10, 8, 0, 1]), bytes.fromhex("fd000008" + "00" * 11 + "01")} <= local_addresses()
    [namespace] = lab.namespaces
    routes = namespace.run("ip", "route") + namespace.run("ip", "-6", "route")
    for prefix in ("10.8.0.0/16", "192.0.2.0/24", "fd00:8::/64", "2001:db8::/48"):
        assert f"{prefix} dev {name}" in routes
    assert "mtu 1400" in namespace.run("ip", "link", "show", name)


def test_a_half_made_interface_is_taken_away_again(lab: Lab) -> None:
    first, second = lab.interface("e"), lab.interface("e")
    create_interface(first, ["10.8.0.1/16"], ["192.0.2.0/24"])
    with pytest.raises(DeviceError, match=r"route 192\.0\.2\.0/24"):
        create_interface(second, ["10.9.0.1/16"], ["192.0.2.0/24"])
    assert not interface_exists(second)
    with pytest.raises(DeviceError, match="already"):
        create_interface(first)
    assert interface_exists(first)


def test_a_crowded_interface_is_emptied_before_it_is_deleted(device: KernelDevice) -> None:
    device.apply(crowd(300))
    device.remove_all_peers()
    assert list(device.peers()) == []
    device.apply(crowd(300))
    delete_interface(device.name)
    assert not interface_exists(device.name)

"""The device contract on real interfaces of the kernel or of wireguard-go, and how these are made and removed.

All interfaces of one test class are in one namespace of their own, and the test runs inside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import pytest

from lab.netns import Lab
from tests.contracts.device import DeviceContract, crowd, shake_hands, told
from tests.inside import inside
from wgjit.drivers.base import Device
from wgjit.drivers.wireguard.interface import (
    Backend,
    create_interface,
    delete_interface,
    interface_exists,
    local_addresses,
)
from wgjit.drivers.wireguard.open import open_device
from wgjit.errors import DeviceError, InvalidValue, NoSuchDevice
from wgjit.model import PublicKey


class RealDeviceContract(DeviceContract):
    backend: ClassVar[Backend]

    @pytest.fixture(scope="class")
    @classmethod
    def network(cls) -> Iterator[Lab]:
        with Lab() as network, inside(network.namespace("dev")):
            yield network

    @pytest.fixture(autouse=True)
    def _tidy(self, network: Lab) -> Iterator[None]:
        self.network, self.names = network, list[str]()
        yield
        for name in self.names:
            if interface_exists(name):
                delete_interface(name)

    @pytest.fixture
    def device(self, _tidy: None) -> Iterator[Device]:
        device = self.make()
        yield device
        device.close()

    def name(self) -> str:
        self.names.append(self.network.interface("d"))
        return self.names[-1]

    def make(self, *addresses: str, routes: tuple[str, ...] = (), mtu: int = 1420) -> Device:
        name = self.name()
        assert create_interface(name, addresses, routes, mtu) == self.backend
        return open_device(name)

    def delete(self, device: Device) -> None:
        delete_interface(device.name)

    def connect_client(self, device: Device) -> PublicKey:
        return shake_hands(device, self.make(), self.free_port())

    # --- links --------------------------------------------------------------------------------------------------

    def test_an_interface_is_made_with_addresses_and_routes(self) -> None:
        more = ("10.8.0.0/16", "192.0.2.0/24", "2001:db8::/48")  # the first is routed by the address already
        name = self.make("10.8.0.1/16", "fd00:8::1/64", routes=more, mtu=1400).name
        assert {bytes([10, 8, 0, 1]), bytes.fromhex("fd000008" + "00" * 11 + "01")} <= local_addresses()
        [namespace] = self.network.namespaces
        routes = namespace.run("ip", "route") + namespace.run("ip", "-6", "route")
        for prefix in (*more, "fd00:8::/64"):
            assert f"{prefix} dev {name}" in routes
        link = namespace.run("ip", "link", "show", name)
        assert "mtu 1400" in link
        assert ",UP" in link

    def test_a_half_made_interface_is_taken_away_again(self) -> None:
        first = self.make("10.8.0.1/16", routes=("192.0.2.0/24",)).name
        second = self.name()
        with pytest.raises(DeviceError, match=r"route 192\.0\.2\.0/24: the machine has one already"):
            create_interface(second, ["10.9.0.1/16"], ["192.0.2.0/24"])
        assert not interface_exists(second)
        with pytest.raises(DeviceError, match="already"):
            create_interface(first)
        assert len(told(open_device(first))) == 0
        create_interface(second, ["10.9.0.1/16"])  # the name is free

    def test_values_that_cannot_be_are_refused_before_anything_is_made(self) -> None:
        name = self.name()
        for values in (
            {"addresses": ["10.8.0.300/16"]},
            {"routes": ["10.8.0.1/16"]},
            {"mtu": 1000},
        ):
            with pytest.raises(InvalidValue, match=r"address|allowed IP|mtu"):
                create_interface(name, **values)  # type: ignore[arg-type]
        for bad in ("", "a/b", "a b", "x" * 16, ".."):
            with pytest.raises(InvalidValue, match="interface name"):
                create_interface(bad)
        assert not interface_exists(name)

    def test_a_crowded_interface_is_deleted(self, device: Device) -> None:
        device.apply(crowd(300))
        delete_interface(device.name)
        assert not interface_exists(device.name)
        with pytest.raises(NoSuchDevice, match=device.name):
            delete_interface(device.name)

    def test_another_kind_of_interface_is_not_taken_for_one_of_ours(self) -> None:
        with pytest.raises(NoSuchDevice, match="lo: no WireGuard interface"):
            open_device("lo")
        with pytest.raises(NoSuchDevice, match="lo: no WireGuard interface"):
            delete_interface("lo")
        assert interface_exists("lo")

    def test_a_listen_port_that_is_taken_is_named(self, device: Device) -> None:
        device.set_interface(listen_port=self.free_port())
        with pytest.raises(DeviceError, match="listen port is taken"):
            self.make().set_interface(listen_port=self.free_port())

"""The fake is held to the contract of the real ones, and its levers do what they say."""

from __future__ import annotations

import time

import pytest

from tests.contracts.device import DeviceContract, crowd, new_key, told
from tests.fakes.device import FakeDevice
from wgjit.drivers.base import Device
from wgjit.errors import DeviceError, DeviceFull
from wgjit.model import Endpoint, PeerChange, PublicKey


class TestFakeDevice(DeviceContract):
    @pytest.fixture
    def device(self) -> Device:
        return FakeDevice("wg0")

    def delete(self, device: Device) -> None:
        assert isinstance(device, FakeDevice)
        device.vanish()

    def connect_client(self, device: Device) -> PublicKey:
        assert isinstance(device, FakeDevice)
        key = new_key()
        device.apply([PeerChange(key)])
        device.shake_hands(key, time.time(), Endpoint.parse("192.0.2.7:40000"))
        return key


def test_it_fails_once_on_demand() -> None:
    device = FakeDevice()
    device.fail(DeviceError("wg0: broken"))
    with pytest.raises(DeviceError, match="broken"):
        device.info()
    assert device.info().name == "wg0"


def test_it_fails_in_the_middle_of_a_batch() -> None:
    device, changes = FakeDevice(), crowd(5)
    device.fail(DeviceError("wg0: broken"), after=2)
    with pytest.raises(DeviceError, match="broken"):
        device.apply(changes)
    assert device.applied == changes[:2]
    assert device.keys == {change.public_key for change in changes[:2]}


def test_it_is_full_at_its_limit() -> None:
    device, changes = FakeDevice(limit=2), crowd(3)
    with pytest.raises(DeviceFull):
        device.apply(changes)
    device.apply([changes[1], PeerChange(changes[0].public_key, remove=True), changes[2]])
    assert told(device).keys() == {change.public_key for change in changes[1:]}

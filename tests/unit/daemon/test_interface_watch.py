"""When the interface is asked about, and what ends the watch."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.fakes.device import FakeDevice
from wgjit.daemon import interface_watch
from wgjit.daemon.interface_watch import until_changed
from wgjit.errors import DeviceError
from wgjit.model import DeviceInfo, PrivateKey


class Slow(FakeDevice):
    """A device whose answers take their time, and are counted."""

    asked = 0
    takes = 0.0

    def info(self) -> DeviceInfo:
        self.asked += 1
        time.sleep(self.takes)
        return super().info()


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Slow:
    monkeypatch.setattr(interface_watch, "INTERVAL", 0.01)
    monkeypatch.setattr(interface_watch, "_index", lambda name: 7)
    return Slow(private_key=PrivateKey.generate(), index=7)


def watch(device: Slow, seconds: float) -> bool:
    """Whether the watch ended within these seconds."""

    async def run() -> bool:
        watching = asyncio.create_task(until_changed(device, FakeDevice.info(device)))
        done, _ = await asyncio.wait({watching}, timeout=seconds)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        return bool(done)

    return asyncio.run(run())


def test_a_quick_answer_is_asked_for_often(device: Slow) -> None:
    assert not watch(device, 1.0)
    assert device.asked >= 3


def test_a_slow_answer_is_asked_for_seldom(device: Slow) -> None:
    device.takes = 0.05
    assert not watch(device, 1.0)
    assert device.asked == 1


def test_another_interface_of_the_same_name_is_asked_at_once(device: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    device.takes = 0.05
    monkeypatch.setattr(interface_watch, "_index", lambda name: 7 if device.asked < 1 else 8)
    assert not watch(device, 1.0)
    assert device.asked >= 3


def test_another_port_ends_it(device: Slow) -> None:
    served = device.info()

    async def run() -> None:
        watching = asyncio.create_task(until_changed(device, served))
        await asyncio.sleep(0.1)
        device.set_interface(listen_port=9)
        await asyncio.wait_for(watching, 5.0)

    asyncio.run(run())


def test_an_interface_that_is_gone_ends_it(device: Slow) -> None:
    served = device.info()
    device.vanish()
    asyncio.run(asyncio.wait_for(until_changed(device, served), 5.0))


def test_a_device_that_cannot_answer_is_asked_again(device: Slow) -> None:
    served = device.info()
    device.fail(DeviceError("wg0: busy"))

    async def run() -> None:
        watching = asyncio.create_task(until_changed(device, served))
        await asyncio.sleep(0.2)
        assert not watching.done()
        device.vanish()
        await asyncio.wait_for(watching, 5.0)

    asyncio.run(run())
    assert device.asked >= 3

"""When the interface is asked about, and what ends the watch."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from tests.fakes.device import FakeDevice
from tests.unit.daemon.conftest import until
from wgjit.daemon import interface_watch
from wgjit.daemon.interface_watch import until_changed
from wgjit.errors import DeviceError
from wgjit.model import DeviceInfo, PrivateKey

NEVER = 1e9
"""An answer that took a microsecond is followed by a quarter of an hour without a question."""


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


def watched_until(device: Slow, so_far: Callable[[], bool]) -> None:
    """Watch until something is so; the watch itself does not end."""

    async def run() -> None:
        watching = asyncio.create_task(until_changed(device, FakeDevice.info(device)))
        await until(so_far)
        assert not watching.done()
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)

    asyncio.run(run())


def test_a_quick_answer_is_asked_for_often(device: Slow) -> None:
    watched_until(device, lambda: device.asked >= 3)


def test_a_slow_answer_is_asked_for_seldom(device: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interface_watch, "SHARE", NEVER)
    looks: list[str] = []

    def index(name: str) -> int:
        looks.append(name)
        return 7

    monkeypatch.setattr(interface_watch, "_index", index)
    device.takes = 0.001
    watched_until(device, lambda: len(looks) >= 20)
    assert device.asked == 1


def test_another_interface_of_the_same_name_is_asked_at_once(device: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interface_watch, "SHARE", NEVER)
    device.takes = 0.001
    monkeypatch.setattr(interface_watch, "_index", lambda name: 7 if device.asked < 1 else 8)
    watched_until(device, lambda: device.asked >= 3)


def test_another_port_ends_it(device: Slow) -> None:
    served = device.info()

    async def run() -> None:
        watching = asyncio.create_task(until_changed(device, served))
        await until(lambda: device.asked >= 1)
        device.set_interface(listen_port=9)
        await asyncio.wait_for(watching, 60.0)

    asyncio.run(run())


def test_an_interface_that_is_gone_ends_it(device: Slow) -> None:
    served = device.info()
    device.vanish()
    asyncio.run(asyncio.wait_for(until_changed(device, served), 60.0))


def test_a_device_that_cannot_answer_is_asked_again(device: Slow) -> None:
    served = device.info()
    device.fail(DeviceError("wg0: busy"))

    async def run() -> None:
        watching = asyncio.create_task(until_changed(device, served))
        await until(lambda: device.asked >= 3)
        assert not watching.done()
        device.vanish()
        await asyncio.wait_for(watching, 60.0)

    asyncio.run(run())

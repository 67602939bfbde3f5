"""What the loop does to the device: installs and changes on the spot, removals and readings on a thread.

What could not be done to a resident is kept and tried again until it is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from concurrent.futures import Executor

from wgjit.core.vocabulary import DeviceRead, Evicted
from wgjit.daemon.faults import Faults
from wgjit.drivers.base import Device
from wgjit.errors import DeviceFull
from wgjit.model import PeerChange, PublicKey
from wgjit.refusal import Refusal

PART = 256
"""Residents of a reading that the core hears of at once: a millisecond or two, then packets have their turn."""


class DeviceWork:
    """The effects on one device. No call raises for what the device refuses: it is told as a fault."""

    def __init__(self, device: Device, faults: Faults, threads: Executor) -> None:
        self._device = device
        self._faults = faults
        self._threads = threads
        self._undone: dict[PublicKey, list[PeerChange]] = {}

    def install(self, changes: Sequence[PeerChange]) -> dict[PublicKey, Refusal]:
        """Make peers resident; gives those that the device refused, and why."""
        return self._apply(changes)

    def configure(self, changes: Sequence[PeerChange]) -> None:
        """Change residents; what the device refused is tried again by `retry`, in its old order."""
        failed = self._apply(changes)
        for change in changes:
            if change.public_key in failed:
                self._undone.setdefault(change.public_key, []).append(change)

    def retry(self) -> None:
        """Try again what the device refused."""
        if self._undone:
            self.configure([change for changes in self._undone.values() for change in changes])

    async def evict(self, keys: tuple[PublicKey, ...]) -> Evicted:
        """Take peers out, on a thread: it may take long, and knocks go on meanwhile."""
        self._forget_undone(keys)
        changes = [PeerChange(key, remove=True) for key in keys]
        began = time.monotonic()
        failures = await asyncio.get_running_loop().run_in_executor(self._threads, _make, self._device, changes)
        took = time.monotonic() - began
        return Evicted(keys, frozenset(self._blame(failures)), took)

    async def read(self) -> AsyncIterator[DeviceRead]:
        """All residents, read on a thread, told in parts."""
        began = time.monotonic()
        try:
            peers = await asyncio.get_running_loop().run_in_executor(self._threads, lambda: list(self._device.peers()))
        except Exception as error:
            self._faults.occurred("device", error)
            yield DeviceRead(float("-inf"), (), took=time.monotonic() - began)
            return
        took = time.monotonic() - began
        last = max(0, len(peers) - 1) // PART * PART
        for start in range(0, last, PART):
            yield DeviceRead(began, peers[start : start + PART], more=True)
            await asyncio.sleep(0)  # packets that wait go first
        yield DeviceRead(began, peers[last:], took=took)

    def _apply(self, changes: Sequence[PeerChange]) -> dict[PublicKey, Refusal]:
        self._forget_undone(change.public_key for change in changes)
        return self._blame(_make(self._device, changes))

    def _forget_undone(self, keys: Iterable[PublicKey]) -> None:
        for key in keys:
            self._undone.pop(key, None)

    def _blame(self, failures: dict[PublicKey, Exception]) -> dict[PublicKey, Refusal]:
        for error in failures.values():
            self._faults.occurred("device", error)
        if not failures:
            self._faults.passed("device")
        return {
            key: Refusal.FULL if isinstance(error, DeviceFull) else Refusal.DEVICE_FAILED
            for key, error in failures.items()
        }


def _make(device: Device, changes: Sequence[PeerChange]) -> dict[PublicKey, Exception]:
    """Make the changes together; if the device refuses one of them, one by one, to know which. Gives those."""
    try:
        device.apply(changes)
        return {}
    except Exception as error:
        if len(changes) == 1:
            return {changes[0].public_key: error}
    failures: dict[PublicKey, Exception] = {}
    for change in changes:
        failures |= _make(device, [change])
    return failures

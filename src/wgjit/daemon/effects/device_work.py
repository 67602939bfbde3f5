"""All work on the device: installs and changes on the loop, removals and readings on a thread.

A change of a resident that failed is kept and tried again until it succeeds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice

from wgjit.core.vocabulary.events import DeviceRead, Evicted
from wgjit.daemon.faults import Faults
from wgjit.drivers.base import Device
from wgjit.errors import DeviceFull, NoSuchDevice, NotPermitted
from wgjit.model import PeerChange, PublicKey
from wgjit.refusal import Refusal

HEAD_START = 0.0003
"""Seconds to wait before an install for a copied packet. WireGuard's workers should drop the first copy meanwhile.

A worker may wait for this process's CPU. So the sleep itself matters more than its length. A first copy that finds its
peer installed becomes rare, but not impossible (docs/DELIVERY.md has the rates). `core.delivery.replays` repairs the
outcome."""

AGAIN = 64
"""Most peers whose failed changes one retry tries again."""

PATIENCE = 0.5
"""Seconds after which the changes of a refused list are not tried one by one any more."""

PART = 32
"""Residents of a reading that are decoded and handed to the core at a time. Waiting packets come after each part."""


class DeviceWork:
    """The effects on one device. No call raises if the device refuses a change: it is reported as a fault."""

    def __init__(self, device: Device, faults: Faults, head_start: float = 0.0) -> None:
        """`head_start`: seconds to wait before each install; `HEAD_START` if packets are copied."""
        self._device = device
        self._faults = faults
        self._head_start = head_start
        # One thread for a look, one for a batch of removals, and none for other work: a slow registry delays neither.
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="wgjit-device")
        self._undone: dict[PublicKey, list[PeerChange]] = {}

    def install(self, changes: Sequence[PeerChange]) -> dict[PublicKey, Refusal]:
        """Install peers; return the peers that the device refused, and why."""
        if self._head_start:
            time.sleep(self._head_start)  # blocks the loop, since the loop's shortest timer is a millisecond
        return self._apply(changes)

    def configure(self, changes: Sequence[PeerChange]) -> None:
        """Change residents. `retry` tries again all changes that the device refused, in their old order."""
        failed = self._apply(changes)
        for change in changes:
            if change.public_key in failed:
                self._undone.setdefault(change.public_key, []).append(change)

    def retry(self) -> None:
        """Try again the changes that the device refused, for up to `AGAIN` peers."""
        if self._undone:
            self.configure([change for key in list(islice(self._undone, AGAIN)) for change in self._undone[key]])

    def close(self) -> None:
        """Give up the threads, without waiting for a call that hangs."""
        self._threads.shutdown(wait=False)

    async def evict(self, keys: tuple[PublicKey, ...], first: PeerChange | None = None) -> Evicted:
        """Remove peers on a thread, since it may take long. If the change `first` fails, no peer is removed."""
        changes = [PeerChange(key, remove=True) for key in keys]
        began = time.monotonic()
        run = asyncio.get_running_loop().run_in_executor
        failures: dict[PublicKey, Exception] = {}
        if first is not None and (refused := await run(self._threads, _make, self._device, [first])):
            failures = dict.fromkeys(keys, refused[first.public_key])
        else:
            failures = await run(self._threads, _make, self._device, changes)
        took = time.monotonic() - began
        self._forget_undone(key for key in keys if key not in failures)
        return Evicted(keys, frozenset(self._blame(failures)), took)

    def read_at_once(self) -> DeviceRead:
        """Read all residents on the loop. Only for devices with few residents."""
        began = time.monotonic()
        try:
            return DeviceRead(began, list(self._device.peers(partial=True)), took=time.monotonic() - began)
        except Exception as error:
            self._faults.occurred("device", error)
            return DeviceRead(float("-inf"), (), took=time.monotonic() - began)

    async def read(self) -> AsyncIterator[DeviceRead]:
        """Read all residents, and give them in parts.

        Only the reading itself runs on a thread; the loop decodes. A thread that decodes many peers would hold up the
        loop after each of the loop's system calls, for as long as the interpreter lets a thread run.
        """
        began = time.monotonic()
        reader = iter(self._device.peers(partial=True))
        run = asyncio.get_running_loop().run_in_executor
        try:
            first = await run(self._threads, next, reader, None)  # the whole wait for the device is here
            peers = iter(()) if first is None else chain([first], reader)
            took = time.monotonic() - began
            part = list(islice(peers, PART))
            while part:
                before = time.monotonic()
                following = list(islice(peers, PART))
                took += time.monotonic() - before
                if not following:
                    break
                yield DeviceRead(began, part, more=True)
                part = following
                await asyncio.sleep(0)  # handle waiting packets first
        except Exception as error:
            self._faults.occurred("device", error)
            yield DeviceRead(float("-inf"), (), took=time.monotonic() - began)
            return
        yield DeviceRead(began, part, took=took)

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
    """Make all changes in one call. If the device refuses, make them one by one; return those that it refuses.

    If the device is gone or takes longer than `PATIENCE` to refuse, all remaining changes count as refused.
    """
    try:
        device.apply(changes)
        return {}
    except Exception as error:
        failure = error
    if len(changes) == 1:
        return {changes[0].public_key: failure}
    failures: dict[PublicKey, Exception] = {}
    end = time.monotonic() + PATIENCE
    for change in changes:
        if isinstance(failure, NoSuchDevice | NotPermitted) or time.monotonic() >= end:
            failures[change.public_key] = failure
            continue
        try:
            device.apply([change])
        except Exception as error:
            failures[change.public_key] = failure = error
    return failures

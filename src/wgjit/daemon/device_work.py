"""What the loop does to the device: installs and changes on the spot, removals and readings on a thread.

What could not be done to a resident is kept and tried again until it is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice

from wgjit.core.vocabulary import DeviceRead, Evicted
from wgjit.daemon.faults import Faults
from wgjit.drivers.base import Device
from wgjit.errors import DeviceFull, NoSuchDevice, NotPermitted
from wgjit.model import PeerChange, PublicKey
from wgjit.refusal import Refusal

HEAD_START = 0.0003
"""Seconds that WireGuard's workers have to be done with packets of which we got copies, before their peers are there.

A worker may wait for the CPU that we are on, so it is less the length that counts than that we sleep. It makes it rare,
not impossible, that a packet finds its peer after all (docs/DELIVERY.md has the rates); what comes of it is mended by
`core.replays`."""

AGAIN = 64
"""Peers for which a retry tries again what failed."""

PATIENCE = 0.5
"""Seconds after which a device that refused a list of changes is not asked about each any more."""

PART = 32
"""Residents of a reading that are decoded, and told to the core, in one go: then packets have their turn."""


class DeviceWork:
    """The effects on one device. No call raises for what the device refuses: it is told as a fault."""

    def __init__(self, device: Device, faults: Faults, head_start: float = 0.0) -> None:
        """`head_start`: seconds that WireGuard has before each install; `HEAD_START` where packets are copied."""
        self._device = device
        self._faults = faults
        self._head_start = head_start
        # One for a look, one for a batch of removals; theirs alone, so that a slow registry never keeps them waiting.
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="wgjit-device")
        self._undone: dict[PublicKey, list[PeerChange]] = {}

    def install(self, changes: Sequence[PeerChange]) -> dict[PublicKey, Refusal]:
        """Make peers resident; gives those that the device refused, and why."""
        if self._head_start:
            time.sleep(self._head_start)  # on the spot: a timer's shortest is a millisecond
        return self._apply(changes)

    def configure(self, changes: Sequence[PeerChange]) -> None:
        """Change residents; what the device refused is tried again by `retry`, in its old order."""
        failed = self._apply(changes)
        for change in changes:
            if change.public_key in failed:
                self._undone.setdefault(change.public_key, []).append(change)

    def retry(self) -> None:
        """Try again what the device refused, or a part of it."""
        if self._undone:
            self.configure([change for key in list(islice(self._undone, AGAIN)) for change in self._undone[key]])

    def close(self) -> None:
        """Let go of the threads; a call that hangs is left to itself."""
        self._threads.shutdown(wait=False)

    async def evict(self, keys: tuple[PublicKey, ...], first: PeerChange | None = None) -> Evicted:
        """Take peers out, on a thread: it may take long, and knocks go on meanwhile. Nobody is, if `first` fails."""
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
        """All residents, of whom there are few, on the spot."""
        began = time.monotonic()
        try:
            return DeviceRead(began, list(self._device.peers(partial=True)), took=time.monotonic() - began)
        except Exception as error:
            self._faults.occurred("device", error)
            return DeviceRead(float("-inf"), (), took=time.monotonic() - began)

    async def read(self) -> AsyncIterator[DeviceRead]:
        """All residents, told in parts.

        What has to be waited for is done on a thread, and only that: a thread that decodes a crowd would keep the loop
        from going on after each of its system calls, for as long as the interpreter lets a thread run.
        """
        began = time.monotonic()
        reader = iter(self._device.peers(partial=True))
        run = asyncio.get_running_loop().run_in_executor
        try:
            first = await run(self._threads, next, reader, None)  # all that has to be waited for
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
                await asyncio.sleep(0)  # packets that wait go first
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
    """Make the changes together; if the device refuses one of them, one by one, to know which. Gives those.

    A device that is gone, or takes long to say no, says it of all.
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

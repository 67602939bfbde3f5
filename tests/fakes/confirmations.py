"""Confirmations in memory: tests let packets of awaited peers come with `came`."""

from __future__ import annotations

import os
from collections.abc import Iterable

from wgjit.drivers.base import ConfirmationCounters
from wgjit.model import AllowedIP, PublicKey


class FakeConfirmations:
    """Implements `wgjit.drivers.base.Confirmations`."""

    def __init__(self) -> None:
        self.watched: dict[PublicKey, tuple[AllowedIP, ...]] = {}
        """The peers that are looked for since the last flush."""
        self._coming: dict[PublicKey, tuple[AllowedIP, ...]] = {}
        self._came: list[PublicKey] = []
        self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def watch(self, key: PublicKey, allowed_ips: Iterable[AllowedIP]) -> None:
        self._coming[key] = tuple(allowed_ips)

    def flush(self) -> None:
        self.watched |= self._coming
        self._coming = {}

    def forget(self, key: PublicKey) -> None:
        self._coming.pop(key, None)
        self.watched.pop(key, None)

    def came(self, key: PublicKey) -> None:
        """A packet of this peer comes out of WireGuard."""
        if self.watched.pop(key, None) is not None:
            self._came.append(key)
            os.eventfd_write(self._event, 1)

    def fileno(self) -> int:
        return self._event

    def read(self) -> list[PublicKey]:
        os.eventfd_read(self._event)
        came, self._came = self._came, []
        return came

    def counters(self) -> ConfirmationCounters:
        return ConfirmationCounters(len(self.watched), 0, 0, 0)

    def close(self) -> None:
        os.close(self._event)

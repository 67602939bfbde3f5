"""What is being decided by a registration that was read a moment ago: has it changed since?

A change log tells of those who matter; who is being looked up or installed just now matters as well. An answer that may
tell of before a change is not acted upon.
"""

from __future__ import annotations

from collections.abc import Iterable

from wgjit.model import PublicKey


class Inquiries:
    """Keys whose registration is being asked for or acted upon. Constant time; no bigger than what waits."""

    def __init__(self) -> None:
        self._open: dict[PublicKey, int] = {}
        self._changed: dict[PublicKey, int] = {}
        self._now = 0

    def begin(self, key: PublicKey) -> int:
        """The registry is about to be asked for this key; gives a ticket for `end`."""
        self._open[key] = self._open.get(key, 0) + 1
        return self._now

    def end(self, key: PublicKey, ticket: int) -> bool:
        """What was begun with this ticket is over; True if the registration has changed since its beginning."""
        outdated = self._changed.get(key, 0) > ticket
        self._open[key] -= 1
        if not self._open[key]:
            del self._open[key]
            self._changed.pop(key, None)
        return outdated

    def changed(self, keys: Iterable[PublicKey]) -> None:
        """The registry says something new of these keys."""
        self._now += 1
        for key in keys:
            if key in self._open:
                self._changed[key] = self._now

    def keys(self) -> Iterable[PublicKey]:
        """Whom it is about; a copy, so that another thread may have it."""
        return self._open.copy()

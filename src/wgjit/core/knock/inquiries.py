"""Tells whether a registration changed while the gateway acted on it.

The gateway follows the change log for residents, and for keys that it is looking up or installing now. It does not act
on an answer that may be from before a change.
"""

from __future__ import annotations

from collections.abc import Iterable

from wgjit.model import PublicKey


class Inquiries:
    """Keys that the gateway is looking up or installing. Constant time; no larger than the number of waiting knocks."""

    def __init__(self) -> None:
        self._open: dict[PublicKey, int] = {}
        self._changed: dict[PublicKey, int] = {}
        self._now = 0

    def begin(self, key: PublicKey) -> int:
        """The gateway is about to look this key up or install it. Returns a ticket for `end`."""
        self._open[key] = self._open.get(key, 0) + 1
        return self._now

    def end(self, key: PublicKey, ticket: int) -> bool:
        """The lookup or install with this ticket is over. True if the registration has changed since `begin`."""
        outdated = self._changed.get(key, 0) > ticket
        self._open[key] -= 1
        if not self._open[key]:
            del self._open[key]
            self._changed.pop(key, None)
        return outdated

    def changed(self, keys: Iterable[PublicKey]) -> None:
        """The registrations of these keys have changed."""
        self._now += 1
        for key in keys:
            if key in self._open:
                self._changed[key] = self._now

    def __contains__(self, key: PublicKey) -> bool:
        """Whether the key is being looked up or installed."""
        return key in self._open

    def keys(self) -> Iterable[PublicKey]:
        """All keys; a copy, so that another thread may read it."""
        return self._open.copy()

"""Limits for calls: how often this gateway may send an initiation of its own to a client that has not knocked.

An attacker can send data in a client's name from anywhere, and so have the client called. So calls are few for one
client and for one source. All together stay below the number of handshakes (512, MAX_QUEUED_INCOMING_HANDSHAKES / 8)
that WireGuard takes at once without asking for cookies, since the clients' answers come in such a queue.

A stray that is beyond a limit waits for its turn. If that would take so long that the client knocks by itself, it is
given up.
"""

from __future__ import annotations

from collections import OrderedDict

from wgjit.core.knock.admission import source_of
from wgjit.model import PublicKey

RATE, BURST = 500.0, 250.0
"""Calls a second, and at once."""

SOURCE_RATE, SOURCE_BURST = 20.0, 40.0
"""Calls a second, and at once, to one source, an IPv4 address or an IPv6 /64. Many clients may be behind it."""

AGAIN = 5.0
"""Least seconds between two calls to one client (REKEY_TIMEOUT)."""

MOST, MINUTE = 3, 60.0
"""Calls to one client within so many seconds. A client that is called oftener has a network that does not settle."""

LATE = 10.0
"""Seconds after which a stray is given up. Its client knocks by itself 15 s after its first unanswered data."""

_REMEMBERED = 65536
"""Most sources and most clients that are remembered; the oldest are forgotten."""


class Limit:
    """So many a second, and some more at once. Constant time and memory."""

    __slots__ = ("_ahead", "_full", "_step")

    def __init__(self, rate: float, burst: float) -> None:
        self._step, self._ahead = 1.0 / rate, (burst - 1.0) / rate
        self._full = float("-inf")
        """When the whole burst is free again, monotonic seconds."""

    def when(self, now: float) -> float:
        """When the next one may go, monotonic seconds; `now` if at once."""
        return max(now, self._full - self._ahead)

    def take(self, at: float) -> None:
        """One goes at this time, which `when` has told."""
        self._full = max(self._full, at) + self._step


class Turns:
    """When strays of each source are due, and how often each client was called."""

    def __init__(self) -> None:
        self.all = Limit(RATE, BURST)
        self._sources: OrderedDict[bytes, Limit] = OrderedDict()
        self._called: OrderedDict[PublicKey, tuple[float, ...]] = OrderedDict()

    def turn(self, address: bytes, now: float) -> float | None:
        """When a stray from this packed address is due, as far as its source is concerned; None if that is too late.

        The turn is taken.
        """
        source = source_of(address)
        limit = self._sources.get(source)
        if limit is None:
            limit = self._sources[source] = Limit(SOURCE_RATE, SOURCE_BURST)
            if len(self._sources) > _REMEMBERED:
                self._sources.popitem(last=False)
        self._sources.move_to_end(source)
        due = limit.when(now)
        if due - now > LATE:
            return None
        limit.take(due)
        return due

    def of_client(self, key: PublicKey, now: float) -> float | None:
        """When this client may be called, monotonic seconds; None if it was called too often within a minute."""
        recent = [at for at in self._called.get(key, ()) if now - at < MINUTE]
        if len(recent) >= MOST:
            return None
        return max(now, recent[-1] + AGAIN) if recent else now

    def called(self, key: PublicKey, now: float) -> None:
        """This client is called now."""
        self._called[key] = (*(at for at in self._called.get(key, ()) if now - at < MINUTE), now)
        self._called.move_to_end(key)
        if len(self._called) > _REMEMBERED:
            self._called.popitem(last=False)

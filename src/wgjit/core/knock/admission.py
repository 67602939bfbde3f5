"""The rate and the reputation of each source, and what the gateway saw a moment ago.

All memories are bounded, because an attacker chooses what goes in. The entry least recently used goes first.
A refusal here costs a resident nothing: the kernel still gets the resident's packet.

A source is an IPv4 address, or an IPv6 /64, since a client with one address of a /64 has all of them.
"""

from __future__ import annotations

import zlib
from array import array
from collections import OrderedDict
from enum import IntEnum

from wgjit.refusal import Refusal


def source_of(address: bytes) -> bytes:
    """The source that a packed address belongs to: 4 bytes for IPv4, 8 for IPv6."""
    return address if len(address) == 4 else address[:8]


class SourceLimits:
    """A token bucket per source."""

    def __init__(self, rate: float = 100.0, burst: float = 200.0, capacity: int = 65536) -> None:
        """A source may send `rate` initiations per second, `burst` at once. At most `capacity` sources are remembered.

        The default is generous, since a whole office or carrier may stand behind one IPv4 address.
        """
        self._rate, self._burst, self._capacity = rate, burst, capacity
        self._buckets: OrderedDict[bytes, tuple[float, float]] = OrderedDict()

    def admit(self, address: bytes, now: float) -> bool:
        """Take one token of the source with this packed address; False if no token is left."""
        source = source_of(address)
        tokens, since = self._buckets.pop(source, (self._burst, now))
        tokens = min(self._burst, tokens + (now - since) * self._rate)
        admitted = tokens >= 1.0
        self._buckets[source] = (tokens - 1.0 if admitted else tokens, now)
        if len(self._buckets) > self._capacity:
            self._buckets.popitem(last=False)
        return admitted

    def __len__(self) -> int:
        return len(self._buckets)


class RecentInitiations:
    """Initiations seen within the last second. A bridge and its port both show the same packet to a tap.

    Every honest initiation, also a retry, has a fresh ephemeral key (paper, section 5.4.2).
    """

    def __init__(self, window: float = 1.0, capacity: int = 8192) -> None:
        self._window, self._capacity = window, capacity
        self._seen: OrderedDict[bytes, float] = OrderedDict()

    def seen_before(self, ephemeral: bytes, now: float) -> bool:
        """True if this value (the door gives the mac1) came within the window. Remembers it in any case."""
        last = self._seen.pop(ephemeral, None)
        self._seen[ephemeral] = now
        if len(self._seen) > self._capacity:
            self._seen.popitem(last=False)
        return last is not None and now - last < self._window


class Reputation(IntEnum):
    """The reputation of a source, best first. It only decides which source is served under load.

    A source address proves nothing, because anybody can forge one. So no reputation is ever refused outright: each has
    a share of the `budget.Budget` that no other reputation can take.
    """

    GOOD = 0
    """A registered peer was proven from this source lately."""
    NEW = 1
    """Nothing is known against this source."""
    BAD = 2
    """An initiation from this source was refused lately, for one of the `FAULTS`."""


FAULTS = frozenset(
    {Refusal.BAD_MAC1, Refusal.BAD_POINT, Refusal.BAD_STATIC, Refusal.FORGED, Refusal.UNKNOWN, Refusal.RATE_LIMITED}
)
"""Refusals that count against a source. Refusals that an honest client may get, such as STALE or DISABLED, do not."""


class Reputations:
    """The reputation of each source.

    Good sources are remembered one by one: the `capacity` most recent, each for `good_for` seconds. A flood does not
    push them out, since only a registered private key makes a source good. Bad sources are far more, and an attacker
    invents them. So they are in a table of 2^20 numbers, always 4 MiB. A source's CRC is its place in the table.
    Sources that share a place share its bad reputation for `bad_for` seconds. The hash need not be secret: an attacker
    who wants to harm a source can also spoof the source's address itself.
    """

    _PLACES = 1 << 20

    def __init__(self, good_for: float = 86400.0, bad_for: float = 300.0, capacity: int = 65536) -> None:
        self._good_for, self._bad_for, self._capacity = good_for, bad_for, capacity
        self._good: OrderedDict[bytes, float] = OrderedDict()
        self._bad_until = array("I", bytes(4 * self._PLACES))
        """Monotonic seconds; 0 if nothing is known."""

    def of(self, address: bytes, now: float) -> Reputation:
        """The reputation of the source with this packed address."""
        source = source_of(address)
        since = self._good.get(source)
        if since is not None and now - since < self._good_for:
            return Reputation.GOOD
        return Reputation.BAD if now < self._bad_until[self._place(source)] else Reputation.NEW

    def proven(self, address: bytes, now: float) -> None:
        """A registered peer was proven from this address."""
        source = source_of(address)
        self._good[source] = now
        self._good.move_to_end(source)
        if len(self._good) > self._capacity:
            self._good.popitem(last=False)

    def refused(self, address: bytes, refusal: Refusal, now: float) -> None:
        """An initiation from this address was refused. Only `FAULTS` count."""
        if refusal in FAULTS:
            self._bad_until[self._place(source_of(address))] = int(now + self._bad_for)

    def _place(self, source: bytes) -> int:
        return zlib.crc32(source) & (self._PLACES - 1)

    def __len__(self) -> int:
        """Number of good sources that are remembered."""
        return len(self._good)


class RecentRefusals:
    """Keys that a remote registry refused a moment ago, so that the registry is not asked again for each knock.

    Only proven keys are remembered. So each entry costs an attacker a key pair, and no client can have the key of
    another client refused. The time to live is below the client's retry of 5 s (REKEY_TIMEOUT), so a peer that was
    added counts from its next knock, as with a local registry.

    A local registry does not need this. Its lookup costs 9 µs, this memory about 1 µs. The result of the proof, which
    comes after the lookup, must not be remembered: a forged initiation says nothing about the key that it claims, and a
    memory of forgeries by key would let a forger lock out the owner of the key.
    """

    def __init__(self, time_to_live: float = 4.0, capacity: int = 65536) -> None:
        self._time_to_live, self._capacity = time_to_live, capacity
        self._refusals: OrderedDict[bytes, tuple[Refusal, float]] = OrderedDict()

    def remember(self, key: bytes, refusal: Refusal, now: float) -> None:
        """The registry has just refused this proven key."""
        self._refusals[key] = (refusal, now)
        self._refusals.move_to_end(key)
        if len(self._refusals) > self._capacity:
            self._refusals.popitem(last=False)

    def recall(self, key: bytes, now: float) -> Refusal | None:
        """The registry's refusal of this key within the time to live; None if the registry has to be asked."""
        refusal, since = self._refusals.get(key, (None, now))
        if refusal is None:
            return None
        if now - since < self._time_to_live:
            return refusal
        del self._refusals[key]
        return None

    def forget(self, key: bytes) -> None:
        """Forget the refusal, because something about this key has changed."""
        self._refusals.pop(key, None)

    def __len__(self) -> int:
        return len(self._refusals)

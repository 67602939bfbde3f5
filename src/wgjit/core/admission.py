"""Who may make the gateway work: what one source may ask for, and what was seen a moment ago.

Both memories are bounded, because an attacker chooses what goes in: the entry least recently used goes first.
A refusal here costs a resident nothing: its packet is the kernel's as it always was.
"""

from __future__ import annotations

from collections import OrderedDict


class SourceLimits:
    """A token bucket per source: an IPv4 address, or an IPv6 /64 (whoever has one address there has them all)."""

    def __init__(self, rate: float = 100.0, burst: float = 200.0, capacity: int = 65536) -> None:
        """`rate` initiations per second and `burst` at once for a source; at most `capacity` sources remembered.

        The default is generous, since a whole office or carrier may stand behind one IPv4 address.
        """
        self._rate, self._burst, self._capacity = rate, burst, capacity
        self._buckets: OrderedDict[bytes, tuple[float, float]] = OrderedDict()

    def admit(self, address: bytes, now: float) -> bool:
        """Take one token of the source with this packed address; False if it has none left."""
        source = address if len(address) == 4 else address[:8]
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
    """Initiations seen within the last second, by their mac1, which covers all of a message but mac2.

    Two taps may show the same packet. Every honest initiation, a retry too, has a fresh ephemeral key (paper, section
    5.4.2), so its own mac1.
    """

    def __init__(self, window: float = 1.0, capacity: int = 8192) -> None:
        self._window, self._capacity = window, capacity
        self._seen: OrderedDict[bytes, float] = OrderedDict()

    def seen_before(self, mac1: bytes, now: float) -> bool:
        """True if this very message came within the window; remembers it in any case."""
        last = self._seen.pop(mac1, None)
        self._seen[mac1] = now
        if len(self._seen) > self._capacity:
            self._seen.popitem(last=False)
        return last is not None and now - last < self._window

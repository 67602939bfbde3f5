"""How many lines may be written, for each peer and in all. A line that is left out costs next to nothing, and counts.

Who can cause lines is anybody who knows a registered private key, or has recorded an initiation. So each peer has one
line of each kind in `QUIET` seconds, and all peers together have a token bucket. Its burst is for a gateway's start,
when many clients connect at once; its rate writes some 100 MB in a day at most.
"""

from __future__ import annotations

from collections import Counter, OrderedDict

QUIET = 60.0
"""Seconds in which a peer has one line of a kind."""

RATE, BURST = 5.0, 200.0
"""Lines a second of all peers together, and at once."""

REMEMBERED = 8192
"""Lines that are remembered: a key and a kind each. The one that was written longest ago is forgotten first."""


class Pace:
    """Asked before each line. Constant time; memory bounded by `REMEMBERED`."""

    def __init__(self) -> None:
        self.left_out: Counter[str] = Counter()
        """Lines that were left out, by kind, since `take_left_out`."""
        self._told: OrderedDict[tuple[bytes, str], list[float]] = OrderedDict()
        """When a peer's last line of a kind was written, and how many were left out since."""
        self._tokens, self._since = BURST, float("-inf")

    def may_tell(self, key: bytes, kind: str, now: float) -> int | None:
        """Whether this line may be written: how many of this peer's were left out before it; None if it may not."""
        which = (key, kind)
        before = self._told.get(which)
        if before is not None and now - before[0] < QUIET:
            before[1] += 1
            self.left_out[kind] += 1
            return None
        self._tokens = min(BURST, self._tokens + (now - self._since) * RATE)
        self._since = now
        if self._tokens < 1.0:
            self.left_out[kind] += 1
            if before is not None:
                before[1] += 1
            return None
        self._tokens -= 1.0
        self._told[which] = [now, 0]
        self._told.move_to_end(which)
        if len(self._told) > REMEMBERED:
            self._told.popitem(last=False)
        return 0 if before is None else int(before[1])

    def take_left_out(self) -> dict[str, int]:
        """How many lines of each kind were left out since the last call."""
        left_out, self.left_out = dict(self.left_out), Counter()
        return left_out

"""One answer of a registry elsewhere, and for how long it counts. Pure.

| it is   | if                                                            | then                     |
| ------- | ------------------------------------------------------------- | ------------------------ |
| fresh   | younger than its time to live, and no event spoke of it since | it is the answer         |
| usable  | a peer, no event spoke of it, at most `stale` seconds older   | where nobody else answers |
| neither | else                                                          | only its ETag is used    |

Age is told by the wall clock, since it outlives the process. An answer from the future (the clock was set back) is not
fresh, so a stepped clock makes no answer live longer without the service being asked.
"""

from __future__ import annotations

from dataclasses import dataclass

from wgjit.model import Peer, PublicKey, Standing

LEAST = 10.0
"""Seconds for which an answer counts at least, whatever its service says: a resident costs one request in so many."""

LEAST_FOLLOWED = 60.0
"""The same while the service tells by events what changes."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What the service said of a key."""

    key: PublicKey
    peer: Peer | None
    """None: it was a peer, and is one no more."""
    etag: str | None
    asked_at: float
    """Unix seconds when the question was sent: what changed after that may not be in it."""
    lives: float
    """Seconds."""
    is_valid: bool = True
    """False once an event said that the peer has changed."""

    def is_fresh(self, now: float, not_before: float) -> bool:
        """Whether it counts without asking; what was asked before `not_before` may have changed (both Unix seconds)."""
        return self.is_valid and self.asked_at >= min(not_before, now) and 0 <= now - self.asked_at < self.lives

    def is_usable(self, now: float, stale: float) -> bool:
        """Whether it counts where the service cannot be asked."""
        return self.peer is not None and self.is_valid and now - self.asked_at < self.lives + stale


def lives(
    peer: Peer | None, now: float, most: float, most_negative: float, max_age: float | None, *, followed: bool
) -> float:
    """Seconds for which an answer counts; `max_age` is the service's own word, which only shortens it.

    It cannot make every resident cost a request a second: there is a least. With `followed`, the service tells by
    events what changes, and 0 (no-store, no-cache), which many frameworks and proxies put on every answer, says
    nothing of how long this one holds.

    A "no" lives as long as "no such peer" does: who was disabled and is enabled again wants in at the next try.
    """
    refuses = peer is None or peer.standing(now) is not Standing.ENABLED
    longest = min(most, most_negative) if refuses else most
    if max_age is None or (followed and max_age <= 0.0):
        return longest
    return min(longest, max(max_age, LEAST_FOLLOWED if followed else LEAST))

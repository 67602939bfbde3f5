"""An answer of a remote registry, and how long it counts. Pure.

| answer  | condition                                                            | use                            |
| ------- | -------------------------------------------------------------------- | ------------------------------ |
| fresh   | younger than its time to live, and no event named its peer since     | it is the answer               |
| usable  | has a peer, no event named it since, at most `stale` seconds older   | if the service cannot be asked |
| neither | otherwise                                                            | only its ETag is used          |

Age is measured by the wall clock, since answers outlive the process. An answer from the future (the clock was set back)
is not fresh. So no step of the clock makes an answer live longer without a request.
"""

from __future__ import annotations

from dataclasses import dataclass

from wgjit.model import Peer, PublicKey, Standing

LEAST = 10.0
"""Least time for which an answer counts, seconds, whatever the service says: a resident costs one request in it."""

LEAST_FOLLOWED = 60.0
"""The same while the service reports changes by events."""


@dataclass(frozen=True, slots=True)
class CachedAnswer:
    """The service's answer for a key."""

    key: PublicKey
    peer: Peer | None
    """None: the key had a peer, and has none any more."""
    etag: str | None
    asked_at: float
    """Unix seconds when the question was sent. A later change may be missing from the answer."""
    lives: float
    """Time to live, seconds."""
    is_valid: bool = True
    """False after an event said that the peer has changed."""

    def is_fresh(self, now: float, not_before: float) -> bool:
        """Whether the answer counts without asking. It is old if asked for before `not_before` (both Unix seconds)."""
        return self.is_valid and self.asked_at >= min(not_before, now) and 0 <= now - self.asked_at < self.lives

    def is_usable(self, now: float, stale: float) -> bool:
        """Whether the answer counts if the service cannot be asked."""
        return self.peer is not None and self.is_valid and now - self.asked_at < self.lives + stale


def lives(
    peer: Peer | None, now: float, most: float, most_negative: float, max_age: float | None, *, followed: bool
) -> float:
    """Seconds for which an answer counts. `max_age` is the service's own wish, and can only shorten this time.

    The time has a lower bound, so that no service can make every resident cost a request a second. With `followed` the
    service reports changes by events. A `max_age` of 0 (no-store, no-cache) then does not count, since many frameworks
    and proxies put it on every answer.

    A peer that may not connect is remembered as long as "no such peer": a peer that is enabled again can connect at its
    client's next try.
    """
    refuses = peer is None or peer.standing(now) is not Standing.ENABLED
    longest = min(most, most_negative) if refuses else most
    if max_age is None or (followed and max_age <= 0.0):
        return longest
    return min(longest, max(max_age, LEAST_FOLLOWED if followed else LEAST))

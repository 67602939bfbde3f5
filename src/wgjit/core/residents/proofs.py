"""The initiations of one resident that this gateway has proven, and which of them began the session that is up.

WireGuard tells when a handshake was complete, and not which initiation began it. As responder it completes the
handshake of the newest initiation that it has answered: an answer makes it forget an older session that has passed no
data (`add_new_keypair`, noise.c). So a handshake belongs to the newest initiation that arrived before it. If the
gateway saw that initiation late, the handshake seems to belong to an older one, which does no harm.
"""

from __future__ import annotations

from wgjit.model import Tai64n

MOST = 8
"""Initiations that are remembered of one resident. One is the rule."""


class Proofs:
    """Timestamps and times of arrival (Unix seconds by our clock), the least timestamp first."""

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen: tuple[tuple[Tai64n, float], ...] = ()

    def __bool__(self) -> bool:
        return bool(self._seen)

    @property
    def first(self) -> Tai64n | None:
        """The least timestamp; None if there is none."""
        return self._seen[0][0] if self._seen else None

    @property
    def newest(self) -> Tai64n | None:
        """The greatest timestamp; None if there is none."""
        return self._seen[-1][0] if self._seen else None

    @property
    def newest_at(self) -> float:
        """When the greatest timestamp was proven; 0 if there is none."""
        return self._seen[-1][1] if self._seen else 0.0

    @property
    def first_at(self) -> float:
        """When the least timestamp was proven; 0 if there is none."""
        return self._seen[0][1] if self._seen else 0.0

    def add(self, stamp: Tai64n, at: float) -> None:
        """An initiation with this timestamp arrived at `at`."""
        seen = sorted({*self._seen, (stamp, at)})
        self._seen = tuple(seen if len(seen) <= MOST else [seen[0], *seen[2:]])

    def of(self, handshake: float) -> Tai64n | None:
        """The timestamp of the handshake that was complete at `handshake`, Unix seconds by our clock.

        None if its initiation is not among these.
        """
        before = [stamp for stamp, at in self._seen if at <= handshake]
        return before[-1] if handshake and before else None

    def arrival(self, stamp: Tai64n) -> float | None:
        """When the initiation with this timestamp arrived; None if it is not among these."""
        return next((at for one, at in self._seen if one == stamp), None)

    def after(self, stamp: Tai64n, at: float) -> Proofs:
        """Those with a greater timestamp that arrived later than `at`."""
        later = Proofs()
        later._seen = tuple(one for one in self._seen if one[0] > stamp and one[1] > at)
        return later

    def forget_before(self, stamp: Tai64n) -> None:
        """A session that began with this timestamp is confirmed. Older initiations count no more."""
        self._seen = tuple(one for one in self._seen if one[0] >= stamp)

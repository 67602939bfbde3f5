"""Proven knocks that cannot be answered yet, because their peer is being removed or another peer has to leave first.

The bound is per peer: a client that knocks often gets no more places than a client that knocks once. A knock waits no
longer than its client does, which knocks again after REKEY_TIMEOUT.
"""

from __future__ import annotations

from itertools import islice

from wgjit.core.knock.knocks import Knock
from wgjit.model import PublicKey

REKEY_TIMEOUT = 5.0
"""Seconds after which a client whose handshake got no answer tries again (messages.h)."""

PER_PEER = 2
"""Most knocks of one peer that wait: the client's own, and a recording of it that somebody sends again."""


class Parking:
    """Waiting knocks by peer, in the order in which the peers came."""

    def __init__(self) -> None:
        self._waiting: dict[PublicKey, list[Knock]] = {}

    def __len__(self) -> int:
        """Number of peers, not of knocks."""
        return len(self._waiting)

    def park(self, key: PublicKey, knock: Knock) -> bool:
        """Let the knock wait; False if `PER_PEER` knocks of this peer wait already."""
        knocks = self._waiting.setdefault(key, [])
        if len(knocks) >= PER_PEER:
            return False
        knocks.append(knock)
        return True

    def take(self, key: PublicKey) -> list[Knock]:
        """Take out the knocks of one peer."""
        return self._waiting.pop(key, [])

    def take_first(self, count: int) -> list[Knock]:
        """Take out the knocks of the first `count` peers."""
        return [knock for key in list(islice(self._waiting, count)) for knock in self._waiting.pop(key)]

    def take_overdue(self, now: float) -> list[Knock]:
        """Take out the knocks whose client has tried again by now. Goes through all knocks."""
        taken: list[Knock] = []
        for key, knocks in list(self._waiting.items()):
            overdue = [knock for knock in knocks if now >= knock.arrived + REKEY_TIMEOUT]
            taken += overdue
            self._waiting[key] = [knock for knock in knocks if knock not in overdue]
            if not self._waiting[key]:
                del self._waiting[key]
        return taken

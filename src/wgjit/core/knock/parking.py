"""Proven knocks that cannot be answered yet: their peer is just being removed, or another has to leave first.

Bounded by peer, not by knock: who knocks often gets no more room than who knocks once. None waits for longer than its
client, which knocks again after REKEY_TIMEOUT.
"""

from __future__ import annotations

from itertools import islice

from wgjit.core.knock.knocks import Knock
from wgjit.model import PublicKey

REKEY_TIMEOUT = 5.0
"""Seconds after which a client whose handshake got no answer tries again (messages.h)."""

PER_PEER = 2
"""Knocks of one peer that may wait: the client's, and a recording of it that somebody sends again."""


class Parking:
    """Knocks by peer, the peer that came first at the head."""

    def __init__(self) -> None:
        self._waiting: dict[PublicKey, list[Knock]] = {}

    def __len__(self) -> int:
        """Peers, not knocks."""
        return len(self._waiting)

    def park(self, key: PublicKey, knock: Knock) -> bool:
        """Let the knock wait; False if enough of this peer's wait already."""
        knocks = self._waiting.setdefault(key, [])
        if len(knocks) >= PER_PEER:
            return False
        knocks.append(knock)
        return True

    def take(self, key: PublicKey) -> list[Knock]:
        """The knocks of one peer; they wait no more."""
        return self._waiting.pop(key, [])

    def take_first(self, count: int) -> list[Knock]:
        """The knocks of the first so many peers; they wait no more."""
        return [knock for key in list(islice(self._waiting, count)) for knock in self._waiting.pop(key)]

    def take_overdue(self, now: float) -> list[Knock]:
        """Those whose client has tried again by now; they wait no more. Looks at all."""
        taken: list[Knock] = []
        for key, knocks in list(self._waiting.items()):
            overdue = [knock for knock in knocks if now >= knock.arrived + REKEY_TIMEOUT]
            taken += overdue
            self._waiting[key] = [knock for knock in knocks if knock not in overdue]
            if not self._waiting[key]:
                del self._waiting[key]
        return taken

"""Residents whose initiations are proven again and again, and whose handshakes are never completed.

To the gateway such a peer looks well: its key is right, it is resident, its packets go on to WireGuard. WireGuard
answers, and the client can do nothing with the answer (another preshared key), or never gets it. It knocks again after
5 s (REKEY_TIMEOUT), for as long as it has something to send.

As responder, WireGuard sets a peer's last handshake when the first packet of the new session has opened. So a look
shows whether a handshake was completed. A look that shows none, long enough after the first of several initiations,
decides.
"""

from __future__ import annotations

from dataclasses import dataclass

from wgjit.core.residents.residency import Residency
from wgjit.core.vocabulary.told import NotCompleted
from wgjit.model import Endpoint, PublicKey

WITHIN = 12.0
"""Seconds from the first initiation within which a handshake is completed, or something is wrong: by then the client
has knocked three times (at 0, 5 and 10 s, and a third of a second each at random). A lost packet costs one of them."""

LEAST = 3
"""Proven initiations without a completed handshake that are no chance."""

QUIET = 30.0
"""Seconds without an initiation after which the client has given up."""

AGAIN = 60.0
"""Seconds after which it is said again that a peer's handshakes are not completed."""


@dataclass(slots=True)
class _Attempts:
    """What a client has tried since its last completed handshake. Monotonic seconds."""

    first: float
    last: float
    source: Endpoint
    knocks: int = 1
    told: float | None = None


class Completion:
    """Which residents knock in vain. Constant time for each knock; a look costs one step for each that waits."""

    def __init__(self, residency: Residency) -> None:
        self._residency = residency
        self._open: dict[PublicKey, _Attempts] = {}
        self._completed = float("-inf")
        """When a look last showed that a handshake was completed, of any peer."""
        self._over: list[NotCompleted] = []

    def __len__(self) -> int:
        return len(self._open)

    def knocked(self, key: PublicKey, source: Endpoint, now: float) -> None:
        """The resident has sent a proven initiation that is new, or was installed for it."""
        attempts = self._open.get(key)
        if attempts is None:
            self._open[key] = _Attempts(now, now, source)
            return
        attempts.last, attempts.source = now, source
        attempts.knocks += 1

    def completed(self, key: PublicKey, at: float) -> None:
        """A handshake of the resident is complete, as was seen at `at`."""
        self._completed = at
        self.left(key)

    def left(self, key: PublicKey) -> None:
        """The resident has left, or does not knock any more."""
        attempts = self._open.pop(key, None)
        if attempts is not None and attempts.told is not None:
            self._over.append(self._about(key, attempts, over=True))

    def judge(self, began: float) -> list[NotCompleted]:
        """What there is to tell after a look that began at `began`."""
        for key, attempts in list(self._open.items()):
            if began >= attempts.last + QUIET:
                self.left(key)
        told: list[NotCompleted] = []
        for key, attempts in self._open.items():
            resident = self._residency.get(key)
            if resident is None or not resident.registered:
                continue
            if attempts.knocks < LEAST or began < attempts.first + WITHIN:
                continue
            if attempts.told is None or began >= attempts.told + AGAIN:
                attempts.told = began
                told.append(self._about(key, attempts))
        over, self._over = self._over, []
        return [*told, *over]

    def _about(self, key: PublicKey, attempts: _Attempts, *, over: bool = False) -> NotCompleted:
        resident = self._residency.get(key)
        return NotCompleted(
            key,
            None if resident is None else resident.name,
            attempts.source,
            attempts.knocks,
            has_preshared_key=resident is not None and resident.preshared_key is not None,
            was_up=resident is not None and resident.handshake > 0,
            others_complete=self._completed >= attempts.first,
            over=over,
        )

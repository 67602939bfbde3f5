"""Who may leave, and when to look.

WireGuard answers questions about all peers or none, and a crowd takes long to read. So the device is read for all
decisions together, seldom; knocks that the feed sees in between are signs of life, too. What the device tells is
compared only with what it told before, in monotonic time: so a stepped clock neither evicts nor keeps anybody.

A resident was active at the latest when the look began that found its last handshake or its received bytes changed.
That is the truth or later, never earlier. A session lives 180 s (REJECT_AFTER_TIME): who has been inactive for longer
has none.
"""

from __future__ import annotations

from wgjit.core.residents.residency import Resident
from wgjit.core.settings import Settings
from wgjit.core.vocabulary import Departure
from wgjit.model import DevicePeer, PublicKey


class Idleness:
    """What looks at the device tell about who is idle. Constant time per peer."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._pace = settings.pace
        self._unconfirmed_timeout = settings.unconfirmed_timeout
        self._watchful = settings.watchful > 0
        self._unconfirmed: dict[PublicKey, Resident] = {}
        """Installed for a knock and not seen to complete a handshake; the one that knocked longest ago first."""
        self._looked = float("inf")  # the first look is not ours to call for
        self._took = 0.0
        """The last look, seconds."""

    def installed(self, key: PublicKey, resident: Resident) -> None:
        """The peer was installed for a knock: from now on its handshake is waited for."""
        self._unconfirmed[key] = resident

    def knocked(self, key: PublicKey) -> None:
        """The resident proved itself with a new timestamp."""
        resident = self._unconfirmed.pop(key, None)
        if resident is not None:
            self._unconfirmed[key] = resident  # the last now, whose turn it is last

    def left(self, key: PublicKey) -> None:
        """The peer is resident no more."""
        self._unconfirmed.pop(key, None)

    def observe(self, resident: Resident, peer: DevicePeer, began: float) -> None:
        """A look that began then saw the resident so."""
        seen = peer.last_handshake, peer.rx_bytes
        if seen != (resident.handshake, resident.rx_bytes):
            resident.handshake, resident.rx_bytes = seen
            resident.active = max(resident.active, began)
        if peer.last_handshake:
            self._unconfirmed.pop(peer.public_key, None)

    def overdue(self, key: PublicKey, resident: Resident, began: float) -> Departure | None:
        """Why the resident should leave, by the look that began then; None if it should not."""
        if not resident.may_leave:
            return None
        if key in self._unconfirmed:
            return Departure.UNCONFIRMED if began >= resident.last_knock + self._unconfirmed_timeout else None
        limit = max(self._pace.session, resident.leaves_after(self._settings))
        return Departure.IDLE if began - resident.active >= limit else None

    def spare(self, key: PublicKey, resident: Resident, began: float) -> bool:
        """Whether the resident had no session when the look began, so that it may leave if another needs its place.

        One that knocks on and on and completes no handshake has had its time, too.
        """
        if not resident.may_leave:
            return False
        if key in self._unconfirmed:
            return began >= resident.since + self._unconfirmed_timeout
        return not resident.handshake or began - resident.active >= self._pace.session

    def looked(self, took: float, now: float) -> None:
        """A look has ended, or failed, that took so many seconds of the device's time."""
        self._looked, self._took = now, took

    @property
    def relaxed_look(self) -> float:
        """When the device may be looked at for something that can wait, monotonic seconds."""
        return self._looked + self._without_a_look(self._pace.share)

    @property
    def urgent_look(self) -> float:
        """When the device may be looked at for somebody who waits for room, monotonic seconds."""
        return self._looked + self._without_a_look(self._pace.urgent)

    @property
    def prompt_look(self) -> float:
        """When the device may be looked at for somebody who has to be out at once, monotonic seconds."""
        return self._looked + max(self._pace.prompt, self._pace.urgent * self._took)

    @property
    def is_quick(self) -> bool:
        """Whether a look takes so little that one peer is worth it."""
        return self._took <= self._pace.crowd

    def _without_a_look(self, share: float) -> float:
        return min(self._pace.longest, max(self._pace.spacing, share * self._took))

    def next_look(self) -> float:
        """When the device should be looked at again, monotonic seconds: for somebody has put peers in, or taken out."""
        due = self._looked + (
            min(self._pace.interval, self._pace.attentive * self._took) if self._watchful else self._pace.interval
        )
        if self._unconfirmed:
            oldest = next(iter(self._unconfirmed.values()))
            due = min(due, oldest.last_knock + self._unconfirmed_timeout)
        return max(due, self.relaxed_look)

"""Which residents may leave, and when the next look is due.

WireGuard has no query for one peer, and many peers take long to read. So looks are rare, and one look serves all
decisions. Knocks between two looks are signs of life, too. The device's values are only compared with its own earlier
values, in monotonic time. So a stepped clock neither evicts nor keeps a peer.

If a look finds a resident's last handshake or received bytes changed, the resident counts as active at the beginning of
the look. That is the true time or later, never earlier. A session lives 180 s (REJECT_AFTER_TIME), so a resident that
has been inactive for longer has no session.
"""

from __future__ import annotations

from wgjit.core.residents.residency import Resident
from wgjit.core.settings import Settings
from wgjit.core.vocabulary.told import Departure
from wgjit.model import DevicePeer, PublicKey


class Idleness:
    """Which residents are idle, by the looks so far. Constant time per peer."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._pace = settings.pace
        self._unconfirmed_timeout = settings.unconfirmed_timeout
        self._watchful = settings.watchful > 0
        self.is_draining = False
        """Registered residents without a session leave, whatever their idle timeouts: the gateway is to become empty.
        They come back with their next knock, at any gateway."""
        self._unconfirmed: dict[PublicKey, Resident] = {}
        """Peers installed for a knock that have no handshake yet; the peer that knocked longest ago is first."""
        self._looked = float("inf")  # the daemon makes the first look by itself
        self._took = 0.0
        """Seconds that the last look took."""

    def installed(self, key: PublicKey, resident: Resident) -> None:
        """The peer was installed for a knock. Wait for its handshake from now on."""
        self._unconfirmed[key] = resident

    def knocked(self, key: PublicKey) -> None:
        """The resident has sent a proven knock with a new timestamp."""
        resident = self._unconfirmed.pop(key, None)
        if resident is not None:
            self._unconfirmed[key] = resident  # at the end, because it knocked last

    def confirmed(self, key: PublicKey) -> None:
        """The peer's session has passed data."""
        self._unconfirmed.pop(key, None)

    def doubted(self, key: PublicKey, resident: Resident) -> None:
        """Another gateway holds the peer, but the peer has knocked here since. Wait for its handshake again."""
        self._unconfirmed.pop(key, None)
        self._unconfirmed[key] = resident

    def left(self, key: PublicKey) -> None:
        """The peer has left the device."""
        self._unconfirmed.pop(key, None)

    def observe(self, resident: Resident, peer: DevicePeer, began: float) -> bool:
        """Update the resident from what a look that began at `began` shows; return whether it shows a new handshake."""
        is_new = peer.last_handshake != resident.handshake and peer.last_handshake > resident.confirmed_after
        seen = peer.last_handshake, peer.rx_bytes
        if seen != (resident.handshake, resident.rx_bytes):
            resident.handshake, resident.rx_bytes = seen
            resident.active = max(resident.active, began)
        if peer.last_handshake > resident.confirmed_after:
            self._unconfirmed.pop(peer.public_key, None)
        return is_new

    def overdue(self, key: PublicKey, resident: Resident, began: float) -> Departure | None:
        """Why the resident should leave, by the look that began at `began`; None if it should stay."""
        if not resident.may_leave and not (self.is_draining and resident.registered):
            return None
        if key in self._unconfirmed:
            return Departure.UNCONFIRMED if began >= resident.last_knock + self._unconfirmed_timeout else None
        own = 0.0 if self.is_draining else resident.leaves_after(self._settings)
        limit = max(self._pace.session, own)
        return Departure.IDLE if began - resident.active >= limit else None

    def spare(self, key: PublicKey, resident: Resident, began: float) -> bool:
        """Whether the resident had no session when the look began, so that it may leave if another peer needs its
        place.

        A resident that keeps knocking without completing a handshake may leave, too, after `unconfirmed_timeout`.
        """
        if not resident.may_leave:
            return False
        if key in self._unconfirmed:
            return began >= resident.since + self._unconfirmed_timeout
        return not resident.handshake or began - resident.active >= self._pace.session

    def looked(self, took: float, now: float) -> None:
        """A look has ended or failed. It took `took` seconds of the device's time."""
        self._looked, self._took = now, took

    @property
    def relaxed_look(self) -> float:
        """When the next look is allowed for something that can wait, monotonic seconds."""
        return self._looked + self._without_a_look(self._pace.share)

    @property
    def urgent_look(self) -> float:
        """When the next look is allowed for a knock that waits for room, monotonic seconds."""
        return self._looked + self._without_a_look(self._pace.urgent)

    @property
    def prompt_look(self) -> float:
        """When the next look is allowed for a revoked peer that has to leave at once, monotonic seconds."""
        return self._looked + max(self._pace.prompt, self._pace.urgent * self._took)

    @property
    def is_quick(self) -> bool:
        """Whether a look is short enough to be made for one peer."""
        return self._took <= self._pace.crowd

    def _without_a_look(self, share: float) -> float:
        return min(self._pace.longest, max(self._pace.spacing, share * self._took))

    def next_look(self) -> float:
        """When the next look is due, monotonic seconds. Another program may have added or removed peers."""
        due = self._looked + (
            min(self._pace.interval, self._pace.attentive * self._took) if self._watchful else self._pace.interval
        )
        if self._unconfirmed:
            oldest = next(iter(self._unconfirmed.values()))
            due = min(due, oldest.last_knock + self._unconfirmed_timeout)
        return max(due, self.relaxed_look)

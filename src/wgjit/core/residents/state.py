"""All that is kept of residents, and the steps in which it changes together."""

from __future__ import annotations

from collections.abc import Iterable

from wgjit.core.delivery.flips import Flips
from wgjit.core.knock.claims import Claims
from wgjit.core.residents.expiries import Expiries
from wgjit.core.residents.idleness import Idleness
from wgjit.core.residents.placeholder import Placeholder
from wgjit.core.residents.removals import Removals
from wgjit.core.residents.residency import Residency, Resident
from wgjit.core.settings import Settings
from wgjit.core.vocabulary import Departure, Now
from wgjit.model import AllowedIP, Peer, PeerChange, PublicKey


class State:
    """The residents of one interface. Each part is told of a change here, so that none is forgotten."""

    def __init__(self, settings: Settings, claims: Claims, interface: PublicKey) -> None:
        """`claims` is the gateway's own; `interface` is the interface's public key."""
        self._capacity = settings.capacity
        self.claims = claims
        self.residency = Residency()
        self.placeholder = Placeholder(interface, self.residency, settings.networks)
        self.flips = Flips()
        self.idleness = Idleness(settings)
        self.removals = Removals()
        self.expiries = Expiries(self.residency)
        self.foreign: dict[PublicKey, None] = {}
        """Residents that the registry was not seen to know; the one asked for longest ago comes first."""
        self.overdue: dict[PublicKey, Departure] = {}
        self.spare: dict[PublicKey, None] = {}
        """Of the look that is being made: residents that should leave, and residents that could."""
        self.recalled: dict[PublicKey, Departure] = {}
        """Called back from their removal by a knock that is not proven yet."""
        self.unseen: set[PublicKey] = set()
        """On the way out without a look: nobody knows whether they are in the device."""

    def free(self) -> int:
        """How many more the device may take."""
        return self._capacity - len(self.residency) - self.removals.revoked

    def installed(self, peer: Peer, knocked: float, now: Now) -> Resident:
        """The peer is in the device, for a knock that arrived at `knocked`, monotonic seconds."""
        resident = self.residency.add(peer, now.monotonic)
        self.placeholder.taken(peer.allowed_ips)
        resident.last_knock = knocked
        self.stays(peer.public_key)
        self.register(peer, resident)
        if not peer.is_pinned:
            self.idleness.installed(peer.public_key, resident)
        return resident

    def register(self, peer: Peer, resident: Resident) -> None:
        """The registry knows the resident, with these values."""
        moment, key = resident.expires_at, peer.public_key
        if not resident.is_registered_as(peer):
            self.stays(key)
        resident.registered_as(peer)
        self.foreign.pop(key, None)
        self.placeholder.not_foreign(key)
        if peer.is_pinned:
            self.idleness.left(key)
        if peer.expires_at is not None and peer.expires_at != moment:
            self.expiries.await_(peer.expires_at, key)

    def stays(self, key: PublicKey) -> None:
        """The resident has changed or gave a sign of life: what was to be done about it no longer holds."""
        self.removals.recall(key)
        self.recalled.pop(key, None)
        self.overdue.pop(key, None)
        self.spare.pop(key, None)

    def forget(self, key: PublicKey) -> None:
        """The peer is resident no more."""
        self.foreign.pop(key, None)
        self.placeholder.not_foreign(key)
        self.placeholder.gone(key)
        self.claims.left(key)
        self.idleness.left(key)
        self.stays(key)
        self.flips.abandon(key)

    def let_go(self, keys: Iterable[PublicKey], now: Now) -> list[PeerChange]:
        """These residents lose all their addresses before any of them takes another's; gives the change for that."""
        prefixes: list[AllowedIP] = []
        for key in keys:
            self.flips.abandon(key)
            prefixes += self.residency.release_prefixes(key)
        kept = self.placeholder.take(prefixes, now.monotonic)
        return [] if kept is None else [kept]

    def revoke(self, keys: Iterable[PublicKey]) -> list[PeerChange]:
        """These residents lose their sessions at once: without allowed IPs nothing passes, in either direction.

        The change is cheap, also for many peers. Their removal is not; it follows.
        """
        changes = []
        for key in keys:
            self.removals.revoke(key)
            self.residency.remove(key)
            self.forget(key)
            changes.append(PeerChange(key, update_only=True, allowed_ips=()))
        return changes

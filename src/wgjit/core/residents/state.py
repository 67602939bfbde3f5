"""All data about residents, and the steps that change it together."""

from __future__ import annotations

from collections.abc import Iterable

from wgjit.core.delivery.flips import Flips
from wgjit.core.knock.claims import Claims
from wgjit.core.residents.completion import Completion
from wgjit.core.residents.expiries import Expiries
from wgjit.core.residents.holders import Holders
from wgjit.core.residents.idleness import Idleness
from wgjit.core.residents.placeholder import Placeholder
from wgjit.core.residents.removals import Removals
from wgjit.core.residents.residency import Residency, Resident
from wgjit.core.residents.routes import Routes
from wgjit.core.settings import Settings
from wgjit.core.vocabulary.moment import Now
from wgjit.core.vocabulary.told import Departure
from wgjit.model import AllowedIP, Endpoint, Holding, Peer, PeerChange, PublicKey


class State:
    """The residents of one interface. Each method here tells a change to all parts, so that no part is forgotten."""

    def __init__(self, settings: Settings, claims: Claims, interface: PublicKey) -> None:
        """`claims`: the gateway's own. `interface`: the interface's public key."""
        self._capacity = settings.capacity
        self.claims = claims
        self.residency = Residency()
        self.placeholder = Placeholder(interface, self.residency, settings.networks)
        self.flips = Flips()
        self.idleness = Idleness(settings)
        self.completion = Completion(self.residency)
        self.removals = Removals()
        self.expiries = Expiries(self.residency)
        self.holders = Holders(settings, claims)
        self.routes = Routes(settings.routes, self.residency, self.removals, self.holders)
        self.foreign: dict[PublicKey, None] = {}
        """Residents that the registry has not been seen to know; the peer that was looked up longest ago is first."""
        self.overdue: dict[PublicKey, Departure] = {}
        self.spare: dict[PublicKey, None] = {}
        """From the current look: residents that should leave (`overdue`), and residents that could (`spare`)."""
        self.recalled: dict[PublicKey, Departure] = {}
        """Residents whose removal was called back by a knock that is not proven yet."""
        self.names: dict[PublicKey, str] = {}
        """The names of revoked peers that are still in the device, if they have one."""
        self.unseen: set[PublicKey] = set()
        """Peers that are removed without a look. They may or may not be in the device."""
        self.pins_lack_room = 0
        """Number of pinned peers for which the device has no room."""

    def free(self) -> int:
        """Number of peers that the device can still take."""
        return self._capacity - len(self.residency) - self.removals.revoked

    def installed(
        self,
        peer: Peer,
        knocked: float,
        known: Holding | None,
        now: Now,
        called: Endpoint | None = None,
        *,
        unasked: bool = False,
    ) -> Resident:
        """The peer was installed for a knock that arrived at `knocked`, monotonic seconds.

        `known`: who in the fleet holds the peer, by its registration. `called`: there was no knock, and WireGuard has
        called the client at this endpoint. `unasked`: there was none, and nobody was called: the peer is pinned.
        """
        resident = self.residency.add(peer, now.monotonic)
        self.placeholder.taken(peer.allowed_ips)
        resident.last_knock = knocked
        self.stays(peer.public_key)
        self.register(peer, resident)
        if not peer.is_pinned:
            self.idleness.installed(peer.public_key, resident)
        prefixes = [prefix for prefix in peer.allowed_ips if self._is_of_one(prefix)]
        self.holders.installed(peer, prefixes, known, now, called, unasked=unasked)
        return resident

    def _is_of_one(self, prefix: AllowedIP) -> bool:
        """Whether all packets from this prefix are of the peer that has it. A foreign peer may own a part of it."""
        if prefix.num_addresses == 1:
            return True
        foreign = (self.residency.get(key) for key in self.foreign)
        inside = (own for resident in foreign if resident for own in resident.allowed_ips)
        return not any(own.version == prefix.version and own.subnet_of(prefix) for own in inside)  # type: ignore[arg-type]

    def register(self, peer: Peer, resident: Resident) -> None:
        """The registry knows the resident, with these values."""
        moment, key = resident.expires_at, peer.public_key
        if not resident.is_registered_as(peer):
            self.stays(key)
        resident.registered_as(peer)
        self.routes.touch(key)
        self.foreign.pop(key, None)
        self.placeholder.not_foreign(key)
        if peer.is_pinned:
            self.idleness.left(key)
        if peer.expires_at is not None and peer.expires_at != moment:
            self.expiries.await_(peer.expires_at, key)

    def stays(self, key: PublicKey) -> None:
        """The resident has changed or gave a sign of life, so it is not removed for being idle."""
        self.removals.recall(key)
        self.recalled.pop(key, None)
        self.overdue.pop(key, None)
        self.spare.pop(key, None)

    def forget(self, key: PublicKey, now: Now, *, moved: bool = False, is_there: bool = False) -> None:
        """The peer has left the device. `moved`: another gateway holds it.

        `is_there`: the peer has lost its addresses only. When it is out of the device, this is called again.
        """
        self.holders.left(key, now, moved=moved, is_there=is_there)
        self.foreign.pop(key, None)
        self.placeholder.not_foreign(key)
        self.placeholder.gone(key)
        self.claims.left(key)
        self.idleness.left(key)
        self.completion.left(key)
        self.stays(key)
        self.flips.abandon(key)

    def let_go(self, keys: Iterable[PublicKey], now: Now) -> list[PeerChange]:
        """Take all addresses from these residents, before one of them takes another's; return the change for that."""
        prefixes: list[AllowedIP] = []
        for key in keys:
            self.flips.abandon(key)
            prefixes += self.residency.release_prefixes(key)
        kept = self.placeholder.take(prefixes, now.monotonic)
        return [] if kept is None else [kept]

    def revoke(self, keys: Iterable[PublicKey], now: Now, why: Departure = Departure.REVOKED) -> list[PeerChange]:
        """End the sessions of these residents at once: without allowed IPs no packet passes in either direction.

        The change is cheap, also for many peers. The removals are expensive, and follow later.
        """
        changes = []
        for key in keys:
            self.removals.revoke(key, why)
            if (resident := self.residency.get(key)) is not None and resident.name is not None:
                self.names[key] = resident.name
            self.residency.remove(key)
            self.forget(key, now, moved=why is Departure.MOVED, is_there=True)
            changes.append(PeerChange(key, update_only=True, allowed_ips=()))
        return changes

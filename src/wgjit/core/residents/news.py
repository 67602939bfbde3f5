"""Changes of residents' registrations. A peer that may stay keeps its session; any other peer loses it at once.

RegistryChanged, HeldElsewhere, expiry ── take the allowed IPs away at once ── Evict ── Evicted ── Left
"""

from __future__ import annotations

from collections.abc import Mapping

from wgjit.core.knock.barred import put_back, refusal_of
from wgjit.core.residents.residency import Resident
from wgjit.core.residents.state import State
from wgjit.core.settings import Settings
from wgjit.core.vocabulary.commands import Command, Configure, SaveClaim
from wgjit.core.vocabulary.events import HeldElsewhere, RegistryChanged
from wgjit.core.vocabulary.moment import Now
from wgjit.core.vocabulary.told import Departure, Revocation, Revoked
from wgjit.model import AllowedIP, Peer, PeerChange, PublicKey, Registration
from wgjit.refusal import Refusal

_WHY = {
    None: Revocation.REMOVED,
    Refusal.DISABLED: Revocation.DISABLED,
    Refusal.EXPIRED: Revocation.EXPIRED,
}
"""By the refusal that a knock of the peer would get; None if it is not registered."""


class News:
    """Residents follow their registrations."""

    def __init__(self, settings: Settings, state: State) -> None:
        self._exclusive = settings.exclusive
        self._state = state
        self._postponed: dict[PublicKey, Registration | None] = {}
        """Registrations that changed while their peers were being removed."""

    def registry_changed(self, event: RegistryChanged, now: Now) -> list[Command]:
        """The registrations of these peers have changed or were looked up: update or revoke the residents."""
        state = self._state
        stay: list[Peer] = []
        leave: dict[PublicKey, Revocation | None] = {}
        moved: list[PublicKey] = []
        told: list[Command] = []
        for key, registration in event.found.items():
            resident = state.residency.get(key)
            if resident is None:
                continue
            state.routes.answered(key)
            if state.removals.is_settled(key):
                self._postponed[key] = registration
                state.residency.release_prefixes(key)  # the peer will be gone: no install has to wait for its addresses
                continue
            was_known = resident.registered or key in event.removed
            if registration is None and event.rechecked and not (was_known or self._exclusive):
                continue
            barred = None if registration is None else refusal_of(registration.peer, now)
            if registration is None or barred:
                leave[key] = _WHY[barred] if was_known or barred or not event.rechecked else Revocation.UNREGISTERED
                if resident.put_in and not resident.registered and (registration or key in event.removed):
                    told.append(put_back(key, registration, now))
                    leave[key] = None
                continue
            told += self._follow_claim(registration, resident, event.replaced, now)
            state.register(registration.peer, resident)
            if not event.rechecked and state.claims.was_reset(key, registration.claim):
                leave[key] = Revocation.RESET  # the kernel has to forget its own greatest timestamp of the peer, too
            elif state.holders.resumed(key, registration, resident, now):
                moved.append(key)
            elif not resident.is_as(registration.peer):
                stay.append(registration.peer)
        if changes := self._changes(stay, leave, told, now) + self._moved(moved, now):
            return [Configure(tuple(changes)), *told]
        return told

    def held_elsewhere(self, event: HeldElsewhere, now: Now) -> list[Command]:
        """Other gateways hold these peers. Those that are resident here leave, unless they are known to be back."""
        state = self._state
        moved: list[PublicKey] = []
        for holding in event.holdings:
            key = holding.public_key
            resident = state.residency.get(key)
            if resident is None or not resident.registered or state.removals.is_settled(key):
                continue
            if state.holders.elsewhere(holding, resident, now):
                moved.append(key)
            elif state.holders.awaits(key):
                state.idleness.doubted(key, resident)
        changes = self._moved(moved, now)
        return [Configure(tuple(changes))] if changes else []

    def _moved(self, keys: list[PublicKey], now: Now) -> list[PeerChange]:
        """Let peers go that another gateway holds. They lose their addresses at once."""
        return self._state.let_go(keys, now) + self._state.revoke(keys, now, Departure.MOVED) if keys else []

    def _changes(
        self, stay: list[Peer], leave: dict[PublicKey, Revocation | None], told: list[Command], now: Now
    ) -> list[PeerChange]:
        """The changes for the device: new values for the residents that stay, and no allowed IPs for the others.

        `told` gets what there is to say of these others.
        """
        state = self._state
        updates: list[PeerChange] = []
        taken: list[AllowedIP] = []
        kept = state.let_go((*leave, *(peer.public_key for peer in stay)), now)
        for peer in stay:
            if state.residency.owner_of_any(peer.allowed_ips, other_than=peer.public_key):
                leave[peer.public_key] = (
                    Revocation.CONFLICT
                )  # a peer that the registry does not know has one of the addresses
            else:
                state.residency.update(peer)
                updates.append(PeerChange.update(peer))
                taken += peer.allowed_ips
        state.placeholder.taken(taken)
        return kept + self._revoke(leave, told, now) + updates

    def _revoke(self, leave: Mapping[PublicKey, Revocation | None], told: list[Command], now: Now) -> list[PeerChange]:
        """End these residents' sessions at once. `told` gets what there is to say; None: it has that already."""
        for key, why in leave.items():
            if why is not None and (resident := self._state.residency.get(key)) is not None:
                told.append(Revoked(key, resident.name, why))
        return self._state.revoke(leave, now)

    def _follow_claim(self, registration: Registration, resident: Resident, replaced: bool, now: Now) -> list[Command]:
        """Compare a resident's claim with the registry's, and with the device's last handshake; return what to save."""
        claims, key, stored = self._state.claims, registration.peer.public_key, registration.claim
        if stored is not None:
            claims.learn(stored)
        claim = None
        if replaced:
            claim = claims.lacked(key, stored)
        elif not resident.registered and resident.handshake and resident.endpoint is not None:
            claim = claims.infer(key, stored, resident.handshake, resident.endpoint, now)
        return [] if claim is None else [SaveClaim(claim, said=True)]

    def after_removals(self, now: Now) -> list[Command]:
        """A batch of removals is over. Apply the changes of registrations of peers that are still resident."""
        postponed, self._postponed = self._postponed, {}
        still_here = {key: said for key, said in postponed.items() if key in self._state.residency}
        return self.registry_changed(RegistryChanged(still_here), now) if still_here else []

    def expire(self, now: Now) -> list[Command]:
        """Revoke the residents that have expired."""
        state = self._state
        expired = state.expiries.take_due(now.wall, state.removals.is_settled)
        told: list[Command] = []
        changes = state.let_go(expired, now)
        changes += self._revoke(dict.fromkeys(expired, Revocation.EXPIRED), told, now)
        return [Configure(tuple(changes)), *told] if changes else []

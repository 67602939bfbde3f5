"""Pinned peers: they are in the device without a knock, as long as they are registered, enabled and pinned.

    Pinned ── here? held elsewhere? standing, addresses, room? ── Install ── Installed ── Came

The daemon names the pinned peers that are not in the device: at the start, when a peer becomes pinned, and every few
seconds. So a peer that cannot be installed now is tried again, and one that another program took out comes back.

A fleet's pinned peer is in the device of the gateway that holds it. As long as nobody holds it, it is in the devices of
all gateways, and holds nothing there: installing is not owning. The first gateway to which it sends data takes it, and
the others let it go. A draining gateway installs none.

Without a fleet the peer gets the endpoint of its last claim, so that traffic from inside can begin the session.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container
from dataclasses import dataclass

from wgjit.core.knock.barred import refusal_of
from wgjit.core.residents.looks import Looks
from wgjit.core.residents.state import State
from wgjit.core.settings import Settings
from wgjit.core.vocabulary.commands import Command, Install
from wgjit.core.vocabulary.events import Pinned
from wgjit.core.vocabulary.moment import Now
from wgjit.core.vocabulary.told import Arrival, Came, PinsAbsent
from wgjit.model import AllowedIP, Endpoint, PeerChange, PublicKey, Registration
from wgjit.refusal import Refusal


@dataclass(slots=True)
class Pin:
    """A pinned peer whose install is under way."""

    registration: Registration
    ticket: int
    """The ticket of the inquiry about the peer's key (`Inquiries`)."""


class Pins:
    """The pinned peers of one interface that are not in the device. Constant time for each."""

    def __init__(self, settings: Settings, state: State, looks: Looks, is_draining: Callable[[], bool]) -> None:
        """`is_draining` tells whether the gateway is to leave."""
        self._settings = settings
        self._state = state
        self._looks = looks
        self._is_draining = is_draining
        self._installing: dict[PublicKey, Pin] = {}
        self._for_look: list[Pinned] = []
        """Answers that wait for a reading of the device. Only for devices with few residents."""
        self._refused: dict[PublicKey, Refusal] = {}
        """From the current pass: pinned peers that cannot be installed."""
        self._told: Counter[Refusal] = Counter()

    def found(
        self, event: Pinned, now: Now, installing: Container[PublicKey], number: int
    ) -> tuple[list[Command], list[Registration]]:
        """Pinned peers that are not in the device. Returns commands, and the peers to install now.

        `installing`: the peers that are being installed, `number` of them.
        """
        if self._is_draining():
            return self._end_pass(event), []
        wanted = [each for each in event.found if self._is_wanted(each, now, installing)]
        if wanted and not event.looked and len(self._state.residency) < self._settings.watchful:
            self._for_look.append(Pinned(event.found, event.more, looked=True))
            return self._looks.read_device(at_once=True), []
        begun: list[Registration] = []
        taken: set[AllowedIP] = set()
        for each in wanted:
            peer = each.peer
            if self._state.residency.owner_of_any(peer.allowed_ips, peer.public_key) or taken & {*peer.allowed_ips}:
                self._refused[peer.public_key] = Refusal.CONFLICT
            elif self._state.free() <= number + len(begun):
                self._refused[peer.public_key] = Refusal.FULL
            else:
                taken.update(peer.allowed_ips)
                begun.append(each)
        installs = [Install(PeerChange.install(each.peer, self._endpoint(each))) for each in begun]
        return [*installs, *self._end_pass(event)], begun

    def looked(self) -> list[Pinned]:
        """A look has ended: the answers that have waited for it."""
        waiting, self._for_look = self._for_look, []
        return waiting

    def begin(self, registration: Registration, ticket: int) -> None:
        """The peer is being installed."""
        self._installing[registration.peer.public_key] = Pin(registration, ticket)

    def take(self, key: PublicKey) -> Pin | None:
        """The pinned peer whose install has ended; None if the install was not for this."""
        return self._installing.pop(key, None)

    def installed(self, pin: Pin, now: Now) -> list[Command]:
        """The device has the peer."""
        registration = pin.registration
        if registration.claim is not None:
            self._state.claims.learn(registration.claim)  # so that an old initiation stays old
        self._state.installed(registration.peer, now.monotonic, registration.holding, now, unasked=True)
        return [Came(registration.peer.public_key, Arrival.PINNED)]

    def failed(self, pin: Pin, refusal: Refusal) -> None:
        """The device has refused the peer. It is tried again."""
        self._refused[pin.registration.peer.public_key] = refusal

    def _is_wanted(self, registration: Registration, now: Now, installing: Container[PublicKey]) -> bool:
        """Whether the peer should be in this device, and nothing is being done about it."""
        peer, holding = registration.peer, registration.holding
        key = peer.public_key
        if not peer.is_pinned or refusal_of(peer, now):
            return False
        if key in installing or key in self._state.residency or self._state.removals.is_settled(key):
            return False
        return holding is None or holding.until is not None or holding.gateway == self._settings.gateway

    def _endpoint(self, registration: Registration) -> Endpoint | None:
        """Where the peer was last proven. A gateway of a fleet calls only clients that the network leads to it."""
        claim = registration.claim
        return None if self._settings.fleet or claim is None or claim.endpoint.scope else claim.endpoint

    def _end_pass(self, event: Pinned) -> list[Command]:
        """At the end of a pass: tell how many pinned peers are not in the device, and why, if that has changed."""
        if event.more:
            return []
        counts, self._refused = Counter(self._refused.values()), {}
        self._state.pins_lack_room = counts[Refusal.FULL]
        if counts == self._told:
            return []
        self._told = counts
        return [PinsAbsent(dict(counts))]

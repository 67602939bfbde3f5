"""Who holds a resident: this gateway, nobody yet, or another gateway of the fleet.

    installed ── AwaitData ── Confirmed, or a look ── SayHolding ── held
    HeldElsewhere ─┬─ nothing newer was proven here ── the peer leaves at once (`moved`)
                   ├─ a newer initiation was proven here ── await its data: only a confirmed session moves a peer
                   └─ a smaller holding than ours ── SayHolding again

Holding a peer is more than having it installed. An initiation may be a recording, so a gateway holds a peer only when
the new session has passed data. docs/FLEET.md has the rules. Without a fleet this module does nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from wgjit.core.knock.claims import Claims
from wgjit.core.residents.residency import Resident
from wgjit.core.settings import Settings
from wgjit.core.vocabulary import AwaitData, Command, Hold, Now, SaveClaim, SayHolding
from wgjit.model import DevicePeer, Holding, Peer, PublicKey

REFRESH = 3600.0
"""Seconds after which a holding is said again at the client's next initiation, so that other gateways know a timestamp
that is not much older. A fleet of 100,000 residents writes 28 rows a second for this."""

SESSION = 180.0
"""Seconds that a session lives after its handshake (REJECT_AFTER_TIME, messages.h)."""

GRAIN = 0.05
"""Seconds by which the device's time of a handshake may be before the time at which the gateway saw its initiation."""


@dataclass(slots=True)
class _Held:
    """A resident that this gateway holds."""

    holding: Holding
    said: float
    """Monotonic seconds when the holding was last said."""


class Holders:
    """The residents that this gateway holds, and those whose data it awaits. Constant time per peer."""

    def __init__(self, settings: Settings, claims: Claims) -> None:
        """`claims`: the gateway's own."""
        self._on = settings.fleet
        self._gateway, self._epoch = settings.gateway, settings.epoch
        self._claims = claims
        self._ahead = 0.0
        self._awaited: dict[PublicKey, Holding | None] = {}
        """Residents whose sessions have not passed data yet, and what another gateway is known to hold of each."""
        self._held: dict[PublicKey, _Held] = {}
        self._commands: list[Command] = []

    def __len__(self) -> int:
        """Number of residents that this gateway holds."""
        return len(self._held)

    def fleet_clock(self, offset: float) -> None:
        """The fleet's common clock is ahead of ours by `offset` seconds."""
        self._ahead = offset

    def take_commands(self) -> list[Command]:
        """The commands that the calls since the last one of this method have led to."""
        commands, self._commands = self._commands, []
        return commands

    def is_held(self, key: PublicKey) -> bool:
        """Whether this gateway holds the peer."""
        return key in self._held

    def awaits(self, key: PublicKey) -> bool:
        """Whether the peer is installed, and its session has not passed data yet."""
        return key in self._awaited

    # --- a session begins ---------------------------------------------------------------------------------------

    def installed(self, peer: Peer, known: Holding | None) -> None:
        """The peer was installed for a knock. `known`: who holds it, by the registration."""
        if self._on:
            self._held.pop(peer.public_key, None)
            self._awaited[peer.public_key] = known
            self._commands.append(AwaitData(peer.public_key, peer.allowed_ips))

    def confirmed(self, key: PublicKey, resident: Resident, now: Now) -> bool:
        """A packet of the peer has come out of WireGuard. Returns whether this confirms the session.

        If the peer was installed before, the packet may be a late one of an older session.
        """
        if key not in self._awaited or resident.confirmed_after:
            return False
        self._take(key, now)
        return True

    def seen(self, key: PublicKey, resident: Resident, peer: DevicePeer, now: Now) -> None:
        """A look shows this resident. `resident` is still as the last look showed it."""
        if key in self._awaited:
            if peer.last_handshake > resident.confirmed_after:
                self._take(key, now)
        elif (held := self._held.get(key)) is not None:
            if peer.last_handshake != resident.handshake:
                self._follow(held, peer.last_handshake)
            if peer.endpoint is not None and peer.endpoint != held.holding.endpoint:
                self._say(held, replace(held.holding, endpoint=peer.endpoint), Hold.MOVED, now)

    def _take(self, key: PublicKey, now: Now) -> None:
        """This gateway holds the peer from now on."""
        claim = self._claims.newest(key)
        if claim is None:
            return  # nothing is known of the peer but its session: its next initiation tells more
        known = self._awaited.pop(key)
        self._commands.append(AwaitData(key, ()))
        holding = Holding(
            key,
            claim.greatest_proven,
            0,
            self._gateway,
            self._epoch,
            claim.endpoint,
            since=now.wall + self._ahead,
            before=None if known is None else known.gateway if known.gateway != self._gateway else known.before,
        )
        served = known is not None and known.until is None and known.gateway != self._gateway
        held = self._held[key] = _Held(holding, now.monotonic)
        self._say(held, holding, Hold.TAKEN_OVER if served else Hold.TAKEN, now)

    def _follow(self, held: _Held, handshake: float) -> None:
        """A handshake was completed since the last look. If its initiation was proven before, that is confirmed now."""
        claim = self._claims.newest(held.holding.public_key)
        if claim is None or claim.proven is not None or claim.timestamp <= held.holding.timestamp:
            return
        if handshake + self._ahead >= claim.proven_at - GRAIN:
            held.holding = replace(held.holding, timestamp=claim.timestamp, takeovers=0)

    def knocked(self, key: PublicKey, now: Now) -> None:
        """A resident has sent a proven initiation. A holding that was said long ago is said again."""
        held = self._held.get(key)
        if held is not None and now.monotonic - held.said >= REFRESH:
            self._say(held, held.holding, Hold.REFRESHED, now)
            self._say_claim(key)

    # --- other gateways -----------------------------------------------------------------------------------------

    def elsewhere(self, holding: Holding, resident: Resident, now: Now) -> bool:
        """Another gateway says that it holds this resident. Returns whether the peer has to leave."""
        key = holding.public_key
        held = self._held.get(key)
        if not self._on or holding.gateway == self._gateway:
            return False
        if held is not None and holding.order < held.holding.order:
            self._say(held, held.holding, Hold.REPEATED, now)
            return False
        if holding.until is not None:
            return False  # the other gateway has let the peer go
        claim = self._claims.newest(key)
        if claim is None or claim.greatest_proven <= holding.timestamp:
            return True
        # The client has knocked here since. But this may be a recording, so only data decides.
        self._held.pop(key, None)
        self._awaited[key] = holding
        resident.confirmed_after = max(resident.confirmed_after, claim.proven_at - self._ahead - GRAIN)
        return False

    def resumed(self, key: PublicKey, holding: Holding | None, resident: Resident, now: Now) -> bool:
        """A resident was found in the device, and this is its registration's holding. Returns whether it has to leave.

        The gateway was started anew, or another program put the peer in.
        """
        if not self._on or key in self._held or key in self._awaited:
            return False
        if holding is not None and holding.gateway == self._gateway and holding.until is None:
            self._held[key] = _Held(replace(holding, epoch=self._epoch), now.monotonic)
            return False
        self._awaited[key] = holding
        resident.confirmed_after = resident.handshake
        if holding is not None and self.elsewhere(holding, resident, now):
            return True
        is_free = holding is None or holding.gateway == self._gateway or holding.until is not None
        if is_free and resident.handshake and now.wall - resident.handshake < SESSION:
            self._take(key, now)  # the session is up, and nobody else has the peer
        return False

    # --- a peer leaves ------------------------------------------------------------------------------------------

    def left(self, key: PublicKey, now: Now, *, moved: bool = False) -> None:
        """The peer has left the device, or has lost its addresses. `moved`: another gateway holds it."""
        if key in self._awaited:
            del self._awaited[key]
            self._commands.append(AwaitData(key, ()))
        held = self._held.pop(key, None)
        if held is not None and not moved:
            self._say(held, replace(held.holding, until=now.wall + self._ahead), Hold.LEFT, now)
            self._say_claim(key)

    def _say(self, held: _Held, holding: Holding, why: Hold, now: Now) -> None:
        held.holding, held.said = holding, now.monotonic
        self._commands.append(SayHolding(holding, why))

    def _say_claim(self, key: PublicKey) -> None:
        claim = self._claims.newest(key)
        if claim is not None:
            self._commands.append(SaveClaim(claim, said=True))

"""Who holds a resident: this gateway, nobody yet, or another gateway of the fleet.

    installed ── AwaitData ── Confirmed, or a look ── SayHolding ── held
    called (takeover) ── AwaitData ── Confirmed, or a look ── SayHolding (T, n + 1) ── held
    HeldElsewhere ─┬─ nothing newer was proven here ── the peer leaves at once (`moved`)
                   ├─ a newer initiation was proven here ── await its data: only a confirmed session moves a peer
                   └─ a smaller holding than ours ── SayHolding again

A gateway that has called a client holds it by the timestamp T of the holding before, and n + 1: the client has proven
nothing newer. It may not have heard of the last one, and not every rekey is said to the fleet. So between a call and
what was proven elsewhere, time decides, by the fleet's clock:

- A gateway whose session began after the call says so again. One that has only proven something since awaits its data.
  Others let the peer go.
- A gateway whose call came after another holding began says its own again, by that one's timestamp.

Holding a peer is more than having it installed. An initiation may be a recording, so a gateway holds a peer only when
the new session has passed data. docs/FLEET.md has the rules. Without a fleet this module does nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from wgjit.core.knock.claims import Claims
from wgjit.core.residents.proofs import Proofs
from wgjit.core.residents.residency import Resident
from wgjit.core.settings import Settings
from wgjit.core.vocabulary.commands import (
    AwaitData,
    Command,
    Hold,
    NoStray,
    SaveClaim,
    SayHolding,
    SessionOver,
    SessionUp,
)
from wgjit.core.vocabulary.moment import Now
from wgjit.model import (
    NEVER_PROVEN,
    AllowedIP,
    Claim,
    DevicePeer,
    Endpoint,
    Holding,
    Peer,
    PublicKey,
    Registration,
    Tai64n,
)

REFRESH = 3600.0
"""Seconds after which a resident's claim is said again with its next initiation, so that other gateways know a
timestamp that is not much older. 100,000 residents write 28 rows a second for this. Their holdings need no refresh: a
client that moves has a greater timestamp than any holding."""

SESSION = 180.0
"""Seconds that a session lives after its handshake (REJECT_AFTER_TIME, messages.h)."""


@dataclass(slots=True)
class _Known:
    """What this gateway knows of a resident of the fleet."""

    other: Holding | None
    """The holding that the registry had when the peer came, or that another gateway has said since."""
    proofs: Proofs = field(default_factory=Proofs)
    """The initiations that were proven here, from the confirmed one on."""
    endpoint: Endpoint | None = None
    """The source of the newest of these."""
    own: Holding | None = None
    """What this gateway holds; None while it awaits data."""
    taken: Holding | None = None
    """`own` as it was when the peer was taken. Rekeys do not change it."""
    said: float = 0.0
    """Monotonic seconds when `own` or the peer's claim was last said."""
    told: Holding | None = None
    """What was last said of `own`: its timestamp has grown since if the client has rekeyed."""
    called: float | None = None
    """Unix seconds, by our clock, when this gateway called the client, which `other` holds. Its answer is awaited."""
    to_await: tuple[AllowedIP, ...] = ()
    """Prefixes from which data is to be awaited: a pinned peer has to knock first."""


class Holders:
    """The residents that this gateway holds, and those whose data it awaits. Constant time per peer."""

    def __init__(self, settings: Settings, claims: Claims) -> None:
        """`claims`: the gateway's own."""
        self._on, self._takes_over = settings.fleet, bool(settings.shared)
        self._gateway, self._epoch = settings.gateway, settings.epoch
        self._claims = claims
        self._ahead = 0.0
        self._known: dict[PublicKey, _Known] = {}
        self._held = 0
        self._leaving: dict[PublicKey, set[Endpoint | None]] = {}
        """The endpoints of peers that have lost their addresses and are still in the device."""
        self._commands: list[Command] = []
        self._tell: Callable[[PublicKey], None] = lambda _: None

    def on_change(self, tell: Callable[[PublicKey], None]) -> None:
        """Call this with each peer that this gateway begins to hold, takes anew, or holds no more."""
        self._tell = tell

    @property
    def on(self) -> bool:
        """Whether there is a fleet."""
        return self._on

    def __len__(self) -> int:
        """Number of residents that this gateway holds."""
        return self._held

    @property
    def residents(self) -> int:
        """Number of registered residents: those that this gateway holds, and those whose data it awaits."""
        return len(self._known)

    def fleet_clock(self, offset: float) -> None:
        """The fleet's common clock is ahead of ours by `offset` seconds."""
        self._ahead = offset

    def take_commands(self) -> list[Command]:
        """The commands that the calls since the last one of this method have led to."""
        commands, self._commands = self._commands, []
        return commands

    def own(self, key: PublicKey) -> Holding | None:
        """What this gateway holds of the peer; None if it does not hold it."""
        known = self._known.get(key)
        return None if known is None else known.own

    def taken(self, key: PublicKey) -> Holding | None:
        """What this gateway holds of the peer, as it was when it was taken; None if it does not hold it.

        A holding's timestamp grows with each rekey. It is the first one that tells which of two gateways took the peer
        last: a client that comes back has a greater one than any rekey before.
        """
        known = self._known.get(key)
        return None if known is None or known.own is None else known.taken or known.own

    def awaits(self, key: PublicKey) -> bool:
        """Whether the peer is resident, and its session is not confirmed."""
        known = self._known.get(key)
        return known is not None and known.own is None

    # --- a session begins ---------------------------------------------------------------------------------------

    def installed(
        self,
        peer: Peer,
        prefixes: Iterable[AllowedIP],
        other: Holding | None,
        now: Now,
        called: Endpoint | None = None,
        *,
        unasked: bool = False,
    ) -> None:
        """The peer was installed for a knock. A packet from one of `prefixes` is the peer's own.

        `other`: the holding of its registration. `called`: there was no knock, and WireGuard has called this endpoint.
        `unasked`: there was none, and nobody was called. Data is awaited from the peer's first knock on.
        """
        if self._on:
            known = self._known[peer.public_key] = _Known(other, endpoint=called)
            known.called = None if called is None else now.wall
            known.to_await = tuple(prefixes)
            if not unasked:
                self._await_data(peer.public_key, known)

    def proven(self, claim: Claim, at: float, now: Now) -> None:
        """The resident has sent this proven initiation, which arrived at `at`, Unix seconds by our clock."""
        known = self._known.get(claim.public_key)
        if known is None:
            return
        known.proofs.add(claim.greatest_proven, at)
        self._await_data(claim.public_key, known)
        if known.proofs.newest == claim.greatest_proven:
            known.endpoint = claim.endpoint
        if known.own is not None and now.monotonic - known.said >= REFRESH:
            known.said = now.monotonic
            self._say_claim(claim.public_key)

    def _await_data(self, key: PublicKey, known: _Known) -> None:
        if known.to_await:
            self._commands.append(AwaitData(key, known.to_await))
            known.to_await = ()

    def confirmed(self, key: PublicKey, resident: Resident, now: Now) -> bool:
        """A packet of the peer has come out of WireGuard. Returns whether this confirms the session.

        If the session was in doubt before, the packet may be a late one of an older session. If the client has knocked
        twice, the packet may be of the first session.
        """
        known = self._known.get(key)
        if known is None or known.own is not None or resident.confirmed_after:
            return False
        if known.called is not None:
            self._take_called(key, known, now)
            return True
        first = known.proofs.first
        if first is None:
            return False
        self._take(key, known, first, now)
        return True

    def seen(self, key: PublicKey, resident: Resident, peer: DevicePeer, now: Now) -> None:
        """A look shows this resident. `resident` is still as the last look showed it."""
        known = self._known.get(key)
        if known is None:
            return
        stamp = None if peer.last_handshake == resident.handshake else known.proofs.of(peer.last_handshake)
        if known.own is None and known.called is not None:
            if peer.last_handshake:  # the peer was new, so the handshake is the call's
                self._take_called(key, known, now)
            return
        if known.own is None:
            if stamp is None and not known.proofs:  # an earlier process has proven it, and its claim is not known
                stamp = NEVER_PROVEN
            known.endpoint = known.endpoint or peer.endpoint
            if stamp is not None and known.endpoint is not None and peer.last_handshake > resident.confirmed_after:
                self._take(key, known, stamp, now, known.proofs.arrival(stamp))
            return
        # Once this gateway has called, WireGuard rekeys by itself, so a handshake tells nothing of the client's knocks.
        if stamp is not None and stamp > known.own.timestamp and not known.own.takeovers:
            known.own = replace(known.own, timestamp=stamp, takeovers=0)
            known.proofs.forget_before(stamp)
        if peer.endpoint is not None and peer.endpoint != known.own.endpoint:
            self._say(known, replace(known.own, endpoint=peer.endpoint), Hold.MOVED, now)
            self._no_stray(peer.endpoint)
            self._session_up(peer.endpoint, peer.last_handshake, now)

    def _take_called(self, key: PublicKey, known: _Known, now: Now) -> None:
        """The client has answered this gateway's call."""
        assert known.other is not None  # who holds nothing is not called
        self._take(key, known, known.other.timestamp, now, known.called)

    def _take(self, key: PublicKey, known: _Known, stamp: Tai64n, now: Now, began: float | None = None) -> None:
        """This gateway holds the peer from now on.

        `began`: when its session began, Unix seconds by our clock, if that was not just now: others compare it with
        the time of their calls.
        """
        called, known.called = known.called, None
        self._commands.append(AwaitData(key, ()))
        known.proofs.forget_before(stamp)
        other = known.other
        is_ours = other is not None and other.gateway == self._gateway
        assert known.endpoint is not None  # it comes with the timestamps
        own = Holding(
            key,
            stamp,
            other.takeovers + 1 if called is not None and other is not None else 0,
            self._gateway,
            self._epoch,
            known.endpoint,
            since=(now.wall if began is None else began) + self._ahead,
            before=None if other is None else other.before if is_ours else other.gateway,
        )
        self._held += 1
        known.taken = own
        self._tell(key)
        taken_over = other is not None and other.until is None and not is_ours
        self._say(known, own, Hold.CALLED if called is not None else Hold.TAKEN_OVER if taken_over else Hold.TAKEN, now)
        self._no_stray(known.endpoint, None if other is None else other.endpoint)

    # --- other gateways -----------------------------------------------------------------------------------------

    def elsewhere(self, holding: Holding, resident: Resident, now: Now) -> bool:
        """Another gateway says that it holds this resident. Returns whether the peer has to leave."""
        known = self._known.get(holding.public_key)
        if known is None or holding.gateway == self._gateway:
            return False
        if known.called is not None:
            return self._elsewhere_while_calling(known, holding)
        is_smaller = known.own is not None and _rank(holding) < _rank(known.own)
        if known.own is not None and is_smaller and not self._was_called_since(known, known.own, holding):
            self._say(known, known.own, Hold.REPEATED, now)
            return False
        if holding.until is not None:
            return False  # the other gateway has let the peer go
        if known.own is not None and known.own.takeovers and known.own.since > holding.since:
            own = replace(known.own, timestamp=holding.timestamp, takeovers=holding.takeovers + 1)
            self._say(known, own, Hold.REPEATED, now)
            return False
        newer = self._newer(known.proofs, holding)
        if not newer:
            return True
        stamp = newer.of(resident.handshake)
        if stamp is not None:  # the client is back here
            self._held -= known.own is not None
            known.other = holding
            self._take(holding.public_key, known, stamp, now, newer.arrival(stamp))
            return False
        # The client seems to be back, but its newest initiation may be a recording. So only data decides.
        if known.own is not None or known.other != holding:
            self._held -= known.own is not None
            known.own, known.other = None, holding
            self._tell(holding.public_key)
            known.proofs = newer  # also without that of an equal timestamp, whose session is not the awaited one
            resident.confirmed_after = known.proofs.first_at
        return False

    def _newer(self, proofs: Proofs, holding: Holding) -> Proofs:
        """The initiations that show that the client has come here after another gateway began to hold it."""
        began = holding.since - self._ahead if holding.takeovers else -math.inf
        return proofs.after(holding.timestamp, began)

    def _was_called_since(self, known: _Known, own: Holding, holding: Holding) -> bool:
        """Whether another gateway has called the client after its session here began.

        That gateway knew what was last said here, but not a rekey since. A newer initiation that is not confirmed
        counts for nothing yet.
        """
        is_greater = known.told is not None and _rank(holding) > _rank(known.told)
        return bool(holding.takeovers) and is_greater and self._began(known, own) <= holding.since

    def _began(self, known: _Known, own: Holding) -> float:
        """When the session with this holding's timestamp began, Unix seconds by the fleet's clock, at the earliest."""
        arrival = known.proofs.arrival(own.timestamp)
        return own.since if arrival is None else max(own.since, arrival + self._ahead)

    @staticmethod
    def _elsewhere_while_calling(known: _Known, holding: Holding) -> bool:
        """Whether the peer has to leave although its client was called: it has come to a third gateway meanwhile."""
        other = known.other
        if other is not None and _rank(holding) <= _rank(other):
            known.other = holding.over(other)
            return False
        if holding.until is not None:
            known.other = holding
            return False
        return True

    def resumed(self, key: PublicKey, registration: Registration, resident: Resident, now: Now) -> bool:
        """A resident was found in the device, and this is its registration. Returns whether it has to leave.

        The gateway was started anew, or another program put the peer in.
        """
        if not self._on or key in self._known:
            return False
        holding, claim = registration.holding, registration.claim
        known = self._known[key] = _Known(holding)
        resident.confirmed_after = resident.handshake
        self._session_up(resident.endpoint, resident.handshake, now)
        if claim is not None and claim.gateway == self._gateway:  # an earlier process has proven it
            at = claim.proven_at - self._ahead if claim.proven is None else 0.0
            known.proofs.add(claim.greatest_proven, at)
            known.endpoint = claim.endpoint
        if holding is not None and holding.gateway == self._gateway and holding.until is None:
            known.own = known.told = replace(holding, epoch=self._epoch)
            known.said = now.monotonic
            known.taken = known.own
            self._held += 1
            self._tell(key)
            return False
        if holding is not None and self.elsewhere(holding, resident, now):
            return True
        is_free = holding is None or holding.gateway == self._gateway or holding.until is not None
        is_up = resident.handshake and now.wall - resident.handshake < SESSION
        if is_free and is_up and (known.endpoint or resident.endpoint):
            known.endpoint = known.endpoint or resident.endpoint
            self._take(key, known, _not_after(known.proofs, resident.handshake), now)
        return False

    # --- a peer leaves ------------------------------------------------------------------------------------------

    def left(self, key: PublicKey, now: Now, *, moved: bool = False, is_there: bool = False) -> None:
        """The peer has left the device. `moved`: another gateway holds it.

        `is_there`: the peer has lost its addresses only. When it is out of the device, this is called again. Until then
        WireGuard may still call it.
        """
        known = self._known.pop(key, None)
        endpoints = self._leaving.pop(key, set())
        if known is not None:
            endpoints |= {known.endpoint, None if known.own is None else known.own.endpoint}
        if is_there:
            self._leaving[key] = endpoints
        else:
            self._commands += [SessionOver(endpoint) for endpoint in endpoints if endpoint is not None]
        if known is None:
            return
        if known.own is None:
            self._commands.append(AwaitData(key, ()))
            return
        self._held -= 1
        self._tell(key)
        if not moved:
            self._say(known, replace(known.own, until=now.wall + self._ahead), Hold.LEFT, now)
            self._say_claim(key)

    def _session_up(self, endpoint: Endpoint | None, handshake: float, now: Now) -> None:
        """The session that began with this handshake is with this endpoint."""
        if endpoint is not None and handshake and (left := handshake + SESSION - now.wall) > 0:
            self._commands.append(SessionUp(endpoint, min(left, SESSION)))

    def _say(self, known: _Known, holding: Holding, why: Hold, now: Now) -> None:
        # A timestamp that is said for the first time came with a session of its own. A gateway that has called the
        # client before that session must not take its own call for the later one.
        holding = replace(holding, since=self._began(known, holding))
        known.own = known.told = holding
        known.said = now.monotonic
        self._commands.append(SayHolding(holding, why))

    def _no_stray(self, *endpoints: Endpoint | None) -> None:
        """Data from these endpoints is of a peer that this gateway holds."""
        if self._takes_over:
            self._commands.append(NoStray(tuple(dict.fromkeys(one for one in endpoints if one is not None))))

    def _say_claim(self, key: PublicKey) -> None:
        claim = self._claims.newest(key)
        if claim is not None:
            self._commands.append(SaveClaim(claim, said=True))


def _rank(holding: Holding) -> tuple[tuple[Tai64n, int], str]:
    """What decides between two holdings of a peer."""
    return holding.order, holding.gateway


def _not_after(proofs: Proofs, handshake: float) -> Tai64n:
    """A timestamp that is not greater than the one with which this handshake began: rather too old than too new."""
    if (stamp := proofs.of(handshake)) is not None:
        return stamp
    newest = proofs.newest
    return NEVER_PROVEN if newest is None else newest.later(handshake - proofs.newest_at - SESSION)

"""Strays: data of clients that the network has led here, while another gateway holds them.

    Stray ── limits ── FindHolders ── HoldersFound ── one holder? shared? standing, room? ── SessionOver, Install
                                                                                                    │
    unanswered: Evict, the holder keeps the peer ◀── no answer in 4.5 s ── call under way ◀── Installed
    completed: SayHolding (T, n + 1), keepalive set back ◀── data, or a look ───┘

WireGuard drops data of a session that it does not have, and tells nobody. The client notices after 15 s. If another
gateway with the same service address holds a peer at exactly the endpoint from which the data came, this gateway
installs that peer with the endpoint, so that WireGuard sends an initiation: a call. The client takes it at any time,
since all gateways of a fleet have one key, and its next data comes through the new session.

Nothing is believed of the data but where it came from. It only makes the gateway call somebody who is a client of the
fleet, and only the client's answer moves the peer. The answer goes to the service address, so it comes here only if the
network leads the client here. The worst that false data does is a call, for which `turns` has limits. A call without an
answer has gone after 5 s, before WireGuard repeats it.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from math import inf

from wgjit.core.delivery.flips import KEEPALIVE, initiation
from wgjit.core.knock.barred import refusal_of
from wgjit.core.residents.looks import Looks
from wgjit.core.residents.state import State
from wgjit.core.settings import Settings
from wgjit.core.takeover.turns import LATE, Turns
from wgjit.core.vocabulary.commands import Command, Configure, FindHolders, Install, SessionOver, StrayAgain
from wgjit.core.vocabulary.events import HoldersFound, Stray
from wgjit.core.vocabulary.moment import Now
from wgjit.core.vocabulary.told import Arrival, Came, Departure, Takeover, TookOver
from wgjit.model import Delivery, Endpoint, Peer, PeerChange, PublicKey, Registration
from wgjit.record import Decision, FeedRecord
from wgjit.refusal import Refusal

MOST_APART = 1.0
"""Seconds by which our clock may differ from the fleet's. A client takes a call only if its timestamp, our clock's, is
greater than that of the last call that it took, from any gateway; and calls to one client are five seconds apart."""

MOST_WAITING = 8192
"""Strays that wait for their turn."""

LOOK = 2.0
"""Seconds after a call at which the device is read, if no data has confirmed the session."""

GIVE_UP = 4.5
"""Seconds after a call after which the peer is taken out again. WireGuard repeats an initiation after 5 s, for 90 s."""

AGAIN = 0.25
"""Seconds until a look is tried again if another one was under way, and until a resident is looked up again."""

NEWS = 2.0
"""Seconds for which a stray waits that its peer leaves this device. The replica has the news before the core hears."""

LEAVING = 0.1
"""Seconds until a stray's turn comes again if its peer is just being removed."""


@dataclass(slots=True)
class _Waiting:
    """A stray that waits for its turn, for the answer to FindHolders, or for a look."""

    stray: Stray
    since: float
    looked: bool = False
    found: HoldersFound | None = None


@dataclass(slots=True)
class Call:
    """A peer that is installed, or about to be, so that WireGuard calls its client."""

    peer: Peer
    registration: Registration
    stray: Stray
    ticket: int = 0
    """The ticket of the inquiry about the peer's key (`Inquiries`)."""
    since: float | None = None
    """Monotonic seconds of the install."""
    look_at: float = 0.0
    """Monotonic seconds from which the device is read for this call; infinite once that is done."""
    record: FeedRecord = field(default_factory=lambda: FeedRecord(None, None, None))


class Strays:
    """All strays of one interface. Constant time for each, but for the heap of those that wait."""

    def __init__(
        self, settings: Settings, state: State, looks: Looks, is_draining: Callable[[], bool] = lambda: False
    ) -> None:
        """`is_draining` tells whether the gateway is to leave: then it takes nobody over."""
        self._is_draining = is_draining
        self._settings = settings
        self._state = state
        self._looks = looks
        self._turns = Turns()
        self._apart: float | None = None
        """Seconds by which the fleet's clock is ahead of ours; None if it is not known."""
        self._waiting: dict[Endpoint, _Waiting] = {}
        self._due: list[tuple[float, int, Endpoint]] = []
        """A heap: when a stray's turn is, and its place among equals."""
        self._count = 0
        self._for_look: list[_Waiting] = []
        self._calls: dict[PublicKey, Call] = {}
        """Calls under way, the oldest first."""

    # --- may it call at all? ------------------------------------------------------------------------------------

    def fleet_clock(self, offset: float) -> None:
        """The fleet's common clock is ahead of ours by `offset` seconds."""
        self._apart = offset

    def why_not(self) -> tuple[Takeover, str] | None:
        """Why no client is taken over at the moment, also in words for people; None if clients are taken over."""
        if self._is_draining():
            return Takeover.DRAINING, "the gateway is being drained"
        if self._apart is None:
            return Takeover.CLOCK, "the clock of the registry of record is not known yet"
        if abs(self._apart) > MOST_APART:
            where = "behind" if self._apart > 0 else "ahead of"
            return (
                Takeover.CLOCK,
                f"this machine's clock is {abs(self._apart):.1f} s {where} the registry of record's; synchronise it "
                "(NTP)",
            )
        return None

    # --- a stray comes ------------------------------------------------------------------------------------------

    def came(self, stray: Stray, now: Now) -> list[Command]:
        """Data has come to a service address, from an endpoint at which another gateway may hold a peer."""
        if stray.destination.address not in self._settings.shared or stray.endpoint in self._waiting:
            return []
        if (why_not := self.why_not()) is not None:
            return [TookOver(why_not[0])]
        due = self._turns.turn(stray.endpoint.address, now.monotonic)
        if due is None or len(self._waiting) >= MOST_WAITING:
            return [TookOver(Takeover.LATE)]
        waiting = self._waiting[stray.endpoint] = _Waiting(stray, now.monotonic)
        self._wait(waiting, due)
        return self._go_on(now)

    def _wait(self, waiting: _Waiting, due: float) -> None:
        self._count += 1
        heapq.heappush(self._due, (due, self._count, waiting.stray.endpoint))

    def _go_on(self, now: Now) -> list[Command]:
        """Look up the holders for those whose turn has come."""
        commands: list[Command] = []
        while self._due and self._due[0][0] <= now.monotonic:
            if self._turns.all.when(now.monotonic) > now.monotonic:
                break
            endpoint = heapq.heappop(self._due)[2]
            if now.monotonic - self._waiting[endpoint].since > LATE:
                del self._waiting[endpoint]
                commands.append(TookOver(Takeover.LATE))
                continue
            self._turns.all.take(now.monotonic)
            commands.append(FindHolders(endpoint))
        return commands

    # --- its holder is found ------------------------------------------------------------------------------------

    def found(
        self, event: HoldersFound, now: Now, installing: Collection[PublicKey]
    ) -> tuple[list[Command], Call | None]:
        """The answer to a FindHolders. Returns commands, and the call to make if it is time for one.

        `installing`: the peers that are being installed for knocks.
        """
        waiting = self._waiting.get(event.endpoint)
        if waiting is None:
            return [], None
        verdict = self._judge(waiting, event, now, installing)
        if isinstance(verdict, Takeover):
            return [self._end(waiting, verdict)], None
        if isinstance(verdict, float):
            self._wait(waiting, verdict)
            return [], None
        if not waiting.looked and len(self._state.residency) < self._settings.watchful:
            waiting.looked, waiting.found = True, event
            self._for_look.append(waiting)
            return self._looks.read_device(at_once=True), None
        if self._state.free() <= len(installing):
            return [self._end(waiting, Takeover.FULL)], None
        del self._waiting[event.endpoint]
        peer = verdict.peer
        self._turns.called(peer.public_key, now.monotonic)
        call = self._calls[peer.public_key] = Call(peer, verdict, waiting.stray)
        holding = verdict.holding
        call.record = FeedRecord(
            now.wall,
            event.endpoint,
            waiting.stray.destination,
            peer.public_key,
            peer.name,
            decision=Decision.CALLED,
            delivery=Delivery.FLIP,
            held_by=None if holding is None else holding.gateway,
        )
        return [SessionOver(event.endpoint, at_once=True), Install(initiation(peer, event.endpoint))], call

    def _judge(
        self, waiting: _Waiting, event: HoldersFound, now: Now, installing: Collection[PublicKey]
    ) -> Registration | Takeover | float:
        """The registration of the peer to call, the reason not to, or when to ask again (monotonic seconds)."""
        if isinstance(event.found, Refusal):
            return Takeover.FAILED
        if (why_not := self.why_not()) is not None:
            return why_not[0]
        if len(event.found) > 1:
            return Takeover.SEVERAL
        (registration,) = event.found or (None,)
        holding = None if registration is None else registration.holding
        if registration is None or holding is None or holding.until is not None:
            return Takeover.UNHELD
        if holding.gateway == self._settings.gateway or not _is_at(holding.endpoint, event.endpoint):
            return Takeover.UNHELD
        key = registration.peer.public_key
        if self._state.removals.is_settled(key):
            return self._later(waiting, now.monotonic + LEAVING)
        if key in self._state.residency or key in installing:
            if now.monotonic - waiting.since >= NEWS:
                return Takeover.RESIDENT
            return now.monotonic + AGAIN  # the news that makes the peer leave here may be on its way
        destination = waiting.stray.destination.address
        if destination not in event.service:
            return Takeover.NOT_SHARED
        if event.source != destination:
            return Takeover.WRONG_SOURCE
        if refusal_of(registration.peer, now):
            return Takeover.BARRED
        if self._state.residency.owner_of_any(registration.peer.allowed_ips, other_than=key):
            return Takeover.CONFLICT
        allowed = self._turns.of_client(key, now.monotonic)
        if allowed is None:
            return Takeover.HELD_DOWN
        return registration if allowed <= now.monotonic else self._later(waiting, allowed)

    @staticmethod
    def _later(waiting: _Waiting, at: float) -> float | Takeover:
        return at if at - waiting.since <= LATE else Takeover.LATE

    def _end(self, waiting: _Waiting, why: Takeover) -> TookOver:
        del self._waiting[waiting.stray.endpoint]
        return TookOver(why)

    def looked(self) -> list[HoldersFound]:
        """A look has ended: the answers that have waited for it, to be judged again."""
        waiting, self._for_look = self._for_look, []
        return [one.found for one in waiting if one.found is not None]

    # --- the call -----------------------------------------------------------------------------------------------

    def call(self, key: PublicKey) -> Call | None:
        """The call to this peer whose install is under way, or None."""
        call = self._calls.get(key)
        return call if call is not None and call.since is None else None

    def installed(self, call: Call, now: Now) -> list[Command]:
        """The peer was installed, and WireGuard sends the initiation."""
        call.since, call.look_at = now.monotonic, now.monotonic + LOOK
        key, registration = call.peer.public_key, call.registration
        if registration.claim is not None:
            self._state.claims.learn(registration.claim)  # so that an old initiation stays old while it is resident
        self._state.installed(call.peer, now.monotonic, registration.holding, now, call.stray.endpoint)
        return [Came(key, Arrival.CALLED), TookOver(Takeover.CALLED, key, call.record)]

    def failed(self, call: Call, refusal: Refusal) -> list[Command]:
        """The device has refused the install."""
        del self._calls[call.peer.public_key]
        return [TookOver(Takeover.FULL if refusal is Refusal.FULL else Takeover.FAILED, call.peer.public_key)]

    def overtaken(self, call: Call) -> list[Command]:
        """The client has knocked while its peer was being installed: that knock is served."""
        del self._calls[call.peer.public_key]
        return [*_quiet(call.peer), TookOver(Takeover.OVERTAKEN, call.peer.public_key)]

    def confirmed(self, keys: Iterable[PublicKey] | None = None) -> list[Command]:
        """Sessions of these peers, or of any, may be confirmed, or the peers may have left: end their calls."""
        changes: list[PeerChange] = []
        told: list[Command] = []
        for key in list(self._calls) if keys is None else keys:
            call = self._calls.get(key)
            if call is not None and call.since is not None:
                for command in self._settle(key, call):
                    if isinstance(command, Configure):
                        changes += command.changes  # of all together: each call of the device costs
                    else:
                        told.append(command)
        return [Configure(tuple(changes)), *told] if changes else told

    def _settle(self, key: PublicKey, call: Call) -> list[Command]:
        state = self._state
        if key not in state.residency:
            del self._calls[key]
            return [TookOver(Takeover.OVERTAKEN, key)]
        if state.holders.own(key) is None:
            return []
        del self._calls[key]
        return [*_quiet(call.peer), TookOver(Takeover.COMPLETED, key)]

    # --- time passes --------------------------------------------------------------------------------------------

    def next_deadline(self) -> float | None:
        """When the next tick is due, monotonic seconds; None if nothing waits."""
        deadlines = []
        if self._due:
            deadlines.append(max(self._due[0][0], self._turns.all.when(self._due[0][0])))
        looks = [call.look_at for call in self._calls.values() if call.since is not None and call.look_at < inf]
        if looks:
            deadlines.append(max(min(looks), self._state.idleness.relaxed_look))
        if (first := next(iter(self._calls.values()), None)) is not None and first.since is not None:
            deadlines.append(first.since + GIVE_UP)
        return min(deadlines, default=None)

    def tick(self, now: Now) -> list[Command]:
        """Go on with those whose turn has come, look for those without data, and give up those without an answer."""
        commands = self._go_on(now)
        gone: list[Call] = []
        unseen: list[Call] = []
        for key, call in list(self._calls.items()):
            if call.since is None or now.monotonic < call.since + LOOK:
                break
            if now.monotonic >= call.since + GIVE_UP:
                ended = self._settle(key, call)
                commands += ended
                if not ended:
                    del self._calls[key]
                    gone.append(call)
            elif now.monotonic >= max(call.look_at, self._state.idleness.relaxed_look):
                unseen.append(call)
        if unseen:
            look = self._looks.read_device()
            for call in unseen:  # while a look is being made it may have begun before the call: another one follows
                call.look_at = inf if look else now.monotonic + AGAIN
            commands += look
        if gone:
            keys = [call.peer.public_key for call in gone]
            commands.append(Configure(tuple(self._take_out(keys, now))))
            commands += [TookOver(Takeover.UNANSWERED, key) for key in keys]
            # A call may have been lost. The limit for one client holds.
            commands.append(StrayAgain(tuple(call.stray.endpoint for call in gone)))
        return commands

    def _take_out(self, keys: list[PublicKey], now: Now) -> list[PeerChange]:
        state = self._state
        return state.let_go(keys, now) + state.revoke(keys, now, Departure.UNANSWERED)


def _quiet(peer: Peer) -> list[Command]:
    """Set the persistent keepalive back, by which WireGuard was made to call."""
    if peer.keepalive == KEEPALIVE:
        return []
    return [Configure((PeerChange(peer.public_key, update_only=True, keepalive=peer.keepalive),))]


_MAPPED = bytes(10) + b"\xff\xff"


def _is_at(held: Endpoint, seen: Endpoint) -> bool:
    """Whether two endpoints are the same on the wire. An IPv4 address may be written as an IPv6 one."""
    return (held.address.removeprefix(_MAPPED), held.port) == (seen.address.removeprefix(_MAPPED), seen.port)

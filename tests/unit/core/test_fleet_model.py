"""Three gateways of one fleet, as a state machine: clients move, packets are replayed, news is late, processes end.

The network leads clients' data to other gateways without a word, and others send data in their name. Gateways then call
these clients, who answer or do not.

The world knows the truth: which session of a client has passed data, and where. The laws are docs/FLEET.md's:

- F1: a gateway says that it holds a peer only after a session of that peer has passed data there; so no replayed
  initiation moves a peer;
- F2: in the record and in each replica a peer's holding only grows, in any order of arrival;
- F4: a gateway that hears of a greater confirmed claim lets the peer go at once, unless the client is back already;
- F6: a gateway calls only who is held elsewhere, at that very endpoint, and only with a clock that is right;
- F7: a gateway that hears of a smaller claim for a peer that it holds says its own again;
- routes (docs/ROUTING.md): a gateway has a peer's routes exactly while it holds the peer, and they go before the peer
  or its addresses go; so no replayed initiation moves a route;
- a client's session that is up is never dropped because of what gateways say to one another.

Once all news has arrived, each connected client has one holder: the gateway of its session. Nobody else has the peer.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.unit.core.conftest import SERVER, START, Client
from wgjit.core.agenda import Agenda, Installs, Verdicts
from wgjit.core.gateway import Gateway
from wgjit.core.residents.routes import metric_of
from wgjit.core.settings import RouteRule, Settings
from wgjit.core.vocabulary.commands import (
    Ask,
    AwaitData,
    Command,
    Configure,
    Evict,
    FindHolders,
    FollowUp,
    Hold,
    Install,
    Lookup,
    PutRoutes,
    ReadDevice,
    Recheck,
    RoutesKnown,
    SaveClaim,
    SayHolding,
    TakeRoutes,
)
from wgjit.core.vocabulary.events import (
    Arrived,
    ClaimsSaved,
    Confirmed,
    DeviceRead,
    Event,
    Evicted,
    FleetClock,
    HeldElsewhere,
    HoldersFound,
    Installed,
    LookedUp,
    RegistryChanged,
    Stray,
    Tick,
)
from wgjit.core.vocabulary.moment import Now
from wgjit.core.vocabulary.told import Tell
from wgjit.model import (
    AllowedIP,
    Claim,
    Delivery,
    DevicePeer,
    Endpoint,
    Holding,
    Peer,
    PrivateKey,
    PublicKey,
    Registration,
    Tai64n,
)
from wgjit.record import Decision
from wgjit.wire.noise import Responder
from wgjit.wire.packets import build

RESPONDER = Responder(PrivateKey(b"\x42" * 32))
CLIENTS = [Client(RESPONDER.public_key, number) for number in (1, 2)]
PEERS = {client.key: client.peer for client in CLIENTS}
NAMES = ("a", "b", "c")
ELSEWHERE = Endpoint.parse("203.0.113.7:9")
SHARED = frozenset({SERVER.address})


@dataclass
class Session:
    """A client's present session, as the client knows it."""

    node: Node
    stamp: Tai64n
    """Of the initiation with which it began: the client's, or the gateway's call."""
    began: float
    passed: bool = False
    """Data has passed."""
    forgotten: bool = False
    """The gateway's process has ended before a look could tell it so, and the client has knocked again since. The next
    process cannot know which of the two initiations was answered."""


@dataclass
class Shared:
    """What a database has of each peer."""

    claims: dict[PublicKey, Claim] = field(default_factory=dict)
    holdings: dict[PublicKey, Holding] = field(default_factory=dict)

    def take(self, what: Claim | Holding) -> None:
        """Merge; a holding only grows."""
        if isinstance(what, Claim):
            self.claims[what.public_key] = what.over(self.claims.get(what.public_key))
            return
        old = self.holdings.get(what.public_key)
        new = self.holdings[what.public_key] = what.over(old)
        assert old is None or new.order >= old.order, "F2: a holding has shrunk"


@dataclass
class InDevice:
    """A peer in a node's device."""

    peer: Peer
    has_addresses: bool = True
    answered: Tai64n | None = None
    """The newest initiation that WireGuard has answered. The session that it answered before, if it has passed nothing,
    is gone (`add_new_keypair`, noise.c)."""
    current: Tai64n | None = None
    """The initiation of the session that has passed data last."""
    handshake: float = 0.0
    endpoint: Endpoint | None = None
    calls: bool = False
    """WireGuard has sent an initiation, which has had no answer."""


class Node:
    """One gateway: its core, device and replica, and a loop in the daemon's order."""

    def __init__(self, world: Fleet, name: str, *, quick: bool) -> None:
        """`quick`: a driver sees awaited data; else looks alone confirm sessions."""
        self.world, self.name, self.quick = world, name, quick
        self.device: dict[PublicKey, InDevice] = {}
        self.routes: dict[AllowedIP, int] = {}
        """The kernel's routes into the tunnel, with their metrics. They outlive a process."""
        self.replica = Shared()
        self.outbox: list[Claim | Holding] = []
        self.ahead = 0.0
        """Seconds by which this machine's clock is ahead."""
        self.epoch = 0
        self.passed: set[tuple[PublicKey, Tai64n]] = set()
        """The truth: sessions of the clients' making that have passed data here."""
        self.answered: set[PublicKey] = set()
        """The truth: clients that have answered a call of this gateway's."""
        self.start()

    def start(self) -> None:
        """A new process over the device and the replica as they are."""
        self.epoch += 1
        self.gateway = Gateway(
            RESPONDER,
            Settings(
                gateway=self.name,
                delivery=Delivery.NONE,
                fleet=True,
                epoch=self.epoch,
                routes=RouteRule(by_claim=True),
                shared=SHARED,
            ),
        )
        self.routes_known = False
        self.agenda = Agenda()
        self.awaited: set[PublicKey] = set()
        self.number = 0
        self.packets: dict[int, tuple[PublicKey, Tai64n]] = {}
        self.reading = False
        self.handling = False
        self.hear(FleetClock(-self.ahead))
        self.hear(DeviceRead(self.world.clock, self.read()))
        self.recheck(tuple(self.device))
        self.check_routes()

    def now(self) -> Now:
        return Now(self.world.clock, START + self.world.clock + self.ahead)

    def read(self) -> list[DevicePeer]:
        return [
            DevicePeer(
                key,
                one.peer.allowed_ips if one.has_addresses else (),
                endpoint=one.endpoint,
                last_handshake=one.handshake,
                rx_bytes=int(one.handshake),
            )
            for key, one in self.device.items()
        ]

    def registration(self, key: PublicKey) -> Registration:
        return Registration(PEERS[key], self.replica.claims.get(key), self.replica.holdings.get(key))

    def recheck(self, keys: tuple[PublicKey, ...]) -> None:
        self.hear(RegistryChanged({key: self.registration(key) for key in keys}, rechecked=True))

    # --- the loop -----------------------------------------------------------------------------------------------

    def hear(self, event: Event) -> None:
        self.agenda.hear(event)
        if self.handling:
            return
        self.handling = True
        while (task := self.agenda.next()) is not None:
            match task:
                case Installs(changes):
                    for change in changes:
                        key = change.public_key
                        one = self.device.setdefault(key, InDevice(PEERS[key]))
                        one.has_addresses = True
                        if change.endpoint is not None:
                            self.check_called(key, change.endpoint)
                            one.endpoint, one.calls = change.endpoint, True
                        self.agenda.hear(Installed(key))
                case Verdicts():
                    pass
                case SaveClaim(claim, said):
                    self.replica.take(claim)
                    if said:
                        self.outbox.append(claim)
                    self.agenda.hear(ClaimsSaved((claim,)))
                case SayHolding(holding, why):
                    self.check_said(holding, why)
                    self.replica.take(holding)
                    self.outbox.append(holding)
                case Tell(knock, record):
                    key, stamp = self.packets.pop(knock)
                    if record.decision in (Decision.INSTALLED, Decision.RESIDENT) or key in self.device:
                        self.answer(key, stamp)
                case _:
                    for command in self.gateway.handle(task, self.now()):
                        self.perform(command)
        self.handling = False
        if not isinstance(event, FleetClock | DeviceRead):
            self.check_routes()

    def perform(self, command: Command) -> None:
        match command:
            case Lookup(knock, key):
                self.agenda.hear(LookedUp(knock, self.registration(key)))
            case Ask():
                raise AssertionError("everybody is in the replica")
            case Install():
                self.agenda.install(command)
            case FindHolders(endpoint):
                held = [key for key, one in self.replica.holdings.items() if one.endpoint == endpoint and not one.until]
                found = tuple(map(self.registration, held))
                self.agenda.hear(HoldersFound(endpoint, found, SHARED, SERVER.address))
            case SaveClaim() | SayHolding() | Tell():
                self.agenda.record(command)
            case FollowUp():
                self.agenda.follow_up(command)
            case AwaitData(key, allowed_ips):
                (self.awaited.add if allowed_ips and self.quick else self.awaited.discard)(key)
            case Configure(changes):
                for change in changes:
                    if change.allowed_ips == () and change.public_key in self.device:
                        self.check_no_route(change.public_key)
                        self.world.check_dropped(self, change.public_key)
                        self.device[change.public_key].has_addresses = False
            case Evict(keys):
                for key in keys:
                    self.check_no_route(key)
                    self.world.check_dropped(self, key)
                    self.device.pop(key, None)
                self.agenda.hear(Evicted(keys, frozenset(), 0.0001))
            case PutRoutes(routes):
                self.routes.update(routes)
            case TakeRoutes(prefixes):
                for prefix in prefixes:
                    self.routes.pop(prefix, None)
            case RoutesKnown(kept):
                self.routes = {prefix: metric for prefix, metric in self.routes.items() if prefix in kept}
            case ReadDevice():
                self.reading = True
            case Recheck(keys):
                found = {key: self.registration(key) for key in keys}
                self.agenda.hear(RegistryChanged(found, rechecked=True))

    def look(self) -> None:
        self.hear(Tick())
        if self.reading:
            self.reading = False
            self.hear(DeviceRead(self.world.clock, self.read()))

    # --- packets ------------------------------------------------------------------------------------------------

    def arrive(self, packet: bytes, key: PublicKey, stamp: Tai64n) -> bool:
        """A packet arrives; returns whether WireGuard has answered it."""
        self.number += 1
        self.packets[self.number] = key, stamp
        before = self.device.get(key)
        if before is not None and before.answered is not None and stamp <= before.answered:
            del self.packets[self.number]
            return False  # WireGuard itself knows it
        self.hear(Arrived(self.number, packet, held=True))
        one = self.device.get(key)
        return one is not None and one.answered == stamp

    def answer(self, key: PublicKey, stamp: Tai64n) -> None:
        """WireGuard answers an initiation of a peer that is in the device."""
        one = self.device[key]
        if one.answered is None or stamp > one.answered:
            one.answered = stamp

    def data(self, key: PublicKey, stamp: Tai64n, source: Endpoint) -> bool:
        """Data of the session of this initiation arrives; returns whether it passes."""
        one = self.device.get(key)
        if one is None or stamp not in (one.answered, one.current) or not one.has_addresses:
            return False
        if one.current is None or stamp > one.current:
            one.current, one.handshake = stamp, self.now().wall
        if stamp == one.answered:
            self.passed.add((key, stamp))
        one.endpoint = source
        if key in self.awaited:
            self.awaited.discard(key)
            self.hear(Confirmed((key,)))
        return True

    def stray(self, key: PublicKey, source: Endpoint) -> bool:
        """Data of no session here comes from an endpoint; returns whether WireGuard calls this client."""
        one = self.device.get(key)
        was_calling = one is not None and one.calls
        self.hear(Stray(source, SERVER))
        one = self.device.get(key)
        return one is not None and one.calls and not was_calling

    def answered_call(self, key: PublicKey, stamp: Tai64n) -> None:
        """The client answers: the handshake is complete, and WireGuard has a session."""
        one = self.device[key]
        one.calls, one.current, one.handshake = False, stamp, self.now().wall
        self.answered.add(key)

    # --- what must hold -----------------------------------------------------------------------------------------

    def check_called(self, key: PublicKey, endpoint: Endpoint) -> None:
        assert abs(self.ahead) <= 1.0, "F6: it calls with a wrong clock"
        holding = self.replica.holdings[key]
        assert holding.gateway != self.name, "F6: it calls whom it holds"
        assert (holding.endpoint, holding.until) == (endpoint, None), "F6: it calls somewhere else"

    def check_said(self, holding: Holding, why: Hold) -> None:
        key, stamp = holding.public_key, holding.timestamp
        session = self.world.sessions.get(key)
        if key in self.answered and (holding.takeovers or (session is not None and session.node is self)):
            return  # the client has answered its call; whether a knock since was the client's, nothing tells
        passed = any(one == key and passed >= stamp for one, passed in self.passed)
        assert passed, f"F1: {self.name} says that it holds a peer whose session has passed nothing"
        if why is Hold.LEFT:
            assert holding.until is not None

    def check_no_route(self, key: PublicKey) -> None:
        assert not self.routes.keys() & set(PEERS[key].allowed_ips), "F4: the peer goes before its route"

    def check_routes(self) -> None:
        holders = self.gateway._upkeep.state.holders
        taken = {key: found for key in PEERS if (found := holders.taken(key)) is not None}
        settled = self.gateway._upkeep.state.removals.is_settled
        held = {key: metric_of(found) for key, found in taken.items() if not settled(key)}
        wanted = {prefix: metric for key, metric in held.items() for prefix in PEERS[key].allowed_ips}
        assert self.routes == wanted, f"{self.name} has routes of others than it holds"

    def holds(self, key: PublicKey) -> bool:
        return self.own(key) is not None

    def own(self, key: PublicKey) -> Holding | None:
        return self.gateway._upkeep.state.holders.own(key)


class Fleet(RuleBasedStateMachine):
    """See the head of this file."""

    @initialize(
        quick=st.lists(st.booleans(), min_size=3, max_size=3), ahead=st.sampled_from([0.0, 5.0, -3600.0, 3600.0])
    )
    def create(self, quick: list[bool], ahead: float) -> None:
        self.clock = 100.0
        self.record = Shared()
        self.sessions: dict[PublicKey, Session] = {}
        self.calls: dict[PublicKey, Tai64n] = {}
        """The timestamp of the last call that each client has taken."""
        self.wire: list[tuple[bytes, PublicKey, Tai64n]] = []
        self.nodes: list[Node] = []
        for name, is_quick in zip(NAMES, quick, strict=True):
            self.nodes.append(Node(self, name, quick=is_quick))
        self.nodes[2].ahead = ahead
        self.nodes[2].start()

    def check_dropped(self, node: Node, key: PublicKey) -> None:
        """A node takes a peer's addresses, or the peer itself."""
        session = self.sessions.get(key)
        if session is None or session.node is not node or not session.passed or session.forgotten:
            return
        one = node.device[key]
        assert node.now().wall - one.handshake >= 180.0, f"{node.name} has dropped a session that is up"

    # --- what clients do ----------------------------------------------------------------------------------------

    @rule(client=st.sampled_from(CLIENTS), index=st.integers(0, 2), is_answered=st.sampled_from([True, True, False]))
    def knock(self, client: Client, index: int, is_answered: bool) -> None:
        """A client begins a handshake with one gateway; the answer may be lost."""
        self.clock += 0.1
        stamp = Tai64n.from_unix(START + self.clock)
        packet = build(client.endpoint, SERVER, client.initiation(START + self.clock))
        self.wire.append((packet, client.key, stamp))
        if self.nodes[index].arrive(packet, client.key, stamp) and is_answered:
            self.sessions[client.key] = Session(self.nodes[index], stamp, self.clock)

    @rule(client=st.sampled_from(CLIENTS), index=st.integers(0, 2))
    def connect(self, client: Client, index: int) -> None:
        """A client begins a session with one gateway, and uses it."""
        self.knock(client, index, True)
        self.data(client, roamed=False)

    @rule(client=st.sampled_from(CLIENTS), roamed=st.sampled_from([False, False, True]))
    def data(self, client: Client, roamed: bool) -> None:
        """A client sends data over its session."""
        self.clock += 0.01
        session = self.sessions.get(client.key)
        if session is None:
            return
        if self.clock - session.began >= 180.0:
            del self.sessions[client.key]  # REJECT_AFTER_TIME
        elif session.node.data(client.key, session.stamp, ELSEWHERE if roamed else client.endpoint):
            session.passed = True
        elif session.passed:
            del self.sessions[client.key]  # it gets no answer and will knock again

    @rule(
        client=st.sampled_from(CLIENTS),
        index=st.integers(0, 2),
        source=st.sampled_from(["own", "own", "own", "elsewhere"]),
        is_answered=st.sampled_from([True, True, False]),
    )
    def stray(self, client: Client, index: int, source: str, is_answered: bool) -> None:
        """The network leads a client's data to another gateway, or somebody sends data in its name.

        Whoever sent it: if the gateway calls the client, the client takes the call and uses the new session.
        """
        self.clock += 0.01
        node, session = self.nodes[index], self.sessions.get(client.key)
        if session is not None and session.node is node:
            return  # WireGuard knows the session: the data is none of a stray
        if not node.stray(client.key, client.endpoint if source == "own" else ELSEWHERE) or not is_answered:
            return
        stamp = Tai64n.from_unix(START + self.clock + node.ahead)
        if session is None or stamp <= self.calls.get(client.key, b""):
            return  # it has closed its tunnel, or knows a later call
        self.clock += 0.01
        self.calls[client.key] = stamp
        node.answered_call(client.key, Tai64n.from_unix(START + self.clock))
        self.sessions[client.key] = Session(node, Tai64n.from_unix(START + self.clock), self.clock)

    @precondition(lambda self: any(session.passed for session in self.sessions.values()))
    @rule(data=st.data(), index=st.integers(0, 2), is_heard=st.booleans(), goes_on=st.booleans())
    def lead(self, data: st.DataObject, index: int, is_heard: bool, goes_on: bool) -> None:
        """The network leads the data of a client that is up to another gateway, which may have heard of its holder."""
        up = [client for client in CLIENTS if (one := self.sessions.get(client.key)) is not None and one.passed]
        client = data.draw(st.sampled_from(up))
        if is_heard:
            self.wait(31.0)
            self.look(self.nodes.index(self.sessions[client.key].node))
            for other in range(3):
                self.say(other)
            self.follow(index, shuffle=False)
        self.stray(client, index, "own", True)
        if goes_on:
            self.data(client, roamed=False)

    @precondition(lambda self: self.wire)
    @rule(data=st.data(), index=st.integers(0, 2))
    def replay(self, data: st.DataObject, index: int) -> None:
        """Somebody sends a recorded initiation to some gateway."""
        self.clock += 0.01
        packet, key, stamp = data.draw(st.sampled_from(self.wire))
        self.nodes[index].arrive(packet, key, stamp)

    # --- what gateways do ---------------------------------------------------------------------------------------

    @rule(index=st.integers(0, 2))
    def say(self, index: int) -> None:
        """What a gateway has said reaches the record."""
        node = self.nodes[index]
        for what in node.outbox:
            self.record.take(what)
        node.outbox.clear()

    @rule(index=st.integers(0, 2), shuffle=st.booleans())
    def follow(self, index: int, shuffle: bool) -> None:
        """A gateway's replica gets what the record has."""
        node = self.nodes[index]
        for claim in self.record.claims.values():
            node.replica.take(claim)
        holdings = list(self.record.holdings.values())[:: -1 if shuffle else 1]
        for holding in holdings:
            node.replica.take(holding)
        held = {key: own for key in PEERS if (own := node.own(key)) is not None}
        node.hear(HeldElsewhere(tuple(holding for holding in holdings if holding.gateway != node.name)))
        for holding in holdings:
            key = holding.public_key
            if holding.gateway == node.name or key not in held:
                continue
            if (holding.order, holding.gateway) < (held[key].order, node.name):
                if holding.takeovers and node.own(key) is None:
                    continue  # the client was called after its session here began: only data may show that it is back
                said = [w for w in node.outbox if isinstance(w, Holding) and w.public_key == key and w.until is None]
                assert said, "F7: it did not say its own again"
            elif holding.until is None and key in node.gateway.residency:
                own = node.own(key)
                if own is not None and own.takeovers and own.order > holding.order:
                    assert own.since > holding.since, "F4: it has called before the other one began"
                    continue
                newest = node.gateway._upkeep.state.holders._known[key].proofs.newest
                assert newest is not None
                assert newest > holding.timestamp, "F4: the peer has stayed"
                assert own is None or own.order > holding.order, "F4: it still holds the peer"

    @rule(index=st.integers(0, 2))
    def look(self, index: int) -> None:
        """A gateway looks at its device, if a look is due."""
        self.nodes[index].look()

    @rule(index=st.integers(0, 2))
    def restart(self, index: int) -> None:
        """A gateway's process ends, and another begins. Its sessions stay, and so does what it has said."""
        for key, session in self.sessions.items():
            if session.node is self.nodes[index] and (one := session.node.device.get(key)) is not None:
                own, answered = session.node.own(key), one.answered
                behind = own is not None and own.timestamp < session.stamp and not own.takeovers
                session.forgotten |= own is None or (behind and answered is not None and answered > session.stamp)
        self.nodes[index].start()

    @rule(seconds=st.sampled_from([0.05, 1.0, 5.0, 20.0, 130.0]))
    def wait(self, seconds: float) -> None:
        """Time passes. Calls are looked after at once, since WireGuard repeats those that are not answered."""
        end = self.clock + seconds
        while True:
            due = [
                (deadline, node.name, node)
                for node in self.nodes
                if node.gateway._strays._calls and (deadline := node.gateway._strays.next_deadline()) is not None
            ]
            deadline, _, node = min(due, default=(end, "", None))
            if node is None or deadline > end:
                break
            self.clock = max(self.clock, deadline) + 1e-6
            node.look()
        self.clock = max(self.clock, end)

    def teardown(self) -> None:
        """All news arrives, and each client that has a session uses it."""
        if not hasattr(self, "nodes"):
            return
        for _ in range(4):
            self.wait(31.0)
            for client in CLIENTS:
                self.data(client, roamed=False)
            for index in range(3):
                self.look(index)
                self.say(index)
            for index in range(3):
                self.follow(index, shuffle=False)
        for key, session in self.sessions.items():
            if not session.passed:
                continue
            holding = self.record.holdings[key]
            assert holding.gateway == session.node.name, "the record names another holder"
            assert session.node.holds(key)
            for node in self.nodes:
                if node is not session.node:
                    assert not node.holds(key), "there are two holders"
                    assert key not in node.gateway.residency, "another gateway still has the peer"


class Drawn:
    """What `lead` draws, for a story that is told."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def draw(self, _: object) -> Client:
        return self._client


@pytest.mark.parametrize("quick", [*itertools.product([False, True], repeat=3)])
def test_a_call_that_came_before_the_client_was_back_gives_way_to_it(quick: tuple[bool, ...]) -> None:
    """A client of b goes to c, is called by a, which has not heard of c, and comes back to b, which still has it."""
    world = Fleet()
    world.create(list(quick), 0.0)
    client = CLIENTS[0]
    world.connect(client, 1)
    world.lead(Drawn(client), 1, True, False)
    world.connect(client, 2)
    world.follow(0, False)
    world.stray(client, 0, "own", True)
    world.connect(client, 1)
    world.teardown()


def test_a_knock_after_a_call_moves_nobody_unless_its_session_is_confirmed() -> None:
    """A client of b is called by a, and goes on there. A knock of its own comes to b, whose answer is lost."""
    world = Fleet()
    world.create([False, True, False], 0.0)
    client = CLIENTS[1]
    world.connect(client, 1)
    world.connect(client, 1)
    world.lead(Drawn(client), 0, True, False)
    world.knock(client, 1, False)
    world.teardown()


TestFleet = Fleet.TestCase
TestFleet.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)

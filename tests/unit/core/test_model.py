"""The core against a world that does what it can: a state machine of random knocks, answers, changes, crashes, clocks.

The world is a registry and a device in memory (tests/fakes, held to the real ones by their contracts), clients, a wire
on which everything that was ever sent can be sent again, and a loop that performs commands in the daemon's order. It
also knows the truth: who sent what, and what was acted upon. So it can say, after every event:

- an install is for a knock that its key's holder sent, that the registry allows, and whose stamp is newer than all that
  were acted upon, here or in the store, and not from the future; it installs what is registered, and nothing else;
- a forged knock asks no remote store, and none that is not proven leaves a claim;
- a held packet is released once, at its deadline at the latest; a copy never is, and is replayed once at most;
- a knock gets one Tell or Count, which is its last command; no command names a knock that is not waiting;
- a resident loses its session only by the registry's word; it is removed by a fresh look only, never if it is pinned,
  never within 180 s of a handshake that the look could see, and never if the registry does not know it;
- an install finds room, and waits until the peer's own removal is done;
- the core's residents are the device's, but for those that somebody else put in or took out;
- stored claims grow, but by the operator's word; nobody whom a registry knows that was put in another's place loses
  its session by that;
- where clocks are right, a recording alone installs nobody, if it is older than 10 s or than this process, whatever the
  gateway has seen of it; and no client's own knock is taken for one;
- no change that the core makes hands a registered peer's address to a wider peer that the registry does not know, once
  a look has shown what others did to the device.

Whoever is idle for long leaves. And once all answers are there: every knock has been told, the core's residents are the
device's, and no peer that the registry switched off or removed is among them, whoever put it there.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.fakes.store import FakeRegistry
from tests.forge import forge_initiation, with_mac1
from tests.unit.core.conftest import SERVER, Client
from tests.unit.core.world import KEEPERS, RESPONDER, WIDER, Sent, World
from wgjit.core.vocabulary.events import Arrived, DeviceRead, RegistryChanged, Tick
from wgjit.errors import StoreError
from wgjit.model import NEVER, Delivery, DevicePeer, Endpoint, PeerChange, PrivateKey, Tai64n, parse_allowed_ip
from wgjit.refusal import Refusal
from wgjit.wire.packets import build


class Named(Client):
    """A client that a printed example names."""

    def __repr__(self) -> str:
        return str(self.peer.name)


CLIENTS = [Named(RESPONDER.public_key, number) for number in (1, 2)]
STRANGER = Named(RESPONDER.public_key, 9)
ELSEWHERE = Endpoint.parse("203.0.113.7:9")
EVERYTHING = parse_allowed_ip("0.0.0.0/0")
FOREIGN = PrivateKey(b"\x77" * 32).public()

clients = st.sampled_from(CLIENTS)
mostly = st.sampled_from([True, True, False])
clocks = st.sampled_from([0.0, 0.0, 0.0, -10.0, -4000.0, 3000.0, 7200.0])
"""By how many seconds a client's clock is wrong."""


class Model(World, RuleBasedStateMachine):
    """See the head of this file."""

    @initialize(
        delivery=st.sampled_from(Delivery),
        local=st.booleans(),
        capacity=st.sampled_from([1, 2, 65536]),
        pin=mostly,
        right=st.booleans(),
        watchful=st.sampled_from([0, 64]),
    )
    def begin(
        self,
        delivery: Delivery,
        local: bool,
        capacity: int = 65536,
        pin: bool = False,
        right: bool = False,
        watchful: int = 0,
    ) -> None:
        peers = [client.peer for client in CLIENTS]
        if pin:
            peers[0] = replace(peers[0], idle_timeout=NEVER)
        self.create(delivery, local, peers, capacity, clocks_are_right=right, watchful=watchful)

    # --- clients and attackers ----------------------------------------------------------------------------------

    def arrive(self, *packets: tuple[Sent, bool]) -> None:
        arrivals = []
        for sent, held in packets:
            self.number += 1
            self.wire.append(sent)
            self.coming[self.number] = sent, held
            arrivals.append(Arrived(self.number, sent.packet, held))
        self.hear(*arrivals)

    def made(self, client: Client, wrong: float) -> Sent:
        wrong = 0.0 if self.clocks_are_right else wrong
        stamp = Tai64n.from_unix_ns(int((self.clock() + self.offset + wrong) * 1e6) * 1000 + self.number)
        message = client._initiator.initiate(1, stamp)
        return Sent(build(client.endpoint, SERVER, message), client.key, stamp, self.monotonic)

    @rule(client=clients, wrong=clocks, held=st.booleans())
    def knocks(self, client: Client, wrong: float, held: bool) -> None:
        self.arrive((self.made(client, wrong), held))

    @rule(client=clients, wrong=st.tuples(clocks, clocks), held=st.tuples(st.booleans(), st.booleans()))
    def knocks_twice_at_once(self, client: Client, wrong: tuple[float, float], held: tuple[bool, bool]) -> None:
        self.arrive(*zip((self.made(client, one) for one in wrong), held, strict=True))

    @rule(client=clients, held=st.booleans(), times=st.integers(2, 3))
    def knocks_until_answered(self, client: Client, held: bool, times: int) -> None:
        """A client whose handshake gets no answer tries again every 5 s."""
        for _ in range(times):
            self.arrive((self.made(client, 0.0), held))
            self.time_passes(5.0)

    @rule(held=st.booleans())
    def all_knock_at_once(self, held: bool) -> None:
        self.arrive(*((self.made(client, 0.0), held) for client in CLIENTS))

    @rule(held=st.booleans())
    def stranger_knocks(self, held: bool) -> None:
        self.arrive((self.made(STRANGER, 0.0), held))

    @rule(client=clients, held=st.booleans())
    def forger_knocks(self, client: Client, held: bool) -> None:
        message = forge_initiation(RESPONDER.public_key, client.key, Tai64n.from_unix(self.monotonic + self.offset))
        self.arrive((Sent(build(ELSEWHERE, SERVER, message), client.key), held))

    @precondition(lambda self: self.wire)
    @rule(back=st.integers(1, 5), after=st.sampled_from([0.0, 2.0]), held=st.booleans())
    def replayed(self, back: int, after: float, held: bool) -> None:
        """What was sent so many packets ago is sent again: at once, it is a duplicate."""
        self.time_passes(after)
        self.arrive((self.wire[-min(back, len(self.wire))], held))

    @rule(held=st.booleans(), message=st.sampled_from([b"", b"\1\0\0\0", with_mac1(RESPONDER.public_key, b"\2" * 148)]))
    def garbage(self, held: bool, message: bytes) -> None:
        self.arrive((Sent(build(ELSEWHERE, SERVER, message)), held))

    @rule(client=clients)
    def shakes_hands(self, client: Client) -> None:
        if client.key in self.device.keys:
            self.device.shake_hands(client.key, self.monotonic + self.offset)
            self.shaken[client.key] = self.clock()
            self.handshakes.append((client.key, self.monotonic))

    @rule(client=clients)
    def shakes_hands_unseen(self, client: Client) -> None:
        """No gateway runs, or its queue is full: an eavesdropper has what it did not see."""
        self.wire.append(self.made(client, 0.0))
        self.shakes_hands(client=client)

    # --- the registry -------------------------------------------------------------------------------------------

    @precondition(lambda self: self.lookups)
    @rule(data=st.data())
    def remote_answers(self, data: st.DataObject) -> None:
        self.answer(data.draw(st.integers(0, len(self.lookups) - 1)))
        self.hear()

    @rule(
        client=clients,
        enabled=st.sampled_from([True, True, False]),
        keepalive=st.sampled_from([0, 25]),
        expires=st.sampled_from([None, 60]),
        idle=st.sampled_from([None, None, NEVER, 180]),
    )
    def changes(
        self, client: Client, enabled: bool, keepalive: int, expires: int | None, idle: int | None = None
    ) -> None:
        at = None if expires is None else int(self.monotonic + self.offset) + expires
        peer = self.store._peers.get(client.key)
        if peer is None:  # its address may be another's by now
            self.store.add([peer := replace(client.peer, allowed_ips=())])
        self.store.replace(replace(peer, enabled=enabled, keepalive=keepalive, expires_at=at, idle_timeout=idle))

    @rule()
    def two_swap_addresses(self) -> None:
        if all(self.is_registered(client) for client in CLIENTS[:2]):
            one, other = (self.store._peers[client.key] for client in CLIENTS[:2])
            self.store.replace(replace(one, allowed_ips=()))
            self.store.replace(replace(other, allowed_ips=one.allowed_ips))
            self.store.replace(replace(one, allowed_ips=other.allowed_ips))

    @rule(client=clients, noticed=st.booleans())
    def unregistered(self, client: Client, noticed: bool) -> None:
        if self.is_registered(client):
            self.store.remove(client.key)
            self.whole_round(noticed)

    @rule(knows=st.sets(clients), changes=st.sampled_from([0, 40]), noticed=st.booleans())
    def another_registry_is_in_its_place(self, knows: set[Client], changes: int, noticed: bool) -> None:
        """It has no claims, and a log of its own, longer or shorter."""
        other = FakeRegistry(client.peer for client in knows)
        for _ in range(changes if knows else 0):
            other.replace(min(knows, key=str).peer)
        self.store.put_in_place(other)
        self.barred.clear()
        for client in CLIENTS:
            self.forget(client)
            resident = self.gateway.residency.get(client.key)
            if resident is None or not resident.registered:
                self.by_hand.add(client.key)
        self.whole_round(noticed)

    @rule(client=clients, noticed=st.booleans())
    def resets_claim(self, client: Client, noticed: bool) -> None:
        self.store.reset_claim(client.key)
        self.forget(client)
        self.whole_round(noticed)

    def whole_round(self, at_once: bool) -> None:
        """Without anything in between, if so, and if none is under way."""
        if at_once and self.round is None:
            self.hear(*self.watch.round())

    @rule(fails=st.sampled_from([False, False, True]))
    def store_fails(self, fails: bool) -> None:
        self.store.fail(
            StoreError("out of order") if fails else None, "lookup", "save_claims", "last_change", "changes"
        )

    def forget(self, client: Client) -> None:
        """The operator's word: what the client sent before is as good as new."""
        self.stored.pop(client.key, None)
        self.acted.pop(client.key, None)
        self.good = {one for one in self.good if one[0] != client.key}

    def is_registered(self, client: Client) -> bool:
        return client.key in self.store._peers

    @precondition(lambda self: self.round is None)
    @rule()
    def round_begins(self) -> None:
        self.round = self.watch.round()

    @precondition(lambda self: self.round is not None)
    @rule()
    def round_ends(self) -> None:
        events, self.round = self.round or [], None
        self.hear(*events)

    # --- the device ---------------------------------------------------------------------------------------------

    @precondition(lambda self: self.reading)
    @rule(data=st.data(), fails=st.booleans(), took=st.sampled_from([0.0, 0.0, 0.3]))
    def reading_ends(self, data: st.DataObject, fails: bool, took: float) -> None:
        self.end_reading(lambda choices: data.draw(st.sampled_from(choices)), fails, took=took)

    @precondition(lambda self: self.reading)
    @rule(client=clients, held=st.booleans())
    def reading_ends_in_parts(self, client: Client, held: bool) -> None:
        """A packet has its turn in between."""
        self.end_reading(lambda choices: choices[-1], False, lambda: self.knocks(client=client, wrong=0.0, held=held))

    def end_reading(
        self,
        choose: Callable[[Sequence[DevicePeer | None]], DevicePeer | None],
        fails: bool,
        between: Callable[[], None] | None = None,
        took: float = 0.0,
    ) -> None:
        """What changed while it went on is in it, or is not; what was removed meanwhile may be missing."""
        assert self.reading
        began, before, removed = self.reading
        self.reading = None
        self.looked = self.looked if fails else began
        if fails:
            self.hear(DeviceRead(float("-inf"), []))
            return
        after = {peer.public_key: peer for peer in self.device.peers()}
        seen = []
        for key in sorted(before | after):
            choices = [before.get(key), after.get(key), *([None] if key in removed else [])]
            changed = key in removed or choices[0] != choices[1]
            seen.append(choose(choices) if changed else choices[0])
        there = [peer for peer in seen if peer is not None]
        while len(there) > 1 and not fails and between:
            self.hear(DeviceRead(began, [there.pop(0)], more=True))
            between()
        self.hear(DeviceRead(began, there, took=took))

    @precondition(lambda self: self.eviction)
    @rule(took=st.sampled_from([0.0001, 0.02]))
    def eviction_ends(self, took: float) -> None:
        self.end_eviction(took)

    @rule(failure=st.sampled_from([Refusal.FULL, Refusal.DEVICE_FAILED]))
    def device_refuses_a_change(self, failure: Refusal) -> None:
        self.failure = failure

    def interfere(self, change: PeerChange) -> None:
        self.interfered = self.clock()
        self.unsure.add(change.public_key)
        self.put(change)

    @rule(client=clients)
    def removed_behind_our_back(self, client: Client) -> None:
        self.interfere(PeerChange(client.key, remove=True))

    @rule(client=clients)
    def added_behind_our_back(self, client: Client) -> None:
        self.by_hand.add(client.key)
        self.interfere(PeerChange.install(client.peer))

    @rule(client=clients)
    def address_taken_behind_our_back(self, client: Client) -> None:
        self.interfere(PeerChange(FOREIGN, allowed_ips=client.peer.allowed_ips))

    @rule(there=mostly)
    def wider_peer_by_hand(self, there: bool) -> None:
        """An exit node, say, is put in, or taken out again."""
        self.interfere(PeerChange(WIDER, remove=not there, allowed_ips=(EVERYTHING,) if there else None))

    @rule()
    def heartbeat(self) -> None:
        self.configure(tuple(change for changes in list(self.undone.values()) for change in changes))

    @rule()
    def all_is_quiet(self) -> None:
        """Nothing fails, and whatever has begun comes to its end."""
        self.failure = None
        self.store.fail(None)
        for events in (self.round or [], self.watch.round()):
            self.hear(*events)
        self.round = None
        self.heartbeat()
        while self.lookups or self.reading or self.eviction:
            if self.lookups:
                self.answer(0)
                self.hear()
            elif self.reading:
                self.unkept = False
                self.looked, self.reading = self.clock(), None
                self.hear(DeviceRead(self.looked, list(self.device.peers())))
            else:
                self.end_eviction()

    # --- time ---------------------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.02, 0.3, 0.6, 1.1, 4.0, 6.0, 30.0, 200.0]))
    def time_passes(self, seconds: float) -> None:
        """The loop ticks at every deadline on the way."""
        end = self.monotonic + seconds
        while (deadline := self.gateway.next_deadline()) is not None and deadline <= end:
            self.monotonic = max(self.monotonic, deadline)
            self.hear(Tick())
            late = [k for k in self.waiting.values() if k.held and not k.released]
            limit = self.settings.hold_deadline + 0.001  # another deadline may lie a microsecond before
            assert all(self.monotonic < k.arrived + limit for k in late), "held over its deadline"
        self.monotonic = max(self.monotonic, end)
        if seconds > 1.0:
            self.hear(Tick())

    @rule()
    def nobody_knocks_for_long(self) -> None:
        """Whoever is idle leaves, but for the pinned and for those that the registry does not know."""
        for _ in range(24):
            self.time_passes(60.0)
            self.all_is_quiet()
        for client in CLIENTS:
            if self.is_registered(client) and client.key in self.device.keys:
                assert self.store._peers[client.key].is_pinned, "idle, and still there"

    @precondition(lambda self: not self.clocks_are_right)
    @rule(by=st.sampled_from([-86400.0, -100.0, 100.0, 86400.0]))
    def clock_is_stepped(self, by: float) -> None:
        self.offset += by

    @rule()
    def crashes(self) -> None:
        """`kill -9`: what it held goes on by the kernel's hand; what it had not saved is lost.

        If another registry has come meanwhile that never knew a resident, nobody can tell it from the operator's own.
        """
        never_known = (c.key for c in CLIENTS if not self.is_registered(c) and self.store.former(c.key) is None)
        self.by_hand.update(never_known)
        self.start()

    # --- at last ------------------------------------------------------------------------------------

    def teardown(self) -> None:
        """All answers come, and the device and the registry are read once more."""
        if sys.exc_info()[0] is not None or not hasattr(self, "gateway"):
            return  # it has failed already
        for _ in range(3):  # a knock may wait for the next look, which may find somebody to remove
            self.all_is_quiet()
            self.time_passes(2.5)
        self.all_is_quiet()
        assert not self.waiting, "a knock was never told"
        self.gateway.residency.reading_begins()
        self.hear(DeviceRead(self.clock(), list(self.device.peers())))
        for _ in range(3):  # removals have their own pace
            self.all_is_quiet()
            self.time_passes(1.1)
        self.all_is_quiet()
        assert set(self.gateway.residency.keys()) == self.device.keys - KEEPERS
        assert not self.strangers_addresses(), "a wider peer has a registered address"
        assert self.device.keys.isdisjoint(KEEPERS) or WIDER in self.device.keys, "a placeholder for nothing"
        for client in CLIENTS:
            known = self.is_registered(client) or self.store.former(client.key)
            if client.key in self.device.keys and (known or client.key not in self.by_hand):
                assert self.is_registered(client), "removed from the registry, and still there"
                assert self.store._peers[client.key].enabled, "switched off, and still there"


Model.TestCase.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
test_the_core_in_a_world_that_does_what_it_can = Model.TestCase


# --- what chance seldom brings together -------------------------------------------------------------------------------


@pytest.fixture
def model() -> Model:
    made = Model()
    made.begin(delivery=Delivery.REPLAY, local=True)
    return made


def test_an_older_knock_that_came_with_a_newer_one_takes_nothing_back(model: Model) -> None:
    model.knocks_twice_at_once(client=CLIENTS[0], wrong=(0.0, -10.0), held=(False, False))
    model.replayed(back=2, after=2.0, held=False)
    model.removed_behind_our_back(client=CLIENTS[0])
    model.replayed(back=3, after=2.0, held=False)
    model.teardown()


def test_a_peer_removed_while_the_device_is_read_stays_removed(model: Model) -> None:
    model.knocks_until_answered(client=CLIENTS[0], held=False, times=3)
    assert model.reading
    model.unregistered(client=CLIENTS[0], noticed=True)
    model.end_reading(lambda choices: choices[0], fails=False)
    model.teardown()


def test_a_knock_is_not_forgotten_between_removal_and_saving(model: Model) -> None:
    model.knocks(client=CLIENTS[0], wrong=0.0, held=True)
    model.changes(client=CLIENTS[0], enabled=False, keepalive=0, expires=None)
    model.store.fail(StoreError("out of order"), "save_claims")
    model.hear(RegistryChanged({CLIENTS[0].key: model.store.lookup(CLIENTS[0].key)}))
    model.end_eviction()
    model.changes(client=CLIENTS[0], enabled=True, keepalive=0, expires=None)
    model.replayed(back=1, after=2.0, held=True)
    assert not model.device.keys
    model.teardown()


def test_a_wider_peer_that_comes_again_is_kept_away_again(model: Model) -> None:
    for there in (True, False, True):
        model.wider_peer_by_hand(there=there)
        model.time_passes(31.0)
        model.all_is_quiet()
    model.teardown()

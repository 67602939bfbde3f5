"""Clients that the network has led here, as transcripts: data comes, the holder is found, the client is called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.unit.core.conftest import START, Client, Stage
from wgjit.core.takeover.strays import AGAIN as STILL_HERE
from wgjit.core.takeover.strays import GIVE_UP, LOOK, MOST_APART, NEWS
from wgjit.core.takeover.turns import AGAIN, BURST, LATE, MINUTE, MOST, RATE, SOURCE_BURST
from wgjit.core.vocabulary.commands import (
    AwaitData,
    Command,
    Configure,
    Evict,
    FindHolders,
    Hold,
    Install,
    NoStray,
    ReadDevice,
    SayHolding,
    SessionOver,
    StrayAgain,
)
from wgjit.core.vocabulary.events import (
    Confirmed,
    DeviceRead,
    Evicted,
    FleetClock,
    FollowUpDue,
    HeldElsewhere,
    HoldersFound,
    Installed,
    Stray,
    Tick,
)
from wgjit.core.vocabulary.told import Arrival, Came, Departure, Left, Takeover, Tell, TookOver
from wgjit.model import DevicePeer, Endpoint, Holding, PeerChange, Registration, Tai64n
from wgjit.record import Decision
from wgjit.refusal import Refusal

SERVICE = Endpoint.parse("203.0.113.1:51820")
SHARED = frozenset({SERVICE.address})


@pytest.fixture
def stage(make_stage: Callable[..., Stage]) -> Stage:
    stage = make_stage(fleet=True, epoch=7, shared=SHARED)
    stage.hear(FleetClock(0.0))
    return stage


@pytest.fixture
def client(stage: Stage) -> Client:
    return stage.client()


def held(client: Client, gateway: str = "a", at: float = START - 60, **more: object) -> Holding:
    holding = Holding(client.key, Tai64n.from_unix(at), 2, gateway, 1, client.endpoint, at)
    return replace(holding, **more)  # type: ignore[arg-type]


def registration(client: Client, holding: Holding | None = None, **changes: object) -> Registration:
    return replace(client.registration(START - 60, **changes), holding=holding or held(client))


def outcomes(commands: list[Command]) -> list[Takeover]:
    return [command.outcome for command in commands if isinstance(command, TookOver)]


def stray(stage: Stage, client: Client, destination: Endpoint = SERVICE) -> list[Command]:
    return stage.hear(Stray(client.endpoint, destination))


def find(
    stage: Stage,
    client: Client,
    *found: Registration,
    service: frozenset[bytes] = SHARED,
    source: bytes | None = SERVICE.address,
) -> list[Command]:
    return stage.hear(HoldersFound(client.endpoint, found, service, source))


def call(stage: Stage, client: Client, holding: Holding | None = None) -> list[Command]:
    """A stray whose peer is called."""
    assert stray(stage, client) == [FindHolders(client.endpoint)]
    find(stage, client, registration(client, holding))
    return stage.hear(Installed(client.key))


def said(commands: list[Command]) -> list[SayHolding]:
    return [command for command in commands if isinstance(command, SayHolding)]


def test_the_client_is_called_at_its_endpoint(stage: Stage, client: Client) -> None:
    assert stray(stage, client) == [FindHolders(client.endpoint)]
    commands = find(stage, client, registration(client))
    change = PeerChange.install(client.peer, client.endpoint, keepalive=25)
    assert commands == [SessionOver(client.endpoint, at_once=True), Install(change)]
    came, took, awaits = stage.hear(Installed(client.key))
    assert came == Came(client.key, Arrival.CALLED)
    assert awaits == AwaitData(client.key, client.peer.allowed_ips)
    assert isinstance(took, TookOver)
    assert took.record is not None
    assert (took.outcome, took.record.decision, took.record.held_by) == (Takeover.CALLED, Decision.CALLED, "a")
    assert (took.record.source, took.record.destination, took.record.name) == (
        client.endpoint, SERVICE, client.peer.name,
    )  # fmt: skip
    assert stage.gateway.holding == 0, "a call is not an answer"


def test_its_data_makes_this_gateway_the_holder(stage: Stage, client: Client) -> None:
    call(stage, client)
    stage.wait(0.03)
    commands = stage.hear(Confirmed((client.key,)))
    expected = Holding(client.key, held(client).timestamp, 3, "g", 7, client.endpoint, START, before="a")
    assert commands == [
        Configure((PeerChange(client.key, update_only=True, keepalive=0),)),
        TookOver(Takeover.COMPLETED, client.key),
        AwaitData(client.key, ()),
        SayHolding(expected, Hold.CALLED),
        NoStray((client.endpoint,)),
    ]
    assert stage.gateway.holding == 1
    stage.wait(GIVE_UP)
    assert not [command for command in stage.hear(Tick()) if isinstance(command, Configure | Evict)]


def test_a_look_makes_it_the_holder_too(stage: Stage, client: Client) -> None:
    stage.hear(DeviceRead(stage.monotonic, []))
    call(stage, client)
    stage.wait(LOOK)
    assert ReadDevice() in stage.hear(Tick())
    peer = DevicePeer(client.key, client.peer.allowed_ips, endpoint=client.endpoint, last_handshake=START + 0.05)
    commands = stage.hear(DeviceRead(stage.monotonic, [peer]))
    assert outcomes(commands) == [Takeover.COMPLETED]
    assert [one.why for one in said(commands)] == [Hold.CALLED]


def test_without_an_answer_the_holder_keeps_the_peer(stage: Stage, client: Client) -> None:
    stage.hear(DeviceRead(stage.monotonic, []))
    call(stage, client)
    stage.wait(LOOK)
    assert ReadDevice() in stage.hear(Tick())
    stage.hear(DeviceRead(stage.monotonic, [DevicePeer(client.key, client.peer.allowed_ips)]))
    deadline = stage.gateway.next_deadline()
    assert deadline is not None
    assert deadline <= stage.monotonic + GIVE_UP - LOOK < 5.0 + stage.monotonic
    stage.wait(GIVE_UP - LOOK)
    commands = stage.hear(Tick())
    assert PeerChange(client.key, update_only=True, allowed_ips=()) in [
        change for command in commands if isinstance(command, Configure) for change in command.changes
    ]
    assert outcomes(commands) == [Takeover.UNANSWERED]
    assert StrayAgain((client.endpoint,)) in commands, "the call may have been lost"
    assert Evict((client.key,)) in commands
    assert said(commands) == []
    left = stage.hear(Evicted((client.key,), frozenset(), 0.001))
    assert left == [Left(client.key, Departure.UNANSWERED, client.peer.name), SessionOver(client.endpoint)]


def test_without_any_look_it_is_taken_out_in_time(stage: Stage, client: Client) -> None:
    """A look at many residents may take longer than WireGuard waits before it calls again."""
    call(stage, client)
    stage.wait(GIVE_UP)
    assert outcomes(stage.hear(Tick())) == [Takeover.UNANSWERED]


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        ({"enabled": False}, Takeover.BARRED),
        ({"expires_at": int(START)}, Takeover.BARRED),
    ],
)
def test_who_may_not_connect_is_not_called(
    stage: Stage, client: Client, change: dict[str, object], outcome: Takeover
) -> None:
    stray(stage, client)
    assert find(stage, client, registration(client, **change)) == [TookOver(outcome)]


def test_who_is_not_held_elsewhere_is_not_called(stage: Stage, client: Client) -> None:
    other = stage.client(2)
    at_another = replace(held(client), endpoint=Endpoint.parse("192.0.2.77:1"))
    for found, outcome in [
        ((), Takeover.UNHELD),
        ((registration(client, held(client, "g")),), Takeover.UNHELD),
        ((registration(client, held(client, until=START)),), Takeover.UNHELD),
        ((registration(client, at_another),), Takeover.UNHELD),
        ((client.registration(),), Takeover.UNHELD),
        ((registration(client), registration(other)), Takeover.SEVERAL),
    ]:
        stray(stage, client)
        assert find(stage, client, *found) == [TookOver(outcome)]
    stray(stage, client)
    failed = HoldersFound(client.endpoint, Refusal.STORE_FAILED)
    assert stage.hear(failed) == [TookOver(Takeover.FAILED)]
    assert stage.hear(failed) == [], "nobody has asked"


def test_only_a_shared_address_counts(stage: Stage, client: Client) -> None:
    own = Endpoint.parse("198.51.100.1:51820")
    assert stray(stage, client, own) == []
    for service, source, outcome in [
        (frozenset[bytes](), SERVICE.address, Takeover.NOT_SHARED),
        (SHARED, own.address, Takeover.WRONG_SOURCE),
        (SHARED, None, Takeover.WRONG_SOURCE),
    ]:
        stray(stage, client)
        assert find(stage, client, registration(client), service=service, source=source) == [TookOver(outcome)]


def test_an_address_may_be_written_as_ipv6(stage: Stage, client: Client) -> None:
    mapped = Endpoint(bytes(10) + b"\xff\xff" + client.endpoint.address, client.endpoint.port)
    stray(stage, client)
    commands = find(stage, client, registration(client, held(client, endpoint=mapped)))
    assert any(isinstance(command, Install) for command in commands)


@pytest.mark.parametrize("apart", [None, MOST_APART + 0.1, -MOST_APART - 0.1, 3600.0])
def test_with_a_wrong_clock_nobody_is_called(
    make_stage: Callable[..., Stage], client: Client, apart: float | None
) -> None:
    stage = make_stage(fleet=True, shared=SHARED)
    if apart is not None:
        stage.hear(FleetClock(apart))
    assert stray(stage, client) == [TookOver(Takeover.CLOCK)]
    assert stage.gateway.takes_nobody_over is not None
    assert "clock" in stage.gateway.takes_nobody_over
    stage.hear(FleetClock(0.1))
    assert stage.gateway.takes_nobody_over is None
    assert stray(stage, client) == [FindHolders(client.endpoint)]


def test_a_gateway_that_drains_takes_nobody_over(stage: Stage, client: Client) -> None:
    stray(stage, client)
    stage.gateway._strays._is_draining = lambda: True
    assert find(stage, client, registration(client)) == [TookOver(Takeover.DRAINING)]
    assert stray(stage, client) == [TookOver(Takeover.DRAINING)]


# --- limits ---------------------------------------------------------------------------------------------------------


def test_a_client_is_called_seldom(stage: Stage, client: Client) -> None:
    for _ in range(MOST):
        stray(stage, client)
        find(stage, client, registration(client))
        stage.hear(Installed(client.key))
        stage.wait(GIVE_UP)
        assert outcomes(stage.hear(Tick())) == [Takeover.UNANSWERED]
        stage.hear(Evicted((client.key,), frozenset(), 0.001))
        stray(stage, client)
        if (waits := find(stage, client, registration(client))) == []:
            deadline = stage.gateway.next_deadline()
            assert deadline is not None
            stage.wait(AGAIN - GIVE_UP)
            assert FindHolders(client.endpoint) in stage.hear(Tick())
            stage.hear(HoldersFound(client.endpoint, ()))
    assert waits == [TookOver(Takeover.HELD_DOWN)]
    stage.wait(MINUTE)
    stray(stage, client)
    assert any(isinstance(command, Install) for command in find(stage, client, registration(client)))


def test_many_at_once_are_called_one_after_the_other(stage: Stage) -> None:
    """Each from an address of its own; nobody is forgotten."""
    count = int(BURST) + 100
    asked = 0
    for number in range(count):
        endpoint = Endpoint(bytes([10, 1, number >> 8, number & 255]), 4000)
        asked += stage.hear(Stray(endpoint, SERVICE)) == [FindHolders(endpoint)]
    assert asked == BURST
    turns = 0
    while asked < count:
        deadline = stage.gateway.next_deadline()
        assert deadline is not None
        stage.wait(max(0.0, deadline - stage.monotonic) + 1e-9)
        asked += sum(isinstance(command, FindHolders) for command in stage.hear(Tick()))
        turns += 1
        assert turns <= 2 * count
    assert 99 / RATE <= stage.monotonic - 100.0 <= 110 / RATE


def test_one_source_does_not_keep_the_others_waiting(stage: Stage) -> None:
    crowd = [Endpoint(bytes([192, 0, 2, 1]), 1 + port) for port in range(1000)]
    commands = [command for endpoint in crowd for command in stage.hear(Stray(endpoint, SERVICE))]
    assert sum(isinstance(command, FindHolders) for command in commands) == SOURCE_BURST
    late = outcomes(commands)
    assert set(late) == {Takeover.LATE}
    alone = Endpoint.parse("192.0.2.9:4000")
    assert stage.hear(Stray(alone, SERVICE)) == [FindHolders(alone)]
    stage.wait(LATE + 0.1)
    for _ in range(300):
        deadline = stage.gateway.next_deadline()
        stage.hear(Tick())
        if deadline is None or deadline > stage.monotonic + LATE:
            break
        stage.wait(max(0.0, deadline - stage.monotonic) + 1e-9)
    assert stage.gateway._strays._due == []


def test_the_same_endpoint_waits_once(stage: Stage, client: Client) -> None:
    assert stray(stage, client) == [FindHolders(client.endpoint)]
    assert stray(stage, client) == []


# --- others come in between -----------------------------------------------------------------------------------------


def test_a_small_device_is_read_first(make_stage: Callable[..., Stage]) -> None:
    """Another program may have put in a peer with the same address since the last look."""
    stage = make_stage(fleet=True, shared=SHARED, watchful=64)
    stage.hear(FleetClock(0.0))
    client = stage.client()
    stray(stage, client)
    assert find(stage, client, registration(client)) == [ReadDevice(at_once=True)]
    foreign = DevicePeer(stage.client(9).key, client.peer.allowed_ips)
    assert outcomes(stage.hear(DeviceRead(stage.monotonic, [foreign]))) == [Takeover.CONFLICT]
    other = stage.client(2)
    stray(stage, other)
    assert find(stage, other, registration(other)) == [ReadDevice(at_once=True)]
    commands = stage.hear(DeviceRead(stage.monotonic, [foreign]))
    assert Install(PeerChange.install(other.peer, other.endpoint, keepalive=25)) in commands


def test_a_full_device_calls_nobody(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage(fleet=True, shared=SHARED, capacity=1)
    stage.hear(FleetClock(0.0))
    stage.install(stage.client(2))
    client = stage.client()
    stray(stage, client)
    assert find(stage, client, registration(client)) == [TookOver(Takeover.FULL)]


def test_the_device_refuses(stage: Stage, client: Client) -> None:
    stray(stage, client)
    find(stage, client, registration(client))
    assert stage.hear(Installed(client.key, Refusal.DEVICE_FAILED)) == [TookOver(Takeover.FAILED, client.key)]
    assert client.key not in stage.gateway.residency


def test_a_resident_is_not_called(stage: Stage, client: Client) -> None:
    stray(stage, client)
    stage.install(client)
    assert find(stage, client, registration(client)) == []
    stage.wait(NEWS)
    assert FindHolders(client.endpoint) in stage.hear(Tick())
    assert find(stage, client, registration(client)) == [TookOver(Takeover.RESIDENT)]


def test_the_replica_has_the_news_before_the_core(stage: Stage, client: Client) -> None:
    stage.install(client)
    stage.hear(Confirmed((client.key,)))
    stray(stage, client)
    taken = held(client, "a", START, takeovers=1, since=START + 0.1)
    assert find(stage, client, registration(client, taken)) == []
    stage.hear(HeldElsewhere((taken,)))
    stage.hear(Evicted((client.key,), frozenset(), 0.001))
    stage.wait(STILL_HERE)
    assert FindHolders(client.endpoint) in stage.hear(Tick())
    assert any(isinstance(command, Install) for command in find(stage, client, registration(client, taken)))


def test_a_knock_in_the_same_moment_is_served_as_a_knock(stage: Stage, client: Client) -> None:
    stray(stage, client)
    find(stage, client, registration(client))
    stage.arrive(client.packet())
    assert stage.answer(registration(client)) == [], "it waits for the install that is under way"
    commands = stage.hear(Installed(client.key))
    assert outcomes(commands) == [Takeover.OVERTAKEN]
    assert Configure((PeerChange(client.key, update_only=True, keepalive=0),)) in commands
    (say,) = said(stage.hear(Confirmed((client.key,))))
    assert (say.holding.order, say.why) == ((Tai64n.from_unix(START), 0), Hold.TAKEN_OVER)


def test_an_old_initiation_stays_old_while_the_client_is_called(stage: Stage, client: Client) -> None:
    call(stage, client)
    stage.arrive(client.packet(START - 60))
    records = [command for command in stage.hear(FollowUpDue(stage.numbers)) if isinstance(command, Tell)]
    assert [one.record.refusal for one in records] == [Refusal.STALE]


def test_another_gateway_is_first(stage: Stage, client: Client) -> None:
    call(stage, client)
    assert not any(isinstance(c, Evict) for c in stage.hear(HeldElsewhere((held(client),)))), "the one it was taken of"
    commands = stage.hear(HeldElsewhere((held(client, "c", START + 1, takeovers=0),)))
    assert Evict((client.key,)) in commands
    stage.hear(Evicted((client.key,), frozenset(), 0.001))
    stage.wait(GIVE_UP)
    assert Takeover.UNANSWERED not in outcomes(stage.hear(Tick()))


# --- the holder of before -------------------------------------------------------------------------------------------


def test_a_later_call_outranks_a_rekey_that_was_not_said(stage: Stage, client: Client) -> None:
    """The holder has seen the client's rekeys, of which the caller cannot know; the call came after them."""
    stage.install(client)
    stage.hear(Confirmed((client.key,)))
    stage.wait(120)
    stage.arrive(client.packet(stage.wall))
    stage.hear(FollowUpDue(stage.numbers))
    stage.wait(1)
    peer = DevicePeer(client.key, client.peer.allowed_ips, endpoint=client.endpoint, last_handshake=stage.wall - 0.5)
    stage.hear(DeviceRead(stage.monotonic, [peer]))
    rekeyed = stage.gateway._upkeep.state.holders.own(client.key)
    assert rekeyed is not None
    assert rekeyed.timestamp == Tai64n.from_unix(START + 120)
    called = Holding(client.key, Tai64n.from_unix(START), 1, "b", 1, client.endpoint, stage.wall)
    earlier = replace(called, since=START + 100)
    (again,) = said(stage.hear(HeldElsewhere((earlier,))))
    assert again.why is Hold.REPEATED, "the client has come back since"
    assert again.holding.timestamp == Tai64n.from_unix(START + 120)


def test_a_call_after_the_rekey_ends_the_holding(stage: Stage, client: Client) -> None:
    stage.install(client)
    stage.hear(Confirmed((client.key,)))
    stage.wait(120)
    stage.arrive(client.packet(stage.wall))
    stage.hear(FollowUpDue(stage.numbers))
    stage.wait(5)
    peer = DevicePeer(client.key, client.peer.allowed_ips, endpoint=client.endpoint, last_handshake=stage.wall - 4)
    stage.hear(DeviceRead(stage.monotonic, [peer]))
    called = Holding(client.key, Tai64n.from_unix(START), 1, "b", 1, client.endpoint, stage.wall)
    commands = stage.hear(HeldElsewhere((called,)))
    assert said(commands) == []
    assert client.key not in stage.gateway.residency


def test_a_call_by_old_knowledge_does_not_end_it(stage: Stage, client: Client) -> None:
    """The caller had not heard of what this gateway has said since."""
    stage.install(client)
    stage.hear(Confirmed((client.key,)))
    called = Holding(client.key, Tai64n.from_unix(START - 600), 1, "b", 1, client.endpoint, stage.wall + 9)
    assert [one.why for one in said(stage.hear(HeldElsewhere((called,))))] == [Hold.REPEATED]


def test_a_knock_elsewhere_ends_what_was_taken_by_a_call(stage: Stage, client: Client) -> None:
    call(stage, client)
    stage.hear(Confirmed((client.key,)))
    commands = stage.hear(HeldElsewhere((held(client, "a", START + 2, takeovers=0),)))
    assert Evict((client.key,)) in commands

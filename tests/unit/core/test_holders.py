"""Who holds a peer, as transcripts: a session is confirmed, another gateway takes over, a process is started anew."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.forge import forge_initiation
from tests.unit.core.conftest import SERVER, START, Client, Stage
from tests.unit.core.test_gateway import kinds, told
from wgjit.core.residents.holders import REFRESH
from wgjit.core.vocabulary.commands import (
    Ask,
    AwaitData,
    Command,
    Configure,
    Evict,
    Hold,
    Install,
    Lookup,
    SaveClaim,
    SayHolding,
    SessionOver,
    SessionUp,
)
from wgjit.core.vocabulary.events import (
    ClaimsSaved,
    Confirmed,
    DeviceRead,
    Evicted,
    FleetClock,
    FollowUpDue,
    HeldElsewhere,
    Installed,
    LookedUp,
    RegistryChanged,
)
from wgjit.core.vocabulary.told import Departure, Left
from wgjit.model import (
    Claim,
    DevicePeer,
    Endpoint,
    Holding,
    PeerChange,
    Registration,
    Removed,
    Tai64n,
    parse_allowed_ip,
)
from wgjit.refusal import Refusal
from wgjit.wire.packets import build

ELSEWHERE = Endpoint.parse("203.0.113.7:9")


@pytest.fixture
def stage(make_stage: Callable[..., Stage]) -> Stage:
    return make_stage(fleet=True, epoch=7)


@pytest.fixture
def client(stage: Stage) -> Client:
    return stage.client()


def held(client: Client, gateway: str, at: float, **more: object) -> Holding:
    holding = Holding(client.key, Tai64n.from_unix(at), 0, gateway, 1, client.endpoint, at)
    return replace(holding, **more)  # type: ignore[arg-type]


def said(commands: list[Command]) -> list[SayHolding]:
    return [command for command in commands if isinstance(command, SayHolding)]


def look(stage: Stage, client: Client, handshake: float, endpoint: Endpoint | None = None) -> list[Command]:
    peer = DevicePeer(
        client.key, client.peer.allowed_ips, endpoint=endpoint or client.endpoint, last_handshake=handshake
    )
    return stage.hear(DeviceRead(stage.monotonic, [peer]))


def saved(stage: Stage, client: Client, at: float) -> None:
    stage.hear(ClaimsSaved((Claim(client.key, Tai64n.from_unix(at), "g", client.endpoint, at),)))


def test_installing_is_not_holding(stage: Stage, client: Client) -> None:
    commands = stage.install(client)
    assert AwaitData(client.key, client.peer.allowed_ips) in commands
    assert said(commands) == []
    claims = [command for command in commands if isinstance(command, SaveClaim)]
    assert [claim.said for claim in claims] == [True]
    assert stage.gateway.holding == 0


def test_data_confirms_a_session(stage: Stage, client: Client) -> None:
    stage.install(client)
    stage.wait(0.05)
    commands = stage.hear(Confirmed((client.key,)))
    expected = Holding(client.key, Tai64n.from_unix(START), 0, "g", 7, client.endpoint, START + 0.05)
    assert commands == [AwaitData(client.key, ()), SayHolding(expected, Hold.TAKEN)]
    assert stage.gateway.holding == 1
    assert stage.hear(Confirmed((client.key,))) == []


def test_a_look_confirms_a_session_too(stage: Stage, client: Client) -> None:
    stage.install(client)
    stage.wait(2.0)
    assert said(look(stage, client, handshake=0.0)) == []
    assert [one.why for one in said(look(stage, client, handshake=START + 0.1))] == [Hold.TAKEN]


def test_a_takeover_is_told(stage: Stage, client: Client) -> None:
    stage.arrive(client.packet())
    stage.answer(replace(client.registration(), holding=held(client, "other", START - 60)))
    record = told(stage.hear(Installed(client.key)))
    assert record.held_by == "other"
    (say,) = said(stage.hear(Confirmed((client.key,))))
    assert say.why is Hold.TAKEN_OVER
    assert say.holding.before == "other"


def test_a_peer_that_another_gateway_had_let_go_is_not_taken_over(stage: Stage, client: Client) -> None:
    stage.arrive(client.packet())
    other = held(client, "other", START - 60, until=START - 30)
    stage.answer(replace(client.registration(), holding=other))
    record = told(stage.hear(Installed(client.key)))
    assert record.held_by is None
    (say,) = said(stage.hear(Confirmed((client.key,))))
    assert (say.why, say.holding.before) == (Hold.TAKEN, "other")


def test_a_greater_holding_elsewhere_lets_the_peer_go_at_once(stage: Stage, client: Client) -> None:
    stage.install(client)
    stage.hear(Confirmed((client.key,)))
    saved(stage, client, START)
    commands = stage.hear(HeldElsewhere((held(client, "other", START + 9),)))
    assert commands == [
        Configure((PeerChange(client.key, update_only=True, allowed_ips=()),)),
        Evict((client.key,)),
    ]
    assert client.key not in stage.gateway.residency
    assert stage.gateway.holding == 0
    assert stage.hear(Evicted((client.key,), frozenset(), 0.001)) == [
        Left(client.key, Departure.MOVED, client.peer.name),
        SessionOver(client.endpoint),
    ]


def test_a_pinned_peer_moves_too(stage: Stage, client: Client) -> None:
    stage.arrive(client.packet())
    stage.answer(client.registration(idle_timeout=0))
    stage.hear(Installed(client.key))
    stage.hear(Confirmed((client.key,)))
    stage.hear(HeldElsewhere((held(client, "other", START + 9),)))
    assert client.key not in stage.gateway.residency


def test_a_smaller_holding_elsewhere_is_answered_with_our_own(stage: Stage, client: Client) -> None:
    stage.install(client)
    stage.hear(Confirmed((client.key,)))
    (say,) = said(stage.hear(HeldElsewhere((held(client, "other", START - 9),))))
    assert say.why is Hold.REPEATED
    assert say.holding.gateway == "g"
    assert client.key in stage.gateway.residency


def test_an_unconfirmed_peer_leaves_for_a_greater_holding(stage: Stage, client: Client) -> None:
    """A recording was played here. The client is elsewhere."""
    stage.install(client)
    stage.hear(HeldElsewhere((held(client, "other", START + 9),)))
    assert client.key not in stage.gateway.residency


def test_a_client_that_is_back_already_stays_and_has_to_pass_data(stage: Stage, client: Client) -> None:
    stage.install(client)
    stage.hear(Confirmed((client.key,)))
    look(stage, client, handshake=START + 0.1)
    stage.wait(20)
    stage.arrive(client.packet(stage.wall))
    stage.hear(FollowUpDue(stage.numbers))
    assert said(stage.hear(HeldElsewhere((held(client, "other", START + 10),)))) == []
    assert client.key in stage.gateway.residency
    assert stage.gateway.holding == 0
    assert stage.hear(Confirmed((client.key,))) == [], "this may be a late packet of the old session"
    stage.wait(1)
    assert said(look(stage, client, handshake=START + 0.1)) == []
    (say,) = said(look(stage, client, handshake=START + 20.1))
    assert say.holding.timestamp == Tai64n.from_unix(START + 20)
    assert (say.why, say.holding.before) == (Hold.TAKEN_OVER, "other")


def test_a_client_that_only_seemed_to_be_back_leaves(stage: Stage, client: Client) -> None:
    stage.install(client)
    stage.hear(Confirmed((client.key,)))
    look(stage, client, handshake=START + 0.1)
    stage.wait(20)
    stage.arrive(client.packet(stage.wall))
    stage.hear(FollowUpDue(stage.numbers))
    saved(stage, client, stage.wall)
    stage.hear(HeldElsewhere((held(client, "other", START + 10),)))
    stage.wait(16)
    assert Evict((client.key,)) in look(stage, client, handshake=START + 0.1)
    assert stage.hear(Evicted((client.key,), frozenset(), 0.001))[0] == Left(
        client.key, Departure.UNCONFIRMED, client.peer.name
    )


def test_rekeys_are_not_said_but_once_an_hour(stage: Stage, client: Client) -> None:
    stage.install(client)
    stage.hear(Confirmed((client.key,)))
    commands: list[Command] = []
    for _ in range(int(REFRESH / 120) + 1):
        stage.wait(120)
        stage.arrive(client.packet(stage.wall))
        commands += stage.hear(FollowUpDue(stage.numbers))
        commands += look(stage, client, handshake=stage.wall)
    assert said(commands) == []
    (claim,) = [command.claim for command in commands if isinstance(command, SaveClaim) and command.said]
    assert claim.timestamp > Tai64n.from_unix(START + REFRESH - 300)


def test_a_new_endpoint_is_said(stage: Stage, client: Client) -> None:
    stage.install(client)
    stage.hear(Confirmed((client.key,)))
    stage.wait(1)
    commands = look(stage, client, handshake=START + 0.1, endpoint=ELSEWHERE)
    (say,) = said(commands)
    assert (say.why, say.holding.endpoint) == (Hold.MOVED, ELSEWHERE)
    (up,) = [command for command in commands if isinstance(command, SessionUp)]
    assert up.endpoint == ELSEWHERE, "no answer of WireGuard's has gone there"
    assert up.seconds == pytest.approx(179.1)
    assert look(stage, client, handshake=START + 0.1, endpoint=ELSEWHERE) == []


def test_a_peer_that_leaves_may_be_called_at_each_of_its_endpoints(stage: Stage, client: Client) -> None:
    stage.install(client)
    stage.hear(Confirmed((client.key,)))
    stage.wait(1)
    look(stage, client, handshake=START + 0.1, endpoint=ELSEWHERE)
    commands = stage.hear(RegistryChanged({client.key: None}, removed=frozenset({client.key})))
    assert SessionOver not in kinds(commands), "while it is there, WireGuard may still call it"
    commands = stage.hear(Evicted((client.key,), frozenset(), 0.001))
    assert {command for command in commands if isinstance(command, SessionOver)} == {
        SessionOver(client.endpoint),
        SessionOver(ELSEWHERE),
    }


@pytest.mark.parametrize(("age", "left"), [(20.0, 160.0), (-3.0, 180.0), (179.5, 0.5), (180.0, None)])
def test_a_new_process_tells_of_sessions_that_are_up(
    stage: Stage, client: Client, age: float, left: float | None
) -> None:
    look(stage, client, handshake=START - age)
    commands = stage.hear(RegistryChanged({client.key: Registration(client.peer, None)}, rechecked=True))
    expected = [] if left is None else [SessionUp(client.endpoint, left)]
    assert [command for command in commands if isinstance(command, SessionUp)] == expected


def test_a_departure_is_said_with_the_last_timestamp(stage: Stage, client: Client) -> None:
    stage.install(client)
    stage.hear(Confirmed((client.key,)))
    commands = stage.hear(RegistryChanged({client.key: None}))
    (say,) = said(commands)
    assert (say.why, say.holding.until) == (Hold.LEFT, START)
    (claim,) = [command for command in commands if isinstance(command, SaveClaim)]
    assert claim.said


@pytest.mark.parametrize("until", [None, START - 5])
def test_a_new_process_goes_on_with_what_the_old_one_held(stage: Stage, client: Client, until: float | None) -> None:
    look(stage, client, handshake=START - 20)
    claim = Claim(client.key, Tai64n.from_unix(START - 20.1), "g", client.endpoint, START - 20.1)
    holding = held(client, "g", START - 20.1, until=until)
    commands = stage.hear(RegistryChanged({client.key: Registration(client.peer, claim, holding)}, rechecked=True))
    assert [one.why for one in said(commands)] == ([] if until is None else [Hold.TAKEN])
    assert stage.gateway.holding == 1
    (say,) = said(stage.hear(HeldElsewhere((held(client, "other", START - 60),))))
    assert say.holding.epoch == 7


@pytest.mark.parametrize(("age", "takes"), [(179.5, True), (180.0, False), (180.5, False)])
def test_a_new_process_holds_no_peer_whose_session_is_over(
    stage: Stage, client: Client, age: float, takes: bool
) -> None:
    look(stage, client, handshake=START - age)
    commands = stage.hear(RegistryChanged({client.key: Registration(client.peer, None)}, rechecked=True))
    assert [one.why for one in said(commands)] == ([Hold.TAKEN] if takes else [])
    assert stage.gateway.holding == takes


def test_a_new_process_lets_go_of_a_peer_that_moved_meanwhile(stage: Stage, client: Client) -> None:
    look(stage, client, handshake=START - 20)
    holding = held(client, "other", START - 1)
    stage.hear(RegistryChanged({client.key: Registration(client.peer, None, holding)}, rechecked=True))
    assert client.key not in stage.gateway.residency


@pytest.mark.parametrize("found", ["nothing", "removed"])
def test_the_record_is_asked_before_the_first_unknown(stage: Stage, client: Client, found: str) -> None:
    stage.arrive(client.packet())
    assert stage.answer(None if found == "nothing" else Removed(client.key)) == [Ask(1, client.key)]
    commands = stage.hear(LookedUp(1, client.registration(), asked=True))
    assert kinds(commands) == [Install]


def test_a_refusal_of_the_record_counts_for_a_while(stage: Stage, client: Client) -> None:
    stage.arrive(client.packet())
    stage.answer(None)
    record = told(stage.hear(LookedUp(1, None, asked=True)))
    assert record.refusal is Refusal.UNKNOWN
    stage.wait(1)
    stage.arrive(client.packet(stage.wall))
    record = told(stage.answer(None))
    assert record.refusal is Refusal.UNKNOWN
    stage.wait(5)
    stage.arrive(client.packet(stage.wall))
    assert stage.answer(None) == [Ask(3, client.key)]


def test_a_knock_that_is_not_proven_asks_nobody(stage: Stage, client: Client) -> None:
    packet = build(client.endpoint, SERVER, forge_initiation(stage.public_key, client.key, Tai64n.from_unix(START)))
    assert kinds(stage.arrive(packet)) == [Lookup]
    record = told(stage.answer(None))
    assert record.refusal is Refusal.UNKNOWN
    assert not record.proven


def test_a_wide_prefix_with_another_peer_inside_is_not_awaited(stage: Stage, client: Client) -> None:
    """That peer's packets would seem to be the client's."""
    inside = DevicePeer(stage.client(2).key, (parse_allowed_ip("10.9.0.7/32"),))
    stage.hear(DeviceRead(stage.monotonic, [inside]))
    stage.wait(1)
    stage.arrive(client.packet(stage.wall))
    narrow, wide = parse_allowed_ip("10.8.0.1/32"), parse_allowed_ip("10.9.0.0/24")
    stage.answer(client.registration(allowed_ips=(narrow, wide)))
    assert AwaitData(client.key, (narrow,)) in stage.hear(Installed(client.key))


def test_a_foreign_peer_of_the_other_version_is_inside_nothing(stage: Stage, client: Client) -> None:
    inside = DevicePeer(stage.client(2).key, (parse_allowed_ip("fd00::7/128"), parse_allowed_ip("10.9.0.7/32")))
    stage.hear(DeviceRead(stage.monotonic, [inside]))
    stage.wait(1)
    stage.arrive(client.packet(stage.wall))
    others, around, free = map(parse_allowed_ip, ("10.8.0.0/24", "fd00::/64", "fd01::/64"))
    stage.answer(client.registration(allowed_ips=(others, around, free)))
    assert AwaitData(client.key, (others, free)) in stage.hear(Installed(client.key))


@pytest.mark.parametrize("ahead", [3600.0, -3600.0])
def test_a_gateway_whose_clock_is_wrong_counts_by_the_clock_of_the_fleet(
    stage: Stage, client: Client, ahead: float
) -> None:
    """Another gateway has proven the client 60 s ago. This gateway's clock is an hour ahead or behind."""
    stage.wall += ahead
    look(stage, client.__class__(stage.public_key, 2), handshake=0.0)
    stage.hear(FleetClock(-ahead))
    stage.wait(120)
    now = stage.wall - ahead
    claim = Claim(client.key, Tai64n.from_unix(now - 60), "other", client.endpoint, now - 60)
    stage.arrive(client.packet(now))
    commands = stage.answer(Registration(client.peer, claim))
    assert kinds(commands) == [Install], told(commands)
    stage.hear(Installed(client.key))
    (say,) = said(stage.hear(Confirmed((client.key,))))
    assert say.holding.since == now

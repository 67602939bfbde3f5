"""A gateway that is to leave: which clients it still serves, what leaves it, and how it comes back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.unit.core.conftest import START, Client, Stage
from tests.unit.core.test_gateway import told
from wgjit.core.knock.takeovers import BURST, FORGOTTEN, PATIENCE, RATE, RETURN, Takeovers
from wgjit.core.vocabulary.commands import Command, Evict, Install, Release, SaveClaim
from wgjit.core.vocabulary.events import ClaimsSaved, Confirmed, DeviceRead, Drain, Evicted, FleetMembers, Undrain
from wgjit.core.vocabulary.moment import Now
from wgjit.core.vocabulary.told import Departure, Left
from wgjit.model import NEVER, DevicePeer, Holding, OtherGateway, PrivateKey, Tai64n
from wgjit.record import Decision
from wgjit.refusal import Refusal

GATEWAY = PrivateKey(b"\x42" * 32).public()


@pytest.fixture
def stage(make_stage: Callable[..., Stage]) -> Stage:
    return make_stage(fleet=True, epoch=7)


@pytest.fixture
def client(stage: Stage) -> Client:
    return stage.client()


def held(client: Client, gateway: str = "other", **more: object) -> Holding:
    holding = Holding(client.key, Tai64n.from_unix(START - 60), 0, gateway, 1, client.endpoint, START - 60)
    return replace(holding, **more)  # type: ignore[arg-type]


def knock(stage: Stage, client: Client, holding: Holding | None) -> list[Command]:
    """The client's newest knock, up to the Install or the refusal."""
    stage.arrive(client.packet(stage.wall), held=True)
    return stage.answer(replace(client.registration(), holding=holding))


def refusal(commands: list[Command]) -> Refusal | None:
    return told(commands).refusal


def lives(stage: Stage, *others: OtherGateway) -> None:
    stage.hear(FleetMembers(others or (OtherGateway("other", lives=True),)))


def is_installing(commands: list[Command]) -> bool:
    return any(isinstance(command, Install) for command in commands)


# --- a draining gateway -----------------------------------------------------------------------------------------------


def test_a_client_of_another_living_gateway_is_refused(stage: Stage, client: Client) -> None:
    lives(stage)
    stage.hear(Drain())
    commands = knock(stage, client, held(client))
    record = told(commands)
    assert (record.decision, record.refusal) == (Decision.REFUSED, Refusal.DRAINING)
    assert (record.held_by, record.proven) == ("other", True)
    assert isinstance(commands[0], Release)
    (save,) = [command for command in commands if isinstance(command, SaveClaim)]
    assert save.said, "nobody can replay the knock, here or elsewhere"
    assert stage.gateway.drains


@pytest.mark.parametrize(
    ("more", "others"),
    [
        pytest.param({"gateway": "g"}, [OtherGateway("other", True)], id="its own"),
        pytest.param({"until": START - 1}, [OtherGateway("other", True)], id="let go"),
        pytest.param({}, [OtherGateway("other", False)], id="of a dead one"),
        pytest.param({}, [OtherGateway("other", True, draining=True)], id="of one that drains, too"),
        pytest.param({}, [], id="of one that is not known"),
    ],
)
def test_a_client_that_nobody_else_would_serve_is_served(
    stage: Stage, client: Client, more: dict[str, object], others: list[OtherGateway]
) -> None:
    stage.hear(FleetMembers(tuple(others)))
    stage.hear(Drain())
    assert is_installing(knock(stage, client, held(client, **more)))  # type: ignore[arg-type]


def test_a_client_that_nobody_holds_is_served(stage: Stage, client: Client) -> None:
    lives(stage)
    stage.hear(Drain())
    assert is_installing(knock(stage, client, None))


def test_a_resident_is_not_asked_where_it_belongs(stage: Stage, client: Client) -> None:
    stage.install(client)
    lives(stage)
    stage.hear(Drain())
    stage.wait(5.0)
    assert Release in [type(command) for command in stage.arrive(client.packet(stage.wall), held=True)]


def test_a_client_that_reaches_nobody_else_is_let_in(stage: Stage, client: Client) -> None:
    lives(stage)
    stage.hear(Drain())
    for _ in range(3):
        assert refusal(knock(stage, client, held(client))) is Refusal.DRAINING
        stage.wait(5.0)
    assert is_installing(knock(stage, client, held(client)))


def test_patience_begins_anew_after_a_while() -> None:
    takeovers, client = draining(), Client(GATEWAY, 1)
    holding = held(client)
    assert takeovers.judge(client.key, holding, at(0)) is Refusal.DRAINING
    assert takeovers.judge(client.key, holding, at(FORGOTTEN + 1)) is Refusal.DRAINING
    assert takeovers.judge(client.key, holding, at(FORGOTTEN + 1 + PATIENCE)) is None


def test_the_memory_of_knocks_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wgjit.core.knock.takeovers.REMEMBERED", 2)
    takeovers = draining()
    clients = [Client(GATEWAY, number) for number in (1, 2, 3)]
    for number, client in enumerate(clients):
        takeovers.judge(client.key, held(client), at(number))
    assert len(takeovers._knocked) == 2
    assert takeovers.judge(clients[0].key, held(clients[0]), at(PATIENCE)) is Refusal.DRAINING, "forgotten: anew"


def test_what_is_left_counts_who_is_held_and_who_is_awaited(stage: Stage) -> None:
    one, two = stage.client(), stage.client(2)
    assert stage.gateway.left == 0
    stage.install(one)
    stage.install(two)
    stage.hear(Confirmed((one.key,)))
    assert (stage.gateway.left, stage.gateway.holding) == (2, 1)


# --- who leaves -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("idle_timeout", [None, 3600, NEVER], ids=["default", "own", "pinned"])
def test_peers_without_a_session_leave_a_draining_gateway(stage: Stage, idle_timeout: int | None) -> None:
    """Their own idle timeouts do not count: a drain would not end. A session that is up stays, pinned or not."""
    client = stage.client()
    client.peer = replace(client.peer, idle_timeout=idle_timeout)
    stage.install(client)
    handshake = stage.wall
    stage.wait(1.0)
    peer = DevicePeer(client.key, client.peer.allowed_ips, endpoint=client.endpoint, last_handshake=handshake)
    stage.hear(DeviceRead(stage.monotonic, [peer]))
    stage.hear(Drain())
    stage.wait(170.0)
    assert not evicted(stage, peer), "its session lives for 180 s"
    stage.wait(20.0)
    assert evicted(stage, peer) == (client.key,)
    commands = stage.hear(Evicted((client.key,), frozenset(), 0.001))
    assert Left(client.key, Departure.IDLE, client.peer.name) in commands
    assert stage.gateway.left == 0


def test_after_a_drain_idle_timeouts_count_again(stage: Stage) -> None:
    client = stage.client()
    stage.install(client)
    stage.wait(1.0)
    peer = DevicePeer(client.key, client.peer.allowed_ips, endpoint=client.endpoint, last_handshake=stage.wall)
    stage.hear(DeviceRead(stage.monotonic, [peer]))
    stage.hear(Drain())
    stage.hear(Undrain())
    stage.wait(200.0)
    assert not evicted(stage, peer)


def evicted(stage: Stage, peer: DevicePeer) -> tuple[object, ...]:
    """The peers that leave after a look that shows this one, whose claim has been saved."""
    claim = stage.gateway._claims.newest(peer.public_key)
    if claim is not None:
        stage.hear(ClaimsSaved((claim,)))
    commands = stage.hear(DeviceRead(stage.monotonic, [peer]))
    return next((command.keys for command in commands if isinstance(command, Evict)), ())


# --- it comes back ----------------------------------------------------------------------------------------------------


def test_a_return_is_paced() -> None:
    takeovers = draining()
    takeovers.undrain(at(0))
    clients = [Client(GATEWAY, 1)] * int(BURST + 1)
    answers = [takeovers.judge(client.key, held(client), at(0)) for client in clients]
    assert answers == [None] * int(BURST) + [Refusal.RETURNING]
    client = clients[0]
    assert takeovers.judge(client.key, held(client), at(1.5 / RATE)) is None, "one more a moment later"
    assert takeovers.judge(client.key, held(client), at(1.6 / RATE)) is Refusal.RETURNING
    assert takeovers.judge(client.key, None, at(1.6 / RATE)) is None, "who is served by nobody does not wait"
    assert [takeovers.judge(client.key, held(client), at(RETURN)) for _ in range(2 * int(BURST))] == [None] * 1000


def test_a_gateway_that_has_not_drained_is_not_paced() -> None:
    takeovers = draining()
    takeovers.is_draining = False
    takeovers.undrain(at(0))
    client = Client(GATEWAY, 1)
    assert {takeovers.judge(client.key, held(client), at(0)) for _ in range(2 * int(BURST))} == {None}


def test_a_returned_gateway_refuses_by_name(stage: Stage, client: Client) -> None:
    lives(stage)
    stage.hear(Drain())
    stage.hear(Undrain())
    assert not stage.gateway.drains
    stage.gateway._takeovers._tokens = 0.0
    assert refusal(knock(stage, client, held(client))) is Refusal.RETURNING
    stage.wait(5.0)
    assert is_installing(knock(stage, client, held(client)))


def draining() -> Takeovers:
    takeovers = Takeovers()
    takeovers.others([OtherGateway("other", lives=True)])
    takeovers.drain()
    return takeovers


def at(seconds: float) -> Now:
    return Now(1000.0 + seconds, START + seconds)

"""Who leaves when somebody wants it otherwise: forgers, broken clients, a registry or a device that fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.forge import forge_initiation
from tests.unit.core.conftest import SERVER, START, Client, Stage
from tests.unit.core.test_upkeep import follow_up, install, installed, look, looks_until, seen
from wgjit.core.knock.parking import PER_PEER, REKEY_TIMEOUT
from wgjit.core.settings import Pace
from wgjit.core.vocabulary.commands import Command, Evict, Install, Lookup, ReadDevice, Recheck, SaveClaim
from wgjit.core.vocabulary.events import ClaimsSaved, DeviceRead, Evicted, FollowUpDue, Installed, RegistryChanged, Tick
from wgjit.core.vocabulary.told import Tell
from wgjit.model import NEVER, Delivery, Endpoint, PublicKey, Tai64n
from wgjit.refusal import Refusal
from wgjit.wire.packets import build

PACE = Pace()

NOBODY: frozenset[PublicKey] = frozenset()


@pytest.fixture
def make(make_stage: Callable[..., Stage]) -> Callable[..., Stage]:
    def made(**settings: object) -> Stage:
        stage = make_stage(Delivery.REPLAY, **settings)
        stage.hear(DeviceRead(stage.monotonic, ()))
        return stage

    return made


def forged(stage: Stage, client: Client) -> bytes:
    message = forge_initiation(stage.public_key, client.key, Tai64n.from_unix(stage.wall))
    return build(Endpoint.parse("203.0.113.7:9"), SERVER, message)


def refusals(commands: list[Command]) -> list[Refusal | None]:
    return [command.record.refusal for command in commands if isinstance(command, Tell)]


def evictions(commands: list[Command]) -> list[PublicKey]:
    return [key for command in commands if isinstance(command, Evict) for key in command.keys]


def idle(stage: Stage, *clients: Client) -> None:
    """They connected long ago, and will be found idle by the next look."""
    for client in clients:
        install(stage, client)
    looks_until(stage, 870.0, *(seen(client, START) for client in clients))


# --- between a look and what comes of it ------------------------------------------------------------------------


def test_who_knocks_between_two_parts_of_a_look_stays(make: Callable[..., Stage]) -> None:
    stage = make()
    one, two = stage.client(1), stage.client(2)
    idle(stage, one, two)
    stage.wait(2 * PACE.interval)
    assert stage.hear(Tick()) == [ReadDevice()]
    began = stage.monotonic
    stage.hear(DeviceRead(began, [seen(one, START)], more=True))
    stage.arrive(one.packet(stage.wall))
    follow_up(stage)
    commands = stage.hear(DeviceRead(began, [seen(two, START)]))
    assert evictions(commands) == [two.key]


def test_who_is_pinned_while_waiting_to_leave_stays(make: Callable[..., Stage]) -> None:
    stage = make()
    clients = [stage.client(number) for number in (1, 2)]
    idle(stage, *clients)
    (first,) = evictions(look(stage, *(seen(client, START) for client in clients)))
    (other,) = (client for client in clients if client.key != first)
    stage.hear(RegistryChanged({other.key: other.registration(START, idle_timeout=NEVER)}))
    stage.hear(Evicted((first,), NOBODY, 0.0))
    stage.wait(1)
    assert stage.hear(Tick()) == []


def test_nobody_leaves_before_the_registry_has_his_claim(make: Callable[..., Stage], client: Client) -> None:
    """Until then only the kernel knows an old initiation from a new one."""
    stage = make()
    (save,) = (c for c in stage.install(client) if isinstance(c, SaveClaim))
    assert not evictions(looks_until(stage, 2000.0, seen(client, START)))
    stage.hear(ClaimsSaved((save.claim,)))
    assert evictions(looks_until(stage, PACE.interval, seen(client, START)))


def test_evictions_go_on_before_the_next_ordinary_look_if_one_ran_stale(make: Callable[..., Stage]) -> None:
    stage = make()
    clients = [stage.client(number) for number in range(1, 9)]
    idle(stage, *clients)
    crowd = [seen(client, START) for client in clients]
    (first,) = evictions(look(stage, *crowd))
    looked = stage.monotonic
    stage.wait(12)
    stage.hear(Evicted((first,), NOBODY, 12.0))
    stage.wait(12)
    assert stage.monotonic - looked < PACE.interval
    assert ReadDevice() in stage.hear(Tick())


# --- a change of the registration while it is acted upon --------------------------------------------------------


def test_a_change_between_lookup_and_answer_is_asked_for_again(make: Callable[..., Stage], client: Client) -> None:
    stage = make()
    stage.arrive(client.packet(stage.wall))
    assert client.key in stage.gateway.concerned()
    stage.hear(RegistryChanged({client.key: client.registration(enabled=False)}))
    assert stage.answer(client.registration()) == [Lookup(1, client.key)]
    assert refusals(stage.answer(client.registration(enabled=False))) == [Refusal.DISABLED]
    assert client.key not in stage.gateway.concerned()


def test_a_change_while_a_peer_is_installed_is_looked_at_anew(make: Callable[..., Stage], client: Client) -> None:
    stage = make()
    stage.arrive(client.packet(stage.wall))
    stage.answer(client.registration())
    stage.hear(RegistryChanged({client.key: client.registration(enabled=False)}))
    assert Recheck((client.key,)) in stage.hear(Installed(client.key))


# --- forgers and broken clients ---------------------------------------------------------------------------------


def test_a_forger_keeps_nobody_from_leaving(make: Callable[..., Stage]) -> None:
    stage = make()
    clients = [stage.client(number) for number in (1, 2)]
    idle(stage, *clients)
    (first,) = evictions(look(stage, *(seen(client, START) for client in clients)))
    (other,) = (client for client in clients if client.key != first)
    stage.arrive(forged(stage, other))
    stage.hear(Evicted((first,), NOBODY, 0.0))
    assert refusals(stage.hear(FollowUpDue(stage.numbers))) == [Refusal.FORGED]
    stage.wait(0.1)
    assert evictions(stage.hear(Tick())) == [other.key]


def test_only_proven_knocks_wait_for_a_removal_and_few_of_a_peer(make: Callable[..., Stage], client: Client) -> None:
    stage = make()
    idle(stage, client)
    assert evictions(look(stage, seen(client, START)))
    assert refusals(stage.arrive(forged(stage, client))) == [Refusal.FORGED]
    answers = []
    for _ in range(PER_PEER + 1):
        stage.wait(0.1)
        answers += refusals(stage.arrive(client.packet(stage.wall)))
    assert answers == [Refusal.OVERLOADED]


def test_a_knock_waits_for_a_removal_no_longer_than_its_client(make: Callable[..., Stage], client: Client) -> None:
    stage = make()
    idle(stage, client)
    look(stage, seen(client, START))
    stage.arrive(client.packet(stage.wall), held=True)
    stage.wait(REKEY_TIMEOUT)
    assert refusals(stage.hear(Tick())) == [Refusal.DEVICE_FAILED]


def test_who_knocks_often_needs_one_place_not_many(make: Callable[..., Stage]) -> None:
    stage = make(capacity=8)
    residents = [stage.client(number) for number in range(1, 9)]
    crowd = [seen(client, START) for client in residents]
    for client in residents:
        install(stage, client)
    looks_until(stage, 200.0, *crowd)
    newcomer = stage.client(9)
    for _ in range(20):
        stage.wait(0.01)
        stage.arrive(newcomer.packet(stage.wall))
        stage.answer(newcomer.registration())
    left: list[PublicKey] = evictions(look(stage, *crowd))
    while left and (more := evictions(stage.hear(Evicted((left[-1],), NOBODY, 0.0)))):
        left += more
    assert len(left) == 1


def test_knocks_do_not_wait_for_room_while_the_device_cannot_be_read(make: Callable[..., Stage]) -> None:
    stage = make(capacity=1)
    install(stage, stage.client(1))
    newcomer = stage.client(2)
    stage.arrive(newcomer.packet(stage.wall))
    assert stage.answer(newcomer.registration()) == []
    stage.wait(PACE.spacing)
    stage.hear(Tick())
    stage.hear(DeviceRead(float("-inf"), ()))
    stage.wait(REKEY_TIMEOUT)
    assert refusals(stage.hear(Tick())) == [Refusal.FULL]


def test_who_completes_no_handshake_for_long_makes_room(make: Callable[..., Stage]) -> None:
    stage = make(capacity=1)
    broken, newcomer = stage.client(1), stage.client(2)
    install(stage, broken)
    for _ in range(5):  # it knocks on and on, and never hears us
        stage.wait(5)
        stage.arrive(broken.packet(stage.wall))
        follow_up(stage)
        stage.hear(DeviceRead(stage.monotonic, [seen(broken)]))
    stage.arrive(newcomer.packet(stage.wall))
    stage.answer(newcomer.registration())
    assert evictions(look(stage, seen(broken))) == [broken.key]


def test_a_client_that_gets_no_answer_does_not_keep_the_device_busy(make: Callable[..., Stage], client: Client) -> None:
    stage = make()
    install(stage, client)
    looks = 0
    for _ in range(60):
        stage.wait(5)
        stage.arrive(client.packet(stage.wall))
        commands = [*stage.hear(FollowUpDue(stage.numbers)), *stage.hear(Tick())]
        if ReadDevice() in commands:
            looks += 1
            stage.hear(DeviceRead(stage.monotonic, [seen(client)], took=5.0))
    assert looks <= 60 * 5 / 100 + 1, "a look that takes 5 s is followed by 100 s without"


def test_foreign_peers_over_the_capacity_push_out_nobody(make: Callable[..., Stage]) -> None:
    stage = make(capacity=2)
    ours, newcomer = stage.client(1), stage.client(2)
    crowd = [seen(ours, START), *(seen(stage.client(number), START) for number in (5, 6, 7))]
    stage.hear(DeviceRead(stage.monotonic, crowd))
    stage.hear(RegistryChanged({ours.key: ours.registration()}, rechecked=True))
    looks_until(stage, 400.0, *crowd)
    stage.arrive(newcomer.packet(stage.wall))
    stage.answer(newcomer.registration())
    commands = look(stage, *crowd)
    assert not evictions(commands)
    assert refusals(commands) == [Refusal.FULL]


def test_a_lowered_capacity_is_reached(make: Callable[..., Stage]) -> None:
    stage = make(capacity=3)
    residents = [stage.client(number) for number in range(1, 10)]
    crowd = [seen(client, START) for client in residents]
    stage.hear(DeviceRead(stage.monotonic, crowd))
    stage.hear(RegistryChanged({c.key: c.registration() for c in residents}, rechecked=True))
    commands = looks_until(stage, 200.0, *crowd)
    left = evictions(commands)
    while more := evictions(stage.hear(Evicted(tuple(left[-1:]), NOBODY, 0.0))):
        left += more
    assert len(set(left)) == 6


# --- what a restart, and a failure, must not lose ---------------------------------------------------------------


def test_after_a_restart_a_residents_old_stamp_is_told_as_stale(make: Callable[..., Stage], client: Client) -> None:
    stage = make()
    stage.hear(DeviceRead(stage.monotonic, [seen(client, START)]))
    stage.hear(RegistryChanged({client.key: client.registration(START + 500)}, rechecked=True))
    stage.arrive(client.packet(START + 400))
    assert refusals(stage.hear(FollowUpDue(stage.numbers))) == [Refusal.STALE]


def test_another_registry_without_claims_drops_nobody(make: Callable[..., Stage], client: Client) -> None:
    stage = make()
    install(stage, client)
    assert stage.hear(RegistryChanged({client.key: client.registration()}, rechecked=True)) == []


def test_an_expiry_during_a_removal_that_fails_is_not_lost(make: Callable[..., Stage], client: Client) -> None:
    stage = make()
    stage.arrive(client.packet(stage.wall))
    stage.answer(client.registration(expires_at=int(START) + 2000))
    installed(stage, client)
    looks_until(stage, 870.0, seen(client, START))
    stage.wait(2 * PACE.interval)
    assert stage.hear(Tick()) == [ReadDevice()]
    assert evictions(stage.hear(DeviceRead(stage.monotonic, [seen(client, START)])))
    stage.wall = START + 2001
    stage.wait(1)
    stage.hear(Tick())
    stage.hear(Evicted((client.key,), frozenset({client.key}), 5.0))
    stage.hear(Tick())
    assert client.key not in stage.gateway.residency


def test_registrations_that_change_for_ever_leave_nothing_behind(make: Callable[..., Stage], client: Client) -> None:
    stage = make()
    install(stage, client)
    for number in range(5000):
        registration = client.registration(START, expires_at=int(START) + 10_000 + number)
        stage.hear(RegistryChanged({client.key: replace(registration, claim=registration.claim)}))
    assert len(stage.gateway._upkeep.state.expiries) < 1000


def test_an_install_comes_after_the_removal_that_it_waits_for(make: Callable[..., Stage], client: Client) -> None:
    stage = make()
    idle(stage, client)
    look(stage, seen(client, START))
    stage.arrive(client.packet(stage.wall))
    stage.hear(Evicted((client.key,), frozenset(), 0.0))
    assert [type(command) for command in stage.answer(client.registration(START))] == [Install]

"""Revoked, and put back into the device by another program: out again at its next knock, or at the next look."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.forge import forge_initiation
from tests.unit.core.conftest import SERVER, START, Client, Stage
from tests.unit.core.test_upkeep import seen
from wgjit.core.settings import Pace
from wgjit.core.vocabulary.commands import Command, Configure, Evict, Install, ReadDevice, Recheck, SaveClaim
from wgjit.core.vocabulary.events import ClaimsSaved, DeviceRead, Evicted, RegistryChanged, Tick
from wgjit.core.vocabulary.told import Left, PutBack, Revocation, Revoked, Tell
from wgjit.model import PeerChange, Registration, Removed, Tai64n
from wgjit.refusal import Refusal
from wgjit.wire.packets import build

PACE = Pace()

WITHIN = 2.0
"""Seconds from the knock until it is out, as promised; a round of the registry's and the device's work are in it."""


@pytest.fixture
def stage(make_stage: Callable[..., Stage]) -> Stage:
    made = make_stage()
    made.hear(DeviceRead(made.monotonic, ()))
    made.wait(10)
    return made


BARRED = [
    pytest.param(lambda client: Removed(client.key), Refusal.UNKNOWN, id="removed"),
    pytest.param(lambda client: client.registration(enabled=False), Refusal.DISABLED, id="disabled"),
    pytest.param(lambda client: client.registration(expires_at=1), Refusal.EXPIRED, id="expired"),
]


def knock(stage: Stage, client: Client, found: Any) -> list[Command]:
    stage.arrive(client.packet(stage.wall))
    commands = stage.answer(found)
    stage.hear(ClaimsSaved(tuple(c.claim for c in commands if isinstance(c, SaveClaim))))
    return commands


def recheck(stage: Stage, client: Client, found: Any) -> list[Command]:
    """The registry's answer to a Recheck."""
    if isinstance(found, Removed):
        return stage.hear(RegistryChanged({client.key: None}, rechecked=True, removed=frozenset({client.key})))
    return stage.hear(RegistryChanged({client.key: found}, rechecked=True))


def taken_out(client: Client, name: str | None, why: Refusal) -> list[Command]:
    return [
        Configure((PeerChange(client.key, update_only=True, allowed_ips=()),)),
        PutBack(client.key, name, why),
        Evict((client.key,)),
    ]


@pytest.mark.parametrize(("found", "why"), BARRED)
def test_its_knock_makes_us_look_and_the_look_takes_it_out(stage: Stage, found: Any, why: Refusal) -> None:
    client = stage.client()
    commands = knock(stage, client, found(client))
    assert ReadDevice() in commands
    assert isinstance(commands[-1], Tell)
    assert commands[-1].record.refusal is why
    assert Recheck((client.key,)) in stage.hear(DeviceRead(stage.monotonic + 0.001, [seen(client)]))
    name = None if why is Refusal.UNKNOWN else client.peer.name
    assert recheck(stage, client, found(client)) == taken_out(client, name, why)
    assert client.key not in stage.gateway.residency


@pytest.mark.parametrize(("found", "why"), BARRED)
def test_without_a_knock_the_next_look_does(stage: Stage, found: Any, why: Refusal) -> None:
    client = stage.client()
    stage.wait(30)
    assert ReadDevice() in stage.hear(Tick())
    assert Recheck((client.key,)) in stage.hear(DeviceRead(stage.monotonic, [seen(client)]))
    assert recheck(stage, client, found(client))[0] == taken_out(client, None, why)[0]


def test_what_was_there_at_the_start_goes_too_and_nobody_is_said_to_have_put_it_back(
    make_stage: Callable[..., Stage], client: Client
) -> None:
    stage = make_stage()
    stage.hear(DeviceRead(stage.monotonic, [seen(client)]))
    configure, _, evict = taken_out(client, None, Refusal.UNKNOWN)
    told_of = Revoked(client.key, None, Revocation.REMOVED)
    assert recheck(stage, client, Removed(client.key)) == [configure, told_of, evict]


def test_a_peer_that_the_registry_never_knew_stays(stage: Stage, client: Client) -> None:
    stage.hear(DeviceRead(stage.monotonic, [seen(client)]))
    assert stage.hear(RegistryChanged({client.key: None}, rechecked=True)) == []
    assert client.key in stage.gateway.residency


# --- how soon, and how often ------------------------------------------------------------------------------------------


def when_looked_at(stage: Stage) -> float:
    """Seconds until the next look begins."""
    began = stage.monotonic
    while True:
        deadline = stage.gateway.next_deadline()
        assert deadline is not None
        stage.wait(max(0.0, deadline - stage.monotonic))
        if ReadDevice() in stage.hear(Tick()):
            return stage.monotonic - began


@pytest.mark.parametrize("took", [0.0, 0.1, PACE.crowd])
def test_two_looks_for_it_are_not_close_together_and_the_second_comes_in_time(stage: Stage, took: float) -> None:
    client = stage.client()
    removed = Removed(client.key)
    assert ReadDevice() in knock(stage, client, removed)
    stage.wait(took)
    stage.hear(DeviceRead(stage.monotonic - took / 2, (), took=took))
    commands = knock(stage, client, removed)
    assert ReadDevice() not in commands
    waited = when_looked_at(stage)
    assert waited >= PACE.prompt - 1e-6
    assert waited + 2 * took <= WITHIN - 0.5


def test_a_look_that_had_begun_before_the_knock_is_not_enough(stage: Stage, client: Client) -> None:
    stage.wait(30)
    assert ReadDevice() in stage.hear(Tick())
    began = stage.monotonic
    stage.wait(0.1)
    assert ReadDevice() not in knock(stage, client, Removed(client.key)), "one is being made"
    stage.hear(DeviceRead(began, (), took=0.1))
    assert when_looked_at(stage) <= PACE.prompt


def test_a_failed_look_is_made_again(stage: Stage, client: Client) -> None:
    assert ReadDevice() in knock(stage, client, Removed(client.key))
    stage.hear(DeviceRead(float("-inf"), ()))
    assert when_looked_at(stage) <= PACE.prompt


def test_after_a_look_there_is_no_other_before_its_time(stage: Stage, client: Client) -> None:
    assert ReadDevice() in knock(stage, client, Removed(client.key))
    stage.wait(0.001)
    stage.hear(DeviceRead(stage.monotonic, ()))
    assert when_looked_at(stage) > 10


def test_strangers_forgers_and_thieves_cause_no_look(stage: Stage, client: Client) -> None:
    stage.arrive(client.packet(stage.wall))
    assert ReadDevice() not in stage.answer(None), "never heard of"
    stage.wait(2)
    message = forge_initiation(stage.public_key, client.key, Tai64n.from_unix(stage.wall))
    stage.arrive(build(client.endpoint, SERVER, message))
    commands = stage.answer(Removed(client.key))
    assert [type(command) for command in commands] == [Tell], "forged"
    recorded = client.packet(START)
    old = client.registration(last=START)
    stage.arrive(recorded)
    commands = stage.answer(Removed(client.key, old.claim))
    assert [type(command) for command in commands] == [Tell], "proven before"


# --- a crowd ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def crowded(stage: Stage) -> Stage:
    stage.hear(DeviceRead(stage.monotonic, (), took=3.0))
    stage.wait(1)
    return stage


@pytest.mark.parametrize(("found", "why"), BARRED)
def test_a_crowd_is_not_read_for_it_it_is_taken_out_unseen(crowded: Stage, found: Any, why: Refusal) -> None:
    client = crowded.client()
    commands = knock(crowded, client, found(client))
    assert Evict((client.key,)) in commands
    assert ReadDevice() not in commands
    assert crowded.hear(Evicted((client.key,), frozenset(), 0.0001)) == [], "nobody can say that it was there"
    assert not any(isinstance(command, Left | PutBack) for command in commands)


def test_who_may_connect_again_waits_for_such_a_removal_and_is_installed(crowded: Stage, client: Client) -> None:
    knock(crowded, client, client.registration(enabled=False))
    crowded.wait(1)
    crowded.arrive(client.packet(crowded.wall))
    crowded.hear(Evicted((client.key,), frozenset(), 0.0001))
    assert Install(PeerChange.install(client.peer)) in crowded.answer(Registration(client.peer))

"""A recording that no gateway has seen: what tells it from a knock of this moment, and what that costs clients."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.unit.core.conftest import START, Client, Stage
from tests.unit.core.test_gateway import kinds, told
from wgjit.core.knock.freshness import LATE, WITNESSES
from wgjit.core.vocabulary.commands import Command, Install, SaveClaim
from wgjit.core.vocabulary.events import ClaimsSaved, DeviceRead, FollowUpDue, Installed, LookedUp, RegistryChanged
from wgjit.model import NEVER_PROVEN, Claim, DevicePeer, Registration, Removed, Tai64n
from wgjit.refusal import Refusal


@pytest.fixture
def watching(make_stage: Callable[..., Stage]) -> Stage:
    """A gateway that has been up for an hour."""
    stage = make_stage()
    stage.hear(DeviceRead(stage.monotonic, ()))
    stage.wait(3600)
    return stage


def knock(stage: Stage, client: Client, made: float, stored: Claim | None = None, **changes: object) -> list[Command]:
    """The knock that the client made at a time of its own clock arrives; gives what comes of the registry's answer."""
    stage.arrive(client.packet(made))
    registration = client.registration(**changes)
    return stage.answer(Registration(registration.peer, stored))


def outcome(commands: list[Command]) -> object:
    return Install if kinds(commands) == [Install] else told(commands).refusal


def claim(client: Client, timestamp: float, proven_at: float, proven: Tai64n | None = None) -> Claim:
    return Claim(client.key, Tai64n.from_unix(timestamp), "g", client.endpoint, proven_at, proven)


# --- how old is it? ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("age", "wanted"), [(0.0, Install), (LATE - 1, Install), (LATE + 1, Refusal.STALE)])
def test_a_knock_of_somebody_unknown_tells_its_age_by_our_clock(watching: Stage, age: float, wanted: object) -> None:
    assert outcome(knock(watching, watching.client(), watching.wall - age)) is wanted


def test_a_client_that_leaves_tais_ten_seconds_out_is_fresh_at_its_first_knock(watching: Stage) -> None:
    """A home-made one: what it writes is 10 s behind, and its packet was a second under way."""
    assert outcome(knock(watching, watching.client(), watching.wall - 11)) is Install


@pytest.mark.parametrize("wrong", [-86400.0, -3.0, 0.0, 3.0, 1800.0])
def test_whose_clock_is_known_is_new_at_once_however_wrong_it_is(watching: Stage, wrong: float) -> None:
    client = watching.client()
    stored = claim(client, watching.wall - 1000 + wrong, watching.wall - 1000)
    assert outcome(knock(watching, client, watching.wall + wrong, stored)) is Install


def test_a_slow_clock_is_known_too_after_a_week(watching: Stage) -> None:
    client, week = watching.client(), 7 * 86400.0
    stored = claim(client, watching.wall - week - 500, watching.wall - week)
    assert outcome(knock(watching, client, watching.wall - 500 - week * 50e-6, stored)) is Install


@pytest.mark.parametrize("wrong", [-500.0, 0.0])
def test_a_recording_newer_than_the_claim_is_told_by_the_clients_clock(watching: Stage, wrong: float) -> None:
    client = watching.client()
    stored = claim(client, watching.wall - 1000 + wrong, watching.wall - 1000)
    assert outcome(knock(watching, client, watching.wall - 60 + wrong, stored)) is Refusal.STALE


def test_what_was_made_before_this_gateway_began_is_in_doubt_however_young(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage()
    client = stage.client()
    stage.hear(DeviceRead(stage.monotonic, ()))
    stage.wait(1)
    assert outcome(knock(stage, client, stage.wall - 1.5)) is Refusal.STALE
    assert outcome(knock(stage, client, stage.wall - 0.5)) is Install


@pytest.mark.parametrize("by", [-7200.0, 3600.0])
def test_our_stepped_clock_makes_no_knock_old(watching: Stage, by: float) -> None:
    true = watching.wall
    watching.wall += by
    wanted = Refusal.FUTURE if by < -3600 else Install
    assert outcome(knock(watching, watching.client(1), true)) is wanted
    watching.wall = true
    assert outcome(knock(watching, watching.client(2), true)) is Install


# --- who is there sends two in step -----------------------------------------------------------------------------------


def test_a_client_with_a_wrong_clock_gets_in_by_its_first_retry_and_from_then_on_at_once(watching: Stage) -> None:
    client = watching.client()
    assert outcome(knock(watching, client, watching.wall - 5000)) is Refusal.STALE
    watching.wait(5.2)
    assert outcome(knock(watching, client, watching.wall - 5000)) is Install
    (saved,) = [c.claim for c in watching.hear(Installed(client.key)) if isinstance(c, SaveClaim)]
    assert saved == claim(client, watching.wall - 5000, watching.wall)
    watching.hear(ClaimsSaved((saved,)))
    watching.hear(DeviceRead(watching.monotonic + 1, ()))  # it was taken out
    watching.wait(600)
    assert outcome(knock(watching, client, watching.wall - 5000, saved)) is Install


def test_a_lost_retry_does_not_matter(watching: Stage) -> None:
    client = watching.client()
    knock(watching, client, watching.wall - 5000)
    watching.wait(10.4)
    assert outcome(knock(watching, client, watching.wall - 5000)) is Install


def test_a_recording_sent_twice_is_in_step_with_nothing(watching: Stage) -> None:
    client, made = watching.client(), watching.wall - 5000
    for _ in range(3):
        assert outcome(knock(watching, client, made)) is Refusal.STALE
        watching.wait(5)


@pytest.mark.parametrize(("apart", "pause"), [(5.0, 3.0), (5.0, 7.0), (120.0, 120.0), (0.5, 0.5)])
def test_two_recordings_that_are_no_series_of_retries_prove_nothing(
    watching: Stage, apart: float, pause: float
) -> None:
    client, made = watching.client(), watching.wall - 5000
    assert outcome(knock(watching, client, made)) is Refusal.STALE
    watching.wait(pause)
    assert outcome(knock(watching, client, made + apart)) is Refusal.STALE


def test_a_thief_with_a_few_recordings_does_not_stand_in_a_wrong_clocks_way(watching: Stage) -> None:
    client, began = watching.client(), watching.wall - 9000
    assert outcome(knock(watching, client, watching.wall - 5000)) is Refusal.STALE
    for number in range(WITNESSES - 1):
        assert outcome(knock(watching, client, began + number * 120)) is Refusal.STALE
    watching.wait(5)
    assert outcome(knock(watching, client, watching.wall - 5000)) is Install


# --- peers that may not connect ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{"enabled": False}, {"expires_at": 1}, None])
def test_the_claim_of_who_may_not_connect_follows_its_knocks(watching: Stage, changes: dict[str, object]) -> None:
    """So what was recorded then is old once it may: at once, not only after a while."""
    client = watching.client()
    watching.arrive(client.packet(watching.wall))
    found = Removed(client.key) if changes is None else client.registration(**changes)
    commands = watching.answer(found)
    (saved,) = [c.claim for c in commands if isinstance(c, SaveClaim)]
    assert saved == claim(client, watching.wall, watching.wall)
    assert told(commands).proven
    watching.hear(ClaimsSaved((saved,)))
    watching.wait(2)
    assert outcome(knock(watching, client, saved.timestamp.unix, saved)) is Refusal.STALE
    assert outcome(knock(watching, client, watching.wall, saved)) is Install


def test_a_recording_of_who_may_not_connect_does_not_tell_what_its_clock_says(watching: Stage) -> None:
    """Else an old recording would make the client's clock look slow, and the next old one new."""
    client, stored = watching.client(), claim(watching.client(), START, START)
    watching.arrive(client.packet(watching.wall - 2000))
    (save,) = [c for c in watching.answer(client.registration(last=START, enabled=False)) if isinstance(c, SaveClaim)]
    assert save.claim.timestamp == Tai64n.from_unix(watching.wall - 2000)
    assert save.claim.proven_at == pytest.approx(watching.wall - 2000, abs=1)
    assert outcome(knock(watching, client, watching.wall - 1000, save.claim)) is Refusal.STALE
    assert stored.over(save.claim) == save.claim


# --- residents that are taken over ------------------------------------------------------------------------------------


def take_over(stage: Stage, client: Client, handshake: float, stored: Claim | None) -> list[Claim]:
    """A gateway begins, and finds it resident."""
    peer = DevicePeer(client.key, client.peer.allowed_ips, endpoint=client.endpoint, last_handshake=handshake)
    stage.hear(DeviceRead(stage.monotonic, [peer]))
    found = {client.key: Registration(client.peer, stored)}
    return [c.claim for c in stage.hear(RegistryChanged(found, rechecked=True)) if isinstance(c, SaveClaim)]


@pytest.mark.parametrize("wrong", [-86400.0, 0.0, 1800.0])
def test_a_residents_claim_is_the_last_one_plus_the_time_since(stage: Stage, client: Client, wrong: float) -> None:
    stored = claim(client, START - 5000 + wrong, START - 5000)
    (saved,) = take_over(stage, client, START - 600, stored)
    assert saved.proven == stored.timestamp
    assert START - 600 + wrong < saved.timestamp.unix < START - 600 + wrong + 2
    again = saved.over(stored)
    assert take_over(stage, client, START - 600, again) == []


def test_without_one_it_is_what_our_clock_said(stage: Stage, client: Client) -> None:
    (saved,) = take_over(stage, client, START - 600, None)
    assert saved.proven == NEVER_PROVEN
    assert START - 600 < saved.timestamp.unix < START - 598


@pytest.mark.parametrize(
    ("handshake", "stored"), [(0.0, None), (START - 599.8, START - 600), (START - 700, START - 600)]
)
def test_nothing_is_inferred_from_no_handshake_or_the_one_that_is_known(
    stage: Stage, client: Client, handshake: float, stored: float | None
) -> None:
    assert take_over(stage, client, handshake, None if stored is None else claim(client, stored, stored)) == []


def test_what_was_inferred_refuses_a_recording_and_locks_nobody_out(stage: Stage, client: Client) -> None:
    """The client's clock was set back while no gateway ran: what was inferred is beyond what it says."""
    stored = claim(client, START - 5000, START - 5000)
    (saved,) = take_over(stage, client, START - 1, stored)
    stage.hear(ClaimsSaved((saved,)))
    stage.hear(DeviceRead(stage.monotonic + 1, ()))  # it was taken out
    stage.wait(2)
    assert outcome(knock(stage, client, START - 100, saved)) is Refusal.STALE
    assert outcome(knock(stage, client, stage.wall - 60, saved)) is Refusal.STALE
    stage.wait(5)
    assert outcome(knock(stage, client, stage.wall - 60, saved)) is Install
    assert outcome(knock(stage, stage.client(2), stage.wall)) is Install, "others are not concerned"


def test_a_residents_knock_is_followed_below_what_was_inferred_and_takes_none_of_it_back(
    stage: Stage, client: Client
) -> None:
    stored = claim(client, START - 5000, START - 5000)
    (saved,) = take_over(stage, client, START - 10, stored)
    stage.arrive(client.packet(START - 100))
    commands = stage.hear(FollowUpDue(stage.numbers))
    (followed,) = [c.claim for c in commands if isinstance(c, SaveClaim)]
    assert told(commands).refusal is None
    assert (followed.timestamp, followed.proven) == (saved.timestamp, Tai64n.from_unix(START - 100))
    stage.arrive(client.packet(START - 100.5))
    assert told(stage.hear(FollowUpDue(stage.numbers))).refusal is Refusal.STALE
    stage.arrive(client.packet(START))
    (followed,) = [c.claim for c in stage.hear(FollowUpDue(stage.numbers)) if isinstance(c, SaveClaim)]
    assert followed == claim(client, START, START)


def test_a_peer_that_is_registered_while_it_is_resident_is_taken_over_then(stage: Stage, client: Client) -> None:
    peer = DevicePeer(client.key, client.peer.allowed_ips, endpoint=client.endpoint, last_handshake=START - 60)
    stage.hear(DeviceRead(stage.monotonic, [peer]))
    assert stage.hear(RegistryChanged({client.key: None}, rechecked=True)) == []
    commands = stage.hear(RegistryChanged({client.key: client.registration()}, rechecked=True))
    assert [c.claim.proven for c in commands if isinstance(c, SaveClaim)] == [NEVER_PROVEN]


def test_a_stamp_of_any_bytes_is_no_trouble(watching: Stage) -> None:
    client = watching.client()
    stored = Claim(client.key, Tai64n(b"\xff" * 12), "g", client.endpoint, 5.0)
    watching.arrive(client.packet(watching.wall))
    assert told(watching.hear(LookedUp(watching.numbers, Registration(client.peer, stored)))).refusal is Refusal.STALE
    (saved,) = take_over(watching, client, watching.wall, stored)
    assert saved.timestamp >= stored.timestamp

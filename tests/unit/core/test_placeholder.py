"""Addresses of registered peers that are not in the device, and a peer around them that the registry does not know."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.unit.core.conftest import START, Client, Stage
from tests.unit.core.test_upkeep import install, installed, look, looks_until, seen
from wgjit.core.residents.placeholder import placeholder_key
from wgjit.core.settings import Pace
from wgjit.core.vocabulary.commands import Command, Configure, Evict, FindCover, Install, ReadDevice, Sheltered
from wgjit.core.vocabulary.events import Covered, DeviceRead, Evicted, RegistryChanged
from wgjit.model import Cover, DevicePeer, PeerChange, PrivateKey, parse_allowed_ip
from wgjit.refusal import Refusal

PACE = Pace()

FOREIGN = PrivateKey(b"\x77" * 32).public()
ALL = parse_allowed_ip("0.0.0.0/0")
EXIT = DevicePeer(FOREIGN, (ALL,))
NET = parse_allowed_ip("10.8.0.0/30")


@pytest.fixture
def stage(make_stage: Callable[..., Stage]) -> Stage:
    """An exit node is in the device, which the registry does not know; so are a client and another address."""
    stage = make_stage()
    assert FindCover(frozenset({ALL})) in stage.hear(DeviceRead(stage.monotonic, [EXIT]))
    return stage


def key(stage: Stage) -> object:
    return placeholder_key(stage.public_key)


def answer(stage: Stage, *texts: str, exact: bool = True) -> list[Command]:
    return stage.hear(Covered(frozenset({ALL}), Cover(tuple(map(parse_allowed_ip, texts)), exact)))


def changes(commands: list[Command]) -> list[PeerChange]:
    return [change for command in commands if isinstance(command, Configure) for change in command.changes]


def test_registered_addresses_are_kept_from_a_wider_peer(stage: Stage) -> None:
    commands = answer(stage, "10.8.0.1/32", "10.8.0.2/32")
    (change,) = changes(commands)
    assert change.public_key == key(stage)
    assert set(change.more_allowed_ips) == {parse_allowed_ip("10.8.0.1/32"), parse_allowed_ip("10.8.0.2/32")}
    assert change.endpoint is None
    assert Sheltered((FOREIGN,), 2, exact=True) in commands
    assert stage.gateway.sheltered == 2


def test_who_leaves_gives_its_addresses_up_before_it_goes(stage: Stage, client: Client) -> None:
    answer(stage, "10.8.0.1/32")
    install(stage, client)
    assert stage.gateway.sheltered == 0
    there = seen(client, START, 180), EXIT, DevicePeer(placeholder_key(stage.public_key))
    (evict,) = (c for c in looks_until(stage, 930.0, *there) if isinstance(c, Evict))
    assert evict == Evict(
        (client.key,), PeerChange(placeholder_key(stage.public_key), more_allowed_ips=client.peer.allowed_ips)
    )
    stage.hear(Evicted((client.key,), frozenset(), 0.001))
    assert stage.gateway.sheltered == 1


def test_who_could_not_be_removed_gets_its_addresses_back(stage: Stage, client: Client) -> None:
    answer(stage, "10.8.0.1/32")
    install(stage, client)
    looks_until(stage, 930.0, seen(client, START, 180), EXIT, DevicePeer(placeholder_key(stage.public_key)))
    commands = stage.hear(Evicted((client.key,), frozenset({client.key}), 0.001))
    assert PeerChange(client.key, update_only=True, more_allowed_ips=client.peer.allowed_ips) in changes(commands)
    assert stage.gateway.sheltered == 0


def test_nothing_is_taken_from_it_while_a_removal_is_made(stage: Stage, client: Client) -> None:
    answer(stage, "10.8.0.1/32")
    install(stage, client)
    looks_until(stage, 930.0, seen(client, START, 180), EXIT, DevicePeer(placeholder_key(stage.public_key)))
    assert changes(answer(stage, "10.8.0.1/32")) == []
    assert stage.gateway.sheltered == 1


def test_a_revoked_one_does_too(stage: Stage, client: Client) -> None:
    answer(stage, "10.8.0.1/32")
    install(stage, client)
    first, second = changes(stage.hear(RegistryChanged({client.key: client.registration(enabled=False)})))
    assert first == PeerChange(placeholder_key(stage.public_key), more_allowed_ips=client.peer.allowed_ips)
    assert second == PeerChange(client.key, update_only=True, allowed_ips=())


def test_an_address_inside_a_kept_prefix_is_not_given_one_by_one(stage: Stage, client: Client) -> None:
    answer(stage, "10.8.0.0/30", exact=False)
    install(stage, client)
    keeper = DevicePeer(placeholder_key(stage.public_key), (NET,))
    assert Evict((client.key,)) in looks_until(stage, 930.0, seen(client, START, 180), EXIT, keeper)


def test_it_is_no_resident_and_goes_with_the_wider_peer(stage: Stage) -> None:
    answer(stage, "10.8.0.1/32")
    keeper = DevicePeer(placeholder_key(stage.public_key), (parse_allowed_ip("10.8.0.1/32"),))
    assert changes(look(stage, EXIT, keeper)) == []
    assert set(stage.gateway.residency.keys()) == {FOREIGN}
    commands = look(stage, keeper)
    assert changes(commands) == [PeerChange(placeholder_key(stage.public_key), remove=True)]
    assert Sheltered((), 0, exact=True) in commands


def test_what_it_lost_it_gets_again(stage: Stage) -> None:
    answer(stage, "10.8.0.1/32")
    again = PeerChange(placeholder_key(stage.public_key), more_allowed_ips=(parse_allowed_ip("10.8.0.1/32"),))
    assert changes(look(stage, EXIT)) == [again]
    assert changes(look(stage, EXIT, DevicePeer(placeholder_key(stage.public_key)))) == [again]


def test_what_it_gives_up_goes_by_way_of_a_peer_that_is_removed(stage: Stage) -> None:
    """Replacing the set would empty it for a moment."""
    answer(stage, "10.8.0.1/32", "10.8.0.2/32")
    first, second = changes(answer(stage, "10.8.0.2/32"))
    assert first.more_allowed_ips == (parse_allowed_ip("10.8.0.1/32"),)
    assert second == PeerChange(first.public_key, remove=True)
    assert first.public_key not in (FOREIGN, key(stage))
    left_by_a_crash = DevicePeer(first.public_key, first.more_allowed_ips)
    keeper = DevicePeer(placeholder_key(stage.public_key), (parse_allowed_ip("10.8.0.2/32"),))
    assert changes(look(stage, EXIT, keeper, left_by_a_crash)) == [PeerChange(first.public_key, remove=True)]


def test_after_a_start_it_keeps_what_it_has_until_the_registry_has_spoken(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage()
    keeper = DevicePeer(placeholder_key(stage.public_key), (parse_allowed_ip("10.8.0.2/32"),))
    assert changes(stage.hear(DeviceRead(stage.monotonic, [EXIT, keeper]))) == []
    assert stage.gateway.sheltered == 1


def test_a_prefix_of_a_foreign_peer_itself_is_not_taken(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage()
    stage.hear(DeviceRead(stage.monotonic, [EXIT, DevicePeer(PrivateKey(b"\x78" * 32).public(), (NET,))]))
    commands = stage.hear(Covered(frozenset({ALL, NET}), Cover((NET, parse_allowed_ip("10.8.0.1/32")))))
    (change,) = changes(commands)
    assert change.more_allowed_ips == (parse_allowed_ip("10.8.0.1/32"),)


def test_a_registry_that_cannot_tell_keeps_the_interfaces_networks(make_stage: Callable[..., Stage]) -> None:
    net = parse_allowed_ip("10.8.0.0/16")
    stage = make_stage(networks=(net,))
    stage.hear(DeviceRead(stage.monotonic, [EXIT]))
    (change,) = changes(stage.hear(Covered(frozenset({ALL}), None)))
    assert change.more_allowed_ips == (net,)


# --- IPv6, and both versions at once ----------------------------------------------------------------------------------

ALL6 = parse_allowed_ip("::/0")


@pytest.mark.parametrize(
    ("wide", "single"),
    [("fd00::/32", "fd00::1/128"), ("fd00::/64", "fd00::1/128"), ("fd00::2/127", "fd00::2/128"), ("10.8.0.0/31", None)],
)
def test_a_foreign_prefix_is_wide_if_it_has_more_than_one_address(
    make_stage: Callable[..., Stage], wide: str, single: str | None
) -> None:
    stage = make_stage()
    around = parse_allowed_ip(wide)
    own = () if single is None else (parse_allowed_ip(single),)
    assert FindCover(frozenset({around})) in stage.hear(
        DeviceRead(stage.monotonic, [DevicePeer(FOREIGN, (*own, around))])
    )


@pytest.mark.parametrize("single", ["fd00::1/128", "10.8.0.1/32"])
def test_a_foreign_peer_with_one_address_is_around_nobody(make_stage: Callable[..., Stage], single: str) -> None:
    stage = make_stage()
    commands = stage.hear(DeviceRead(stage.monotonic, [DevicePeer(FOREIGN, (parse_allowed_ip(single),))]))
    assert not [command for command in commands if isinstance(command, FindCover)]


def test_a_registry_that_cannot_tell_keeps_the_networks_of_the_foreign_peers_version(
    make_stage: Callable[..., Stage],
) -> None:
    """And a foreign peer of one version is compared with networks of both."""
    net4, net6 = parse_allowed_ip("10.8.0.0/16"), parse_allowed_ip("fd00::/64")
    for around, kept in ((ALL6, net6), (ALL, net4)):
        stage = make_stage(networks=(net4, net6))
        stage.hear(DeviceRead(stage.monotonic, [DevicePeer(FOREIGN, (around,))]))
        commands = stage.hear(Covered(frozenset({around}), None))
        (change,) = changes(commands)
        assert change.more_allowed_ips == (kept,)
        assert Sheltered((FOREIGN,), 1, exact=False) in commands


def test_only_foreign_peers_around_what_is_kept_are_named(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage()
    other = PrivateKey(b"\x78" * 32).public()
    stage.hear(DeviceRead(stage.monotonic, [DevicePeer(FOREIGN, (ALL6,)), DevicePeer(other, (ALL,))]))
    commands = stage.hear(Covered(frozenset({ALL, ALL6}), Cover((parse_allowed_ip("fd00::1/128"),))))
    assert Sheltered((FOREIGN,), 1, exact=True) in commands


def test_a_client_with_ipv6_gives_its_address_up_before_it_goes(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage()
    client = stage.client()
    exit_node = DevicePeer(FOREIGN, (ALL6,))
    stage.hear(DeviceRead(stage.monotonic, [exit_node]))
    address = parse_allowed_ip("fd00::1/128")
    stage.hear(Covered(frozenset({ALL6}), Cover((address,))))
    stage.arrive(client.packet(stage.wall))
    stage.answer(client.registration(allowed_ips=(address,)))
    installed(stage, client)
    assert stage.gateway.sheltered == 0
    there = DevicePeer(client.key, (address,), last_handshake=START, rx_bytes=180)
    keeper = DevicePeer(placeholder_key(stage.public_key))
    (evict,) = (c for c in looks_until(stage, 930.0, there, exit_node, keeper) if isinstance(c, Evict))
    assert evict == Evict((client.key,), PeerChange(placeholder_key(stage.public_key), more_allowed_ips=(address,)))


# --- the device is read before an install ---------------------------------------------------------------------------


def test_a_foreign_peer_that_came_since_the_last_look_keeps_its_prefix(
    make_stage: Callable[..., Stage], client: Client
) -> None:
    stage = make_stage(watchful=64)
    stage.hear(DeviceRead(stage.monotonic, ()))
    stage.arrive(client.packet(stage.wall))
    assert stage.answer(client.registration()) == [ReadDevice(at_once=True)]
    stage.wait(0.001)
    stage.hear(DeviceRead(stage.monotonic, [DevicePeer(FOREIGN, client.peer.allowed_ips)]))
    (tell,) = stage.answer(client.registration())
    assert tell.record.refusal is Refusal.CONFLICT  # type: ignore[union-attr]


@pytest.mark.parametrize("read", [True, False])
def test_it_is_read_once_and_a_failure_is_no_refusal(
    make_stage: Callable[..., Stage], client: Client, read: bool
) -> None:
    stage = make_stage(watchful=64)
    stage.hear(DeviceRead(stage.monotonic, ()))
    stage.arrive(client.packet(stage.wall))
    stage.answer(client.registration())
    stage.wait(0.001)
    stage.hear(DeviceRead(stage.monotonic if read else float("-inf"), ()))
    assert stage.answer(client.registration()) == [Install(PeerChange.install(client.peer))]
    installed(stage, client)


def test_a_crowd_is_not_read_for_each(make_stage: Callable[..., Stage], client: Client) -> None:
    stage = make_stage(watchful=1)
    stage.hear(DeviceRead(stage.monotonic, [EXIT]))
    stage.arrive(client.packet(stage.wall))
    assert stage.answer(client.registration()) == [Install(PeerChange.install(client.peer))]


@pytest.mark.parametrize(("took", "rest"), [(0.0005, 2.0), (0.02, 10.0), (0.5, PACE.interval)])
def test_the_less_a_look_costs_the_sooner_is_the_next(
    make_stage: Callable[..., Stage], took: float, rest: float
) -> None:
    stage = make_stage(watchful=1)
    stage.hear(DeviceRead(stage.monotonic, (), took=took))
    assert stage.gateway.next_deadline() == pytest.approx(stage.monotonic + rest)

"""Routes of residents, as transcripts: who gets which, when they go, and what gets none."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.unit.core.conftest import START, Client, Stage
from tests.unit.core.test_holders import held, look, saved
from wgjit.core.residents.routes import FIXED, WORST, metric_of
from wgjit.core.settings import RouteRule
from wgjit.core.vocabulary.commands import Command, Configure, Evict, PutRoutes, RoutesKnown, TakeRoutes
from wgjit.core.vocabulary.events import (
    Confirmed,
    DeviceRead,
    Evicted,
    FollowUpDue,
    HeldElsewhere,
    Installed,
    RegistryChanged,
)
from wgjit.core.vocabulary.told import LeftOut, NoRoute, Tell
from wgjit.model import AllowedIP, DevicePeer, Endpoint, Tai64n, parse_allowed_ip


@pytest.fixture
def stage(make_stage: Callable[..., Stage]) -> Stage:
    return make_stage(routes=RouteRule())


@pytest.fixture
def fleet(make_stage: Callable[..., Stage]) -> Stage:
    return make_stage(fleet=True, epoch=7, routes=RouteRule(by_claim=True))


@pytest.fixture
def client(stage: Stage) -> Client:
    return stage.client()


def prefix(text: str) -> AllowedIP:
    return ipaddress.ip_network(text)


def put(commands: list[Command]) -> list[tuple[AllowedIP, int]]:
    return [route for command in commands if isinstance(command, PutRoutes) for route in command.routes]


def taken(commands: list[Command]) -> list[AllowedIP]:
    return [one for command in commands if isinstance(command, TakeRoutes) for one in command.prefixes]


def left_out(commands: list[Command]) -> list[tuple[AllowedIP, NoRoute]]:
    return [(command.prefix, command.why) for command in commands if isinstance(command, LeftOut)]


def install(stage: Stage, client: Client, *prefixes: str) -> list[Command]:
    stage.arrive(client.packet(stage.wall))
    stage.answer(client.registration(allowed_ips=tuple(map(prefix, prefixes))))
    return stage.hear(Installed(client.key))


# --- without a fleet ------------------------------------------------------------------------------------------------


def test_without_a_rule_there_are_no_routes(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage()
    assert put(stage.install(stage.client())) == []


def test_a_resident_has_routes_from_its_install_on(stage: Stage, client: Client) -> None:
    commands = install(stage, client, "10.8.0.1/32", "fd08::1/128")
    assert put(commands) == [(prefix("10.8.0.1/32"), FIXED), (prefix("fd08::1/128"), FIXED)]
    assert isinstance(commands[-1], PutRoutes), "no packet waits for it"
    assert any(isinstance(command, Tell) for command in commands)


def test_routes_go_before_the_peer_and_come_back_if_it_stays(stage: Stage, client: Client) -> None:
    stage.install(client)
    saved(stage, client, START)
    (own,) = client.peer.allowed_ips
    peer = DevicePeer(client.key, client.peer.allowed_ips, endpoint=client.endpoint, last_handshake=START + 1)
    stage.wait(2)
    stage.hear(DeviceRead(stage.monotonic, [peer]))
    stage.wait(1000)
    commands = stage.hear(DeviceRead(stage.monotonic, [peer]))
    commands = [one for one in commands if isinstance(one, TakeRoutes | Evict)]
    assert commands == [TakeRoutes((own,)), Evict((client.key,))]
    assert put(stage.hear(Evicted((client.key,), frozenset({client.key}), 0.1))) == [(own, FIXED)], "it is still there"


def test_a_peer_that_has_left_has_none(stage: Stage, client: Client) -> None:
    stage.install(client)
    stage.wait(10)
    assert taken(stage.hear(DeviceRead(stage.monotonic, []))) == list(client.peer.allowed_ips)


def test_a_revoked_peer_loses_its_routes_before_its_addresses(stage: Stage, client: Client) -> None:
    stage.install(client)
    commands = stage.hear(RegistryChanged({client.key: None}, removed=frozenset({client.key})))
    assert isinstance(commands[0], TakeRoutes)
    assert isinstance(commands[1], Configure)


def test_routes_follow_changed_addresses(stage: Stage, client: Client) -> None:
    install(stage, client, "10.8.0.1/32", "10.8.0.9/32")
    changed = client.registration(allowed_ips=(prefix("10.8.0.9/32"), prefix("10.8.0.10/32")))
    commands = stage.hear(RegistryChanged({client.key: changed}))
    assert taken(commands) == [prefix("10.8.0.1/32")]
    assert put(commands) == [(prefix("10.8.0.10/32"), FIXED)]
    assert put(stage.hear(RegistryChanged({client.key: changed}))) == [], "nothing has changed"


def test_peers_that_swap_their_addresses(stage: Stage) -> None:
    one, two = stage.client(1), stage.client(2)
    stage.install(one)
    stage.install(two)
    changed = {
        one.key: one.registration(allowed_ips=two.peer.allowed_ips),
        two.key: two.registration(allowed_ips=one.peer.allowed_ips),
    }
    commands = stage.hear(RegistryChanged(changed))
    routes = dict.fromkeys([*one.peer.allowed_ips, *two.peer.allowed_ips], FIXED)
    for gone in taken(commands):
        del routes[gone]
    routes |= put(commands)
    assert len(routes) == 2


def test_a_route_stays_with_the_peer_to_which_another_program_gave_the_prefix(stage: Stage) -> None:
    one, two = stage.client(1), stage.client(2)
    stage.install(one)
    stage.install(two)
    stage.wait(1)
    both = (*two.peer.allowed_ips, *one.peer.allowed_ips)
    peers = [DevicePeer(one.key, ()), DevicePeer(two.key, both)]
    commands = stage.hear(DeviceRead(stage.monotonic, peers))
    routes = dict.fromkeys(both, FIXED)
    for gone in taken(commands):
        del routes[gone]
    routes |= put(commands)
    assert set(routes) == set(both)


def test_a_peer_that_the_registry_does_not_know_gets_none(stage: Stage, client: Client) -> None:
    peer = DevicePeer(client.key, client.peer.allowed_ips)
    commands = stage.hear(DeviceRead(stage.monotonic, [peer]))
    commands += stage.hear(RegistryChanged({client.key: None}, rechecked=True))
    assert put(commands) == []
    assert put(stage.hear(RegistryChanged({client.key: client.registration()}, rechecked=True))) == [
        (prefix("10.8.0.1/32"), FIXED)
    ]


# --- a process that begins ------------------------------------------------------------------------------------------


def test_routes_of_an_earlier_process_are_kept_until_the_registry_tells(stage: Stage) -> None:
    known, revoked, silent = (stage.client(number) for number in (1, 2, 3))
    peers = [DevicePeer(one.key, one.peer.allowed_ips, endpoint=one.endpoint) for one in (known, revoked, silent)]
    commands = stage.hear(DeviceRead(stage.monotonic, peers))
    (kept,) = [command.kept for command in commands if isinstance(command, RoutesKnown)]
    assert set(kept) == {prefix(f"10.8.0.{number}/32") for number in (1, 2, 3)}
    assert (put(commands), taken(commands)) == ([], [])

    found = {known.key: known.registration(), revoked.key: None}
    commands = stage.hear(RegistryChanged(found, rechecked=True, removed=frozenset({revoked.key})))
    assert put(commands) == [(prefix("10.8.0.1/32"), FIXED)]
    assert taken(commands) == [prefix("10.8.0.2/32")]

    stage.wait(10)
    commands = stage.hear(DeviceRead(stage.monotonic, peers[:1]))
    assert taken(commands) == [prefix("10.8.0.3/32")], "it has left before the registry told of it"
    assert not any(isinstance(command, RoutesKnown) for command in commands), "once"


def test_nothing_is_taken_for_left_over_before_the_device_is_read(stage: Stage) -> None:
    commands = stage.hear(DeviceRead(stage.monotonic, [], more=True))
    assert not any(isinstance(command, RoutesKnown) for command in commands)
    commands = stage.hear(DeviceRead(float("-inf"), []))
    assert not any(isinstance(command, RoutesKnown) for command in commands)
    commands = stage.hear(DeviceRead(stage.monotonic, []))
    assert RoutesKnown(()) in commands


# --- what gets no route ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("default", ["0.0.0.0/0", "::/0"])
def test_never_a_default_route(stage: Stage, client: Client, default: str) -> None:
    commands = install(stage, client, "10.8.0.1/32", default)
    assert put(commands) == [(prefix("10.8.0.1/32"), FIXED)]
    assert left_out(commands) == [(prefix(default), NoRoute.DEFAULT)]
    assert stage.gateway.routes_left_out == 1
    stage.hear(RegistryChanged({client.key: None}, removed=frozenset({client.key})))
    assert stage.gateway.routes_left_out == 0


def test_never_a_prefix_around_the_peers_own_endpoint(stage: Stage, client: Client) -> None:
    commands = install(stage, client, "192.0.2.0/24", "10.8.0.1/32")  # the client comes from 192.0.2.1
    assert put(commands) == [(prefix("10.8.0.1/32"), FIXED)]
    assert left_out(commands) == [(prefix("192.0.2.0/24"), NoRoute.ENDPOINT)]


def test_a_peer_that_roams_into_its_own_prefix_and_out_again(stage: Stage, client: Client) -> None:
    install(stage, client, "198.18.0.0/15")

    def seen_at(endpoint: str) -> list[Command]:
        stage.wait(10)
        where = Endpoint.parse(endpoint)
        peer = DevicePeer(client.key, (prefix("198.18.0.0/15"),), endpoint=where, last_handshake=stage.wall)
        return stage.hear(DeviceRead(stage.monotonic, [peer]))

    assert taken(seen_at("198.19.1.2:9")) == [prefix("198.18.0.0/15")]
    assert stage.gateway.routes_left_out == 1
    assert put(seen_at("[2001:db8::1]:9")) == [(prefix("198.18.0.0/15"), FIXED)]
    assert stage.gateway.routes_left_out == 0


def test_a_peer_with_many_prefixes_that_roams_into_one_of_them(stage: Stage, client: Client) -> None:
    many = tuple(f"198.18.{number}.0/24" for number in range(20))
    assert len(put(install(stage, client, *many))) == 20

    def seen_at(endpoint: str, *prefixes: str) -> list[Command]:
        stage.wait(10)
        ips = tuple(map(prefix, prefixes))
        where = Endpoint.parse(endpoint)
        peer = DevicePeer(client.key, ips, endpoint=where, last_handshake=stage.wall)
        return stage.hear(DeviceRead(stage.monotonic, [peer]))

    assert taken(seen_at("198.18.7.2:9", *many)) == [prefix("198.18.7.0/24")]
    assert taken(seen_at("198.18.7.2:9", *many)) == []
    assert put(seen_at("198.18.99.2:9", *many)) == [(prefix("198.18.7.0/24"), FIXED)]
    assert taken(seen_at("198.18.99.2:9", *many, "198.18.99.0/24")) == [], "it got no route at all"
    assert stage.gateway.routes_left_out == 1


def test_covered_prefixes_can_be_left_out_in_silence(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage(routes=RouteRule(leave_out=(parse_allowed_ip("10.8.0.0/16"),)))
    commands = install(stage, stage.client(), "10.8.0.1/32", "10.9.0.1/32", "fd08::1/128")
    assert [one for one, _ in put(commands)] == [prefix("10.9.0.1/32"), prefix("fd08::1/128")]
    assert left_out(commands) == []
    assert stage.gateway.routes_left_out == 0


# --- in a fleet -----------------------------------------------------------------------------------------------------


def test_installing_puts_no_route_and_data_does(fleet: Stage) -> None:
    client = fleet.client()
    assert put(fleet.install(client)) == []
    commands = fleet.hear(Confirmed((client.key,)))
    assert put(commands) == [(prefix("10.8.0.1/32"), WORST - int(START))]


def test_a_greater_holding_takes_the_route_first(fleet: Stage) -> None:
    client = fleet.client()
    fleet.install(client)
    fleet.hear(Confirmed((client.key,)))
    commands = fleet.hear(HeldElsewhere((held(client, "other", START + 9),)))
    assert isinstance(commands[0], TakeRoutes)
    assert isinstance(commands[1], Configure)


def test_a_peer_in_doubt_has_no_route(fleet: Stage) -> None:
    """Its newest initiation here may be a recording."""
    client = fleet.client()
    fleet.install(client)
    fleet.hear(Confirmed((client.key,)))
    look(fleet, client, handshake=START + 0.1)
    fleet.wait(20)
    fleet.arrive(client.packet(fleet.wall))
    fleet.hear(FollowUpDue(fleet.numbers))
    commands = fleet.hear(HeldElsewhere((held(client, "other", START + 9),)))
    assert taken(commands) == [prefix("10.8.0.1/32")]
    commands = look(fleet, client, handshake=fleet.wall + 0.1)
    assert put(commands) == [(prefix("10.8.0.1/32"), WORST - int(START + 20))], "it is back"


def test_a_rekey_changes_no_metric(fleet: Stage) -> None:
    client = fleet.client()
    fleet.install(client)
    fleet.hear(Confirmed((client.key,)))
    fleet.wait(120)
    fleet.arrive(client.packet(fleet.wall))
    commands = fleet.hear(FollowUpDue(fleet.numbers))
    commands += look(fleet, client, handshake=fleet.wall + 0.1)
    assert (put(commands), taken(commands)) == ([], [])
    own = fleet.gateway._upkeep.state.holders.own(client.key)
    assert own is not None
    assert own.timestamp == Tai64n.from_unix(START + 120)


def test_a_holding_of_an_earlier_process_is_resumed(fleet: Stage) -> None:
    client = fleet.client()
    fleet.hear(DeviceRead(fleet.monotonic, [DevicePeer(client.key, client.peer.allowed_ips, last_handshake=START)]))
    found = replace(client.registration(START), holding=held(client, "g", START - 50))
    commands = fleet.hear(RegistryChanged({client.key: found}, rechecked=True))
    assert put(commands) == [(prefix("10.8.0.1/32"), WORST - int(START - 50))]


def test_metrics_prefer_the_newer_holding_and_fit(fleet: Stage) -> None:
    client = fleet.client()
    old, new = held(client, "a", START), held(client, "b", START + 1)
    flip = replace(old, takeovers=1)
    assert metric_of(new) < metric_of(old)
    assert metric_of(flip) < metric_of(old)
    for wild in (Tai64n(bytes(12)), Tai64n(b"\xff" * 12), Tai64n.from_unix(2.0**33)):
        assert 0 < metric_of(replace(old, timestamp=wild, takeovers=5)) <= WORST

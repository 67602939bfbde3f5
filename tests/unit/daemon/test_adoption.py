"""From an interface that holds all its peers to a registry, and back."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest

from tests.fakes.device import FakeDevice
from tests.fakes.store import FakeRegistry
from wgjit import adoption
from wgjit.adoption import adopt, peers_of, release
from wgjit.core.residents.placeholder import placeholder_key
from wgjit.errors import DeviceFull, StoreError
from wgjit.management.own import Own
from wgjit.model import NEVER, DevicePeer, Peer, PeerChange, PresharedKey, PrivateKey

KEYS = [PrivateKey(bytes([number]) * 32).public() for number in range(1, 10)]


def resident(number: int, *prefixes: str, keepalive: int = 0, psk: PresharedKey | None = None) -> DevicePeer:
    prefixes = prefixes or (f"10.8.0.{number}/32",)
    return DevicePeer(KEYS[number], tuple(map(ipaddress.ip_network, prefixes)), psk, keepalive=keepalive)


def test_all_values_are_registered() -> None:
    registry = FakeRegistry()
    psk = PresharedKey(b"\x05" * 32)
    result = adopt([resident(1, "10.8.0.1/32", "fd00::/64", psk=psk), resident(2)], registry, registry.add)
    assert [peer.public_key for peer in result.new] == KEYS[1:3]
    registration = registry.lookup(KEYS[1])
    assert registration is not None
    assert registration.peer == Peer(KEYS[1], resident(1, "10.8.0.1/32", "fd00::/64").allowed_ips, psk)


def test_who_is_kept_alive_from_this_side_is_pinned() -> None:
    registry = FakeRegistry()
    result = adopt([resident(1, keepalive=25), resident(2)], registry, registry.add)
    assert result.pinned == 1
    assert [peer.idle_timeout for peer in result.new] == [NEVER, None]


def test_a_dry_run_says_the_same_and_writes_nothing() -> None:
    crowd = [resident(1), resident(2, "10.8.0.0/24"), resident(3)]
    registry = FakeRegistry()
    rehearsed = adopt(crowd, registry, registry.add, dry_run=True)
    assert registry.count() == 0
    assert adopt(crowd, registry, registry.add) == rehearsed
    assert registry.count() == 2


def test_doing_it_again_changes_nothing() -> None:
    registry = FakeRegistry()
    adopt([resident(1), resident(2)], registry, registry.add)
    result = adopt([resident(1), resident(2)], registry, registry.add)
    assert (result.new, result.present) == ([], 2)


def test_the_gateways_own_address_and_key_are_refused() -> None:
    own = Own(frozenset([KEYS[3]]), (ipaddress.ip_interface("10.8.0.1/16"),))
    registry = FakeRegistry()
    result = adopt([resident(1), resident(2), resident(3)], registry, registry.add, check=own.check)
    assert [peer.public_key for peer in result.new] == [KEYS[2]]
    assert [key for key, _ in result.refused] == [KEYS[1], KEYS[3]]
    assert "10.8.0.1 is the gateway's own address" in result.refused[0][1]
    assert "is the gateway's own" in result.refused[1][1]
    assert registry.count() == 1


def test_registered_values_are_not_overwritten() -> None:
    registry = FakeRegistry([Peer(KEYS[1], (ipaddress.ip_network("10.8.0.9/32"),))])
    result = adopt([resident(1)], registry, registry.add)
    assert (result.new, result.differing) == ([], [KEYS[1]])


def test_an_address_of_a_registered_peer_is_not_taken() -> None:
    registry = FakeRegistry([Peer(KEYS[5], (ipaddress.ip_network("10.8.0.1/32"),), name="five")])
    result = adopt([resident(1), resident(2)], registry, registry.add)
    assert [peer.public_key for peer in result.new] == [KEYS[2]]
    ((key, why),) = result.refused
    assert key == KEYS[1]
    assert "five" in why


@pytest.mark.parametrize("order", [1, -1])
def test_of_nested_prefixes_the_wider_stays_out(order: int) -> None:
    crowd = [resident(1, "0.0.0.0/0", "::/0"), resident(2, "10.0.0.0/8"), resident(3), resident(4, "fd00::1/128")]
    registry = FakeRegistry()
    result = adopt(crowd[::order], registry, registry.add)
    assert {peer.public_key for peer in result.new} == {KEYS[3], KEYS[4]}
    assert {key for key, _ in result.refused} == {KEYS[1], KEYS[2]}


def test_a_registry_that_fails_registers_nobody() -> None:
    registry = FakeRegistry()
    registry.fail(StoreError("no room"), "add")
    with pytest.raises(StoreError):
        adopt([resident(1)], registry, registry.add)


# --- the way back -----------------------------------------------------------------------------------------------


def registered(*numbers: int) -> FakeRegistry:
    return FakeRegistry(Peer(KEYS[n], (ipaddress.ip_network(f"10.8.0.{n}/32"),)) for n in numbers)


def test_all_are_installed_and_who_is_there_is_not_touched() -> None:
    device = FakeDevice()
    device.apply([PeerChange(KEYS[1], allowed_ips=resident(1).allowed_ips)])
    device.shake_hands(KEYS[1], at=1.0)
    device.applied.clear()
    result = release(registered(1, 2, 3), device, 0.0)
    assert (result.installed, result.present) == (2, 1)
    assert device.keys == set(KEYS[1:4])
    assert KEYS[1] not in [change.public_key for change in device.applied]


def test_who_may_not_connect_is_not_installed() -> None:
    registry = FakeRegistry([Peer(KEYS[1], enabled=False), Peer(KEYS[2], expires_at=50), Peer(KEYS[3], expires_at=150)])
    device = FakeDevice()
    assert release(registry, device, 100.0).barred == 2
    assert device.keys == {KEYS[3]}


def test_a_foreign_peer_keeps_its_addresses() -> None:
    device = FakeDevice()
    device.apply([PeerChange(KEYS[8], allowed_ips=resident(2).allowed_ips)])
    result = release(registered(1, 2), device, 0.0)
    assert result.refused == [KEYS[2]]
    assert device.keys == {KEYS[1], KEYS[8]}


def test_a_dry_run_of_the_way_back_installs_nobody() -> None:
    device = FakeDevice()
    assert release(registered(1, 2), device, 0.0, dry_run=True).installed == 2
    assert device.keys == set()


def test_too_many_are_told_before_anything_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adoption, "MOST", 2)
    device = FakeDevice()
    with pytest.raises(DeviceFull, match="3 peers"):
        release(registered(1, 2, 3), device, 0.0)
    assert device.keys == set()


def test_there_and_back_again() -> None:
    crowd = [resident(1, "10.8.0.1/32", "fd00::/64"), resident(2, psk=PresharedKey(b"\x07" * 32), keepalive=25)]
    registry, device = FakeRegistry(), FakeDevice()
    adopt(crowd, registry, registry.add)
    release(registry, device, 0.0)
    assert {peer.public_key: peer for peer in device.peers()} == {peer.public_key: peer for peer in crowd}


def test_a_gateways_placeholder_is_nobody_and_goes_when_all_are_back() -> None:
    private = PrivateKey(b"\x42" * 32)
    ours = placeholder_key(private.public())
    device = FakeDevice(private_key=private)
    kept = PeerChange(
        ours, allowed_ips=(*resident(1, "10.8.0.1/32").allowed_ips, *resident(2, "10.8.0.2/32").allowed_ips)
    )
    device.apply([PeerChange(KEYS[8]), kept])
    assert [peer.public_key for peer in peers_of(device)] == [KEYS[8]]
    registry = registered(1, 2)
    registry.replace(replace(registry.find(str(KEYS[2])), enabled=False))
    result = release(registry, device, 0.0)
    assert (result.installed, result.barred, result.refused) == (1, 1, [])
    assert device.keys == {KEYS[8], KEYS[1], ours}, "who may not connect has an address all the same"
    registry.replace(replace(registry.find(str(KEYS[2])), enabled=True))
    assert release(registry, device, 0.0).installed == 1
    assert device.keys == {KEYS[8], KEYS[1], KEYS[2]}

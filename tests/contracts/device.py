"""What every `wgjit.drivers.base.Device` does: the kernel's, wireguard-go's, and the fake.

A subclass gives the three hooks and the fixture `device`: an interface that is up, without peers and without a key.
Compare reports with `told` and `sorted`, because the order of peers, and of a peer's allowed IPs, is not fixed.
"""

from __future__ import annotations

import ipaddress
import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import ClassVar

import pytest

from wgjit.drivers.base import Device
from wgjit.errors import DeviceError, InvalidValue, NoSuchDevice
from wgjit.model import (
    AllowedIP,
    DevicePeer,
    Endpoint,
    Peer,
    PeerChange,
    PresharedKey,
    PrivateKey,
    PublicKey,
    parse_allowed_ip,
)

CLEAR_PRESHARED_KEY = PresharedKey(bytes(32))
"""All zeros is how a preshared key is taken away again."""


def new_key() -> PublicKey:
    """A public key that nobody holds the private key of: enough for every test without a handshake."""
    return PublicKey(secrets.token_bytes(32))


def prefixes(*texts: str) -> tuple[AllowedIP, ...]:
    return tuple(parse_allowed_ip(text) for text in texts)


def told(device: Device) -> dict[PublicKey, DevicePeer]:
    """All residents by key; fails if one is reported twice."""
    peers = list(device.peers())
    by_key = {peer.public_key: peer for peer in peers}
    assert len(by_key) == len(peers)
    return by_key


def owned(device: Device, key: PublicKey) -> set[AllowedIP]:
    found = told(device)[key].allowed_ips
    assert len(set(found)) == len(found)
    return set(found)


def crowd(count: int) -> list[PeerChange]:
    """Distinct peers with one IPv4 and one IPv6 prefix each, every third one with a preshared key."""
    return [
        PeerChange(
            new_key(),
            preshared_key=PresharedKey.generate() if index % 3 == 0 else None,
            endpoint=Endpoint(bytes([192, 0, 2, index % 250 + 1]), 1024 + index),
            keepalive=index % 100,
            allowed_ips=(
                ipaddress.IPv4Network((0x0A000000 + index, 32)),
                ipaddress.IPv6Network(((0xFD00 << 112) + index, 128)),
            ),
        )
        for index in range(count)
    ]


def assert_told(device: Device, wanted: Sequence[PeerChange]) -> None:
    """The device reports exactly these peers, with exactly these settings."""
    found = told(device)
    assert found.keys() == {change.public_key for change in wanted}
    for change in wanted:
        peer = found[change.public_key]
        assert set(peer.allowed_ips) == set(change.allowed_ips or ())
        assert (peer.preshared_key, peer.endpoint, peer.keepalive) == (
            change.preshared_key,
            change.endpoint,
            change.keepalive or 0,
        )


class DeviceContract:
    keeps_scope: ClassVar[bool] = True
    """It reports the scope of a link-local endpoint."""

    @pytest.fixture
    def device(self) -> Iterator[Device] | Device:
        """An interface that is up, with neither peer nor key."""
        raise NotImplementedError

    def delete(self, device: Device) -> None:
        """Take the interface away behind the device's back."""
        raise NotImplementedError

    def connect_client(self, device: Device) -> PublicKey:
        """Complete a handshake of a client that becomes the device's resident by it."""
        raise NotImplementedError

    def free_port(self) -> int:
        """A UDP port that the interface can listen on."""
        return 51820

    # --- the interface itself ---------------------------------------------------------------------------------

    def test_an_empty_device_says_so(self, device: Device) -> None:
        info = device.info()
        assert info.name == device.name
        assert info.index > 0
        assert info.private_key is None
        assert list(device.peers()) == []

    def test_key_and_port_are_set_and_read_back(self, device: Device) -> None:
        key, port = PrivateKey.generate(), self.free_port()
        device.set_interface(key.reveal(), port)
        info = device.info()
        assert info.private_key is not None  # clamped, so another 32 bytes, but the same key
        assert info.private_key.public() == key.public()
        assert info.listen_port == port

    def test_setting_one_leaves_the_other(self, device: Device) -> None:
        key, port = PrivateKey.generate(), self.free_port()
        device.set_interface(listen_port=port)
        device.set_interface(private_key=key.reveal())
        device.set_interface()
        info = device.info()
        assert info.private_key is not None
        assert (info.private_key.public(), info.listen_port) == (key.public(), port)

    def test_a_zero_key_takes_the_key_away(self, device: Device) -> None:
        device.set_interface(PrivateKey.generate().reveal())
        device.set_interface(bytes(32))
        assert device.info().private_key is None

    @pytest.mark.parametrize(("key", "port"), [(b"short", None), (bytes(33), None), (None, -1), (None, 65536)])
    def test_a_bad_setting_is_refused_before_it_is_sent(
        self, device: Device, key: bytes | None, port: int | None
    ) -> None:
        before = device.info()
        with pytest.raises(InvalidValue, match=r"private key|listen port"):
            device.set_interface(key, port)
        assert device.info() == before

    # --- one peer -----------------------------------------------------------------------------------------------

    def test_a_peer_is_added_whole(self, device: Device) -> None:
        change = PeerChange(
            new_key(),
            preshared_key=PresharedKey.generate(),
            endpoint=Endpoint.parse("192.0.2.7:40000"),
            keepalive=25,
            allowed_ips=prefixes("10.8.0.2", "10.9.0.0/16", "fd00::2", "fd00:1::/64", "0.0.0.0/0", "::/0"),
        )
        device.apply([change])
        assert_told(device, [change])
        peer = told(device)[change.public_key]
        assert (peer.last_handshake, peer.rx_bytes, peer.tx_bytes) == (0.0, 0, 0)

    def test_a_registered_peer_is_installed_without_an_endpoint(self, device: Device) -> None:
        peer = Peer(new_key(), prefixes("10.8.0.2"), PresharedKey.generate(), keepalive=15)
        device.apply([PeerChange.install(peer)])
        assert list(device.peers()) == [
            DevicePeer(peer.public_key, peer.allowed_ips, peer.preshared_key, None, peer.keepalive)
        ]

    def test_a_bare_key_is_a_peer(self, device: Device) -> None:
        key = new_key()
        device.apply([PeerChange(key)])
        assert list(device.peers()) == [DevicePeer(key)]

    def test_an_update_leaves_what_it_does_not_name(self, device: Device) -> None:
        whole = PeerChange(
            new_key(),
            preshared_key=PresharedKey.generate(),
            endpoint=Endpoint.parse("192.0.2.7:40000"),
            keepalive=25,
            allowed_ips=prefixes("10.8.0.2"),
        )
        device.apply([whole])
        before = told(device)
        device.apply([PeerChange(whole.public_key), PeerChange(whole.public_key, update_only=True)])
        assert told(device) == before
        device.apply([PeerChange(whole.public_key, keepalive=0, endpoint=Endpoint.parse("192.0.2.8:1"))])
        after = told(device)[whole.public_key]
        assert (after.keepalive, str(after.endpoint)) == (0, "192.0.2.8:1")
        assert after.preshared_key == whole.preshared_key
        assert after.allowed_ips == whole.allowed_ips

    def test_an_update_only_change_never_adds_a_peer(self, device: Device) -> None:
        key = new_key()
        device.apply([PeerChange(key, update_only=True, keepalive=25, allowed_ips=prefixes("10.8.0.2"))])
        assert list(device.peers()) == []
        device.apply([PeerChange(key), PeerChange(key, update_only=True, keepalive=25)])
        assert told(device)[key].keepalive == 25

    def test_a_peer_is_removed(self, device: Device) -> None:
        stays, goes = new_key(), new_key()
        device.apply([PeerChange(stays), PeerChange(goes)])
        device.apply([PeerChange(goes, remove=True)])
        assert told(device).keys() == {stays}

    def test_removing_an_absent_peer_is_no_error(self, device: Device) -> None:
        device.apply([PeerChange(new_key(), remove=True), PeerChange(new_key(), remove=True, update_only=True)])
        assert list(device.peers()) == []

    def test_a_preshared_key_is_replaced_and_cleared_by_zeros(self, device: Device) -> None:
        key, first, second = new_key(), PresharedKey.generate(), PresharedKey.generate()
        for given, reported in ((first, first), (second, second), (CLEAR_PRESHARED_KEY, None)):
            device.apply([PeerChange(key, preshared_key=given)])
            assert told(device)[key].preshared_key == reported

    @pytest.mark.parametrize(
        "text", ["192.0.2.7:1", "[2001:db8::7]:65535", "[fe80::7%1]:51820", "[::ffff:192.0.2.7]:9"]
    )
    def test_endpoints_of_both_families(self, device: Device, text: str) -> None:
        key, endpoint = new_key(), Endpoint.parse(text)
        device.apply([PeerChange(key, endpoint=endpoint)])
        reported = told(device)[key].endpoint
        assert reported == (endpoint if self.keeps_scope else endpoint._replace(scope=0))

    def test_keepalive_at_its_bounds(self, device: Device) -> None:
        key = new_key()
        for keepalive in (65535, 0):
            device.apply([PeerChange(key, keepalive=keepalive)])
            assert told(device)[key].keepalive == keepalive

    def test_the_interfaces_own_key_is_never_a_peer(self, device: Device) -> None:
        own, other = PrivateKey.generate(), new_key()
        device.apply([PeerChange(own.public())])
        device.set_interface(own.reveal())
        assert list(device.peers()) == []
        device.apply([PeerChange(own.public()), PeerChange(other)])
        assert told(device).keys() == {other}

    # --- allowed IPs --------------------------------------------------------------------------------------------

    def test_allowed_ips_are_replaced_as_a_set(self, device: Device) -> None:
        key = new_key()
        for texts in (["10.8.0.2", "fd00::2"], ["10.8.0.3", "10.8.0.2"], ["fd00:9::/64"], []):
            device.apply([PeerChange(key, allowed_ips=prefixes(*texts))])
            assert owned(device, key) == set(prefixes(*texts))

    def test_the_last_one_to_take_an_allowed_ip_has_it(self, device: Device) -> None:
        first, second = new_key(), new_key()
        device.apply([PeerChange(first, allowed_ips=prefixes("10.8.0.2", "10.8.0.3", "fd00::2"))])
        device.apply([PeerChange(second, allowed_ips=prefixes("10.8.0.2", "fd00::2", "10.8.0.0/24"))])
        assert owned(device, first) == set(prefixes("10.8.0.3"))
        assert owned(device, second) == set(prefixes("10.8.0.2", "fd00::2", "10.8.0.0/24"))
        device.apply([PeerChange(second, remove=True)])
        assert owned(device, first) == set(prefixes("10.8.0.3"))

    def test_a_peer_with_more_allowed_ips_than_a_message_holds(self, device: Device) -> None:
        many = tuple(ipaddress.IPv4Network((0x0A000001 + 2 * index, 32)) for index in range(4000))
        many += tuple(ipaddress.IPv6Network(((0xFD00 << 112) + 2 * index + 1, 128)) for index in range(1000))
        before, big, after = crowd(1)[0], PeerChange(new_key(), keepalive=7, allowed_ips=many), PeerChange(new_key())
        device.apply([before, big, after])
        assert_told(device, [before, big, after])
        device.apply([replace(big, allowed_ips=many[:3])])
        assert owned(device, big.public_key) == set(many[:3])

    def test_an_update_only_change_too_long_for_a_message_never_adds_a_peer(self, device: Device) -> None:
        many = tuple(ipaddress.IPv4Network((0x0A000000 + index, 32)) for index in range(5000))
        device.apply([PeerChange(new_key(), update_only=True, allowed_ips=many)])
        assert list(device.peers()) == []

    # --- batches ------------------------------------------------------------------------------------------------

    def test_nothing_to_do_is_nothing_done(self, device: Device) -> None:
        device.apply([])
        assert list(device.peers()) == []

    def test_two_thousand_peers_in_one_call(self, device: Device) -> None:
        changes = crowd(2000)
        device.apply(changes)
        assert_told(device, changes)
        device.apply([PeerChange(change.public_key, remove=True) for change in changes[::2]])
        assert_told(device, changes[1::2])

    def test_changes_are_made_in_order(self, device: Device) -> None:
        key, other = new_key(), new_key()
        device.apply(
            [
                PeerChange(key, keepalive=1, allowed_ips=prefixes("10.8.0.2")),
                PeerChange(key, remove=True),
                PeerChange(key, update_only=True, keepalive=2),
                PeerChange(other, allowed_ips=prefixes("10.8.0.2")),
                PeerChange(key, keepalive=3, allowed_ips=prefixes("10.8.0.2")),
            ]
        )
        assert told(device)[key].keepalive == 3
        assert owned(device, key) == set(prefixes("10.8.0.2"))
        assert owned(device, other) == set()

    @pytest.mark.parametrize("place", [0, 3, 1500])
    def test_what_came_before_a_refused_change_is_in_force_and_nothing_after(self, device: Device, place: int) -> None:
        changes = [*crowd(place), PeerChange(new_key(), allowed_ips=(impossible_prefix(),)), *crowd(3)]
        with pytest.raises(DeviceError, match=device.name) as caught:
            device.apply(changes)
        assert not isinstance(caught.value, NoSuchDevice)
        refused = changes[place].public_key  # itself may be there without its prefix, as in the kernel
        assert told(device).keys() - {refused} == {change.public_key for change in changes[:place]}
        device.apply([PeerChange(refused, remove=True)])  # and the next call is none the worse
        assert_told(device, changes[:place])

    @pytest.mark.parametrize(
        "mistake",
        [
            PeerChange(new_key(), keepalive=65536),
            PeerChange(new_key(), keepalive=-1),
            PeerChange(new_key(), endpoint=Endpoint(b"\x01\x02\x03", 9)),
            PeerChange(new_key(), endpoint=Endpoint(bytes(4), 65536)),
            PeerChange(new_key(), endpoint=Endpoint(bytes(16), 1, -1)),
        ],
    )
    def test_a_callers_mistake_is_found_before_anything_is_sent(self, device: Device, mistake: PeerChange) -> None:
        with pytest.raises(InvalidValue, match=r"keepalive|endpoint") as caught:
            device.apply([PeerChange(new_key()), mistake])
        assert str(mistake.public_key) in str(caught.value)
        assert list(device.peers()) == []

    def test_peers_are_streamed_and_a_reader_may_stop_early(self, device: Device) -> None:
        device.apply(crowd(500))
        stream = device.peers()
        assert next(stream).public_key != next(stream).public_key
        del stream
        assert len(told(device)) == 500

    def test_two_readers_at_once(self, device: Device) -> None:
        changes = crowd(700)
        device.apply(changes)
        pairs = list(zip(device.peers(), device.peers(), strict=True))
        assert len(pairs) == 700
        assert {a.public_key for a, _ in pairs} == {b.public_key for _, b in pairs}

    # --- a live interface ---------------------------------------------------------------------------------------

    def test_a_handshake_shows(self, device: Device) -> None:
        before = time.time()
        key = self.connect_client(device)
        peer = told(device)[key]
        assert before - 1 <= peer.last_handshake <= time.time() + 1
        assert peer.rx_bytes >= 148  # the initiation
        assert peer.tx_bytes >= 92  # the response
        assert peer.endpoint is not None

    def test_a_device_deleted_under_us(self, device: Device) -> None:
        device.apply(crowd(3))
        self.delete(device)
        for attempt in (
            device.info,
            lambda: list(device.peers()),
            lambda: device.apply([PeerChange(new_key())]),
            lambda: device.set_interface(listen_port=self.free_port()),
        ):
            with pytest.raises(NoSuchDevice, match=device.name):
                attempt()

    def test_closing_twice_is_harmless(self, device: Device) -> None:
        device.info()
        device.close()
        device.close()


def impossible_prefix() -> ipaddress.IPv4Network:
    """10.255.255.0/33: the one thing that our own checks leave to the interface to refuse."""
    network = ipaddress.IPv4Network("10.255.255.0/32")
    network._prefixlen = 33  # type: ignore[attr-defined]
    return network


def shake_hands(server: Device, client: Device, port: int) -> PublicKey:
    """Let `client` handshake with `server`, two interfaces of one namespace, over its loopback; gives the client's key.

    No packet needs to be sent: a persistent keepalive that is switched on sends one at once.
    """
    server_key, client_key = PrivateKey.generate(), PrivateKey.generate()
    preshared_key = PresharedKey.generate()
    server.set_interface(server_key.reveal(), port)
    client.set_interface(client_key.reveal())
    server.apply([PeerChange(client_key.public(), preshared_key=preshared_key)])
    toward = Endpoint(bytes([127, 0, 0, 1]), port)
    client.apply([PeerChange(server_key.public(), preshared_key=preshared_key, endpoint=toward, keepalive=25)])
    deadline = time.monotonic() + 60
    while not told(server)[client_key.public()].last_handshake:
        assert time.monotonic() < deadline, "no handshake within 60 s"
        time.sleep(0.01)
    return client_key.public()

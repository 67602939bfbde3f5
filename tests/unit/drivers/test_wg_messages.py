"""WireGuard's generic netlink messages: long lists cut and joined again, and nothing but MalformedAnswer on noise."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.contracts.device import crowd, new_key, prefixes
from wgjit.drivers.netlink.codec import NLM_F_DUMP_INTR, Message, encode_attribute
from wgjit.drivers.netlink.generic import MESSAGE_HEADERS
from wgjit.drivers.wireguard.kernel import dump as wg_fixed
from wgjit.drivers.wireguard.kernel.messages import (
    AF_INET,
    AF_INET6,
    ALLOWED_IP,
    DEVICE,
    PEER,
    WGPEER_F_REMOVE_ME,
    WGPEER_F_REPLACE_ALLOWEDIPS,
    WGPEER_F_UPDATE_ONLY,
    Places,
    _unpack_any_allowed_ip,
    cut_a_peer,
    decode_interface,
    decode_peers,
    encode_changes,
    encode_interface,
    ends_early,
    is_disturbed,
)
from wgjit.errors import MalformedAnswer
from wgjit.model import AllowedIP, DevicePeer, Endpoint, PeerChange, PresharedKey, PrivateKey, PublicKey

addresses = st.one_of(st.binary(min_size=4, max_size=4), st.binary(min_size=16, max_size=16))
keys = st.binary(min_size=32, max_size=32).map(PublicKey)
preshared_keys = st.binary(min_size=32, max_size=32).filter(any).map(PresharedKey)


@st.composite
def endpoints(draw: st.DrawFn) -> Endpoint:
    address = draw(addresses)
    return Endpoint(address, draw(st.integers(0, 65535)), draw(st.integers(0, 2**32 - 1)) if len(address) == 16 else 0)


@st.composite
def allowed_ips(draw: st.DrawFn) -> tuple[AllowedIP, ...]:
    found = draw(st.lists(st.tuples(addresses, st.integers(0, 128)), max_size=30))
    return tuple(
        ipaddress.ip_network((address, min(length, 8 * len(address))), strict=False) for address, length in found
    )


residents = st.builds(
    DevicePeer,
    public_key=keys,
    allowed_ips=allowed_ips(),
    preshared_key=st.none() | preshared_keys,
    endpoint=st.none() | endpoints(),
    keepalive=st.integers(0, 65535),
    last_handshake=st.integers(0, 2**33).map(float),
    rx_bytes=st.integers(0, 2**64 - 1),
    tx_bytes=st.integers(0, 2**64 - 1),
)
changes = st.builds(
    PeerChange,
    public_key=keys,
    remove=st.booleans(),
    update_only=st.booleans(),
    preshared_key=st.none() | preshared_keys,
    endpoint=st.none() | endpoints(),
    keepalive=st.none() | st.integers(0, 65535),
    allowed_ips=st.none() | allowed_ips(),
)


def entry(peer: DevicePeer, split_after: int | None = None) -> list[bytes]:
    """A peer as the kernel tells it: the whole, or split behind so many allowed IPs."""
    values: dict[str, Any] = {
        "public_key": peer.public_key,
        "preshared_key": peer.preshared_key.reveal() if peer.preshared_key else bytes(32),
        "last_handshake": (int(peer.last_handshake), 0),
        "keepalive": peer.keepalive,
        "tx_bytes": peer.tx_bytes,
        "rx_bytes": peer.rx_bytes,
    }
    places: dict[str, Any] = {"endpoint": peer.endpoint} if peer.endpoint else {}
    places["allowed_ips"] = peer.allowed_ips[:split_after]
    protocol_version = encode_attribute(10, struct.pack("=I", 1))
    first = PEER.encode(values) + protocol_version + PEER.encode(places)
    if split_after is None:
        return [first]
    return [first, PEER.encode({"public_key": peer.public_key, "allowed_ips": peer.allowed_ips[split_after:]})]


def message(peers: Sequence[bytes] | None, flags: int = 2, **device: Any) -> Message:
    values = device if peers is None else device | {"peers": peers}
    return Message(30, flags, 1, bytes(4) + DEVICE.encode(values))


# --- reading --------------------------------------------------------------------------------------------------


@given(st.lists(residents, max_size=6, unique_by=lambda peer: peer.public_key), st.integers(1, 7))
def test_a_dump_is_read_however_it_is_cut_into_messages(peers: list[DevicePeer], at_once: int) -> None:
    entries = [part for peer in peers for part in entry(peer, len(peer.allowed_ips) // 2 or None)]
    cut = [message(entries[start : start + at_once]) for start in range(0, len(entries), at_once)]
    assert list(decode_peers(cut)) == peers


@given(st.lists(st.lists(residents, max_size=4, unique_by=lambda peer: peer.public_key), max_size=3), st.integers(1, 7))
def test_dumps_that_follow_each_other_are_read_as_by_themselves(dumps: list[list[DevicePeer]], at_once: int) -> None:
    recall = Places()
    for peers in [dump for dump in dumps for _ in range(2)]:
        entries = [part for peer in peers for part in entry(peer, len(peer.allowed_ips) // 2 or None)]
        cut = [message(entries[start : start + at_once]) for start in range(0, len(entries), at_once)]
        assert list(decode_peers(cut, recall)) == peers


def test_what_has_not_changed_is_the_same_object_in_the_next_dump() -> None:
    peer, recall = DevicePeer(new_key(), prefixes("10.8.0.2", "fd00::/64"), endpoint=Endpoint(bytes(4), 9)), Places()
    [one], [two] = (list(decode_peers([message(entry(replace(peer, rx_bytes=n)))], recall)) for n in range(2))
    assert (one.rx_bytes, two.rx_bytes) == (0, 1)
    assert one.allowed_ips is two.allowed_ips
    assert one.endpoint is two.endpoint


def test_a_peer_is_joined_over_many_messages() -> None:
    parts = [prefixes(f"10.{part}.0.0/16", f"fd00:{part}::/32") for part in range(5)]
    key = new_key()
    head = PEER.encode({"public_key": key, "last_handshake": (5, 500_000_000), "allowed_ips": parts[0]})
    rest = [PEER.encode({"public_key": key, "allowed_ips": part}) for part in parts[1:]]
    [peer] = decode_peers([message([head]), *(message([part]) for part in rest)])
    assert peer == DevicePeer(key, sum(parts, ()), last_handshake=5.5)


def test_the_interface_is_read_from_the_first_message() -> None:
    key = PrivateKey.generate()
    first = message([], name="wg0", index=3, private_key=key.reveal(), listen_port=51820, fwmark=7)
    info = decode_interface(first)
    assert (info.name, info.index, info.private_key, info.listen_port, info.fwmark) == ("wg0", 3, key, 51820, 7)
    assert decode_interface(message([], name="wg0", index=3, listen_port=0, private_key=bytes(32))).private_key is None
    with pytest.raises(MalformedAnswer, match="listen_port"):
        decode_interface(message([], name="wg0", index=3))


def test_what_a_disturbed_message_tells_of_lost_peers() -> None:
    whole, (_, rest) = entry(DevicePeer(new_key())), entry(DevicePeer(new_key(), prefixes("10.0.0.0/8")), 0)
    assert not is_disturbed(message(whole))
    assert is_disturbed(message(whole, NLM_F_DUMP_INTR))
    assert not ends_early(message(whole, NLM_F_DUMP_INTR))
    assert not cut_a_peer(message(whole, NLM_F_DUMP_INTR))
    assert ends_early(message(None, NLM_F_DUMP_INTR))
    assert not cut_a_peer(message(None, NLM_F_DUMP_INTR))
    assert not ends_early(message([rest, *whole], NLM_F_DUMP_INTR))
    assert cut_a_peer(message([rest, *whole], NLM_F_DUMP_INTR))


def test_a_peer_that_a_disturbed_dump_cut_is_not_whole() -> None:
    one, two = (DevicePeer(new_key(), prefixes(f"10.{n}.0.0/16", f"fd00:{n}::/32"), rx_bytes=9) for n in range(2))
    [head, rest], [whole] = entry(one, 1), entry(two)
    key_only = PEER.encode({"public_key": two.public_key})
    undisturbed = [message([head]), message([rest, whole])]
    assert [peer.is_whole for peer in decode_peers(undisturbed)] == [True, True]
    for cut in (rest, PEER.encode({"public_key": one.public_key})):
        found = list(decode_peers([message([head]), message([cut, whole], NLM_F_DUMP_INTR)]))
        assert [(peer.public_key, peer.is_whole) for peer in found] == [(one.public_key, False), (two.public_key, True)]
    # The split one was removed: the next is told without its beginning.
    found = list(decode_peers([message([head]), message([key_only], NLM_F_DUMP_INTR)]))
    assert [(peer.public_key, peer.is_whole) for peer in found] == [(one.public_key, False), (two.public_key, False)]


@pytest.mark.parametrize(
    "damaged",
    [
        PEER.encode({"last_handshake": (0, 0)}),
        encode_attribute(1, bytes(31)),
        encode_attribute(1, bytes(32)) + encode_attribute(4, b"\x02\x00\x00"),
        encode_attribute(1, bytes(32)) + encode_attribute(4, struct.pack("=H", 99) + bytes(14)),
        encode_attribute(1, bytes(32)) + encode_attribute(5, b"\0"),
        encode_attribute(1, bytes(32)) + encode_attribute(9, encode_attribute(0, encode_attribute(1, b"\2\0"))),
    ],
)
def test_a_damaged_peer_is_malformed(damaged: bytes) -> None:
    with pytest.raises(MalformedAnswer):
        list(decode_peers([message([damaged])]))


WHOLE = message(
    entry(
        DevicePeer(
            PublicKey(bytes(range(32))),
            prefixes("10.0.0.0/8", "fd00::/64"),
            PresharedKey(bytes(range(1, 33))),
            Endpoint(bytes(16), 9, 2),
        )
    ),
    name="wg0",
    index=3,
    private_key=bytes(range(2, 34)),
    listen_port=51820,
)


def _complaints(body: bytes) -> Iterator[str]:
    """Read a message in every way there is; the texts of what is raised."""
    for read in (decode_interface, lambda m: list(decode_peers([m])), ends_early, cut_a_peer):
        try:
            read(Message(30, 2, 1, body))
        except MalformedAnswer as error:
            yield str(error)


@pytest.mark.parametrize("length", range(len(WHOLE.body)))
def test_every_truncation_raises_nothing_else_and_tells_no_secret(length: int) -> None:
    for complaint in _complaints(WHOLE.body[:length]):
        for secret in (bytes(range(1, 33)), bytes(range(2, 34))):
            assert secret.hex()[:8] not in complaint
            assert repr(secret)[2:20] not in complaint


@given(st.binary(max_size=200), st.integers(0, len(WHOLE.body)))
def test_noise_raises_nothing_else(noise: bytes, place: int) -> None:
    list(_complaints(noise))
    list(_complaints(WHOLE.body[:place] + noise + WHOLE.body[place + len(noise) :]))


# --- writing --------------------------------------------------------------------------------------------------


def sent(messages: Sequence[bytes]) -> list[dict[str, Any]]:
    """The peers of SET messages, in order; each message names the interface."""
    found = []
    for attributes in messages:
        device = DEVICE.decode(attributes)
        assert device.keys() == {"name", "peers"}
        assert device["name"] == "wg0"
        found += [PEER.decode(peer) for peer in device["peers"]]
    return found


def expected(change: PeerChange) -> dict[str, Any]:
    if change.remove:
        return {"public_key": change.public_key, "flags": WGPEER_F_REMOVE_ME}
    flags = change.update_only * WGPEER_F_UPDATE_ONLY | (change.allowed_ips is not None) * WGPEER_F_REPLACE_ALLOWEDIPS
    values = {
        "public_key": change.public_key,
        "flags": flags or None,
        "preshared_key": change.preshared_key and change.preshared_key.reveal(),
        "endpoint": change.endpoint,
        "keepalive": change.keepalive,
        "allowed_ips": list(change.allowed_ips or ()) or None,
    }
    return {name: value for name, value in values.items() if value is not None}


@given(st.lists(changes, max_size=8), st.integers(2000, 5000))
def test_changes_are_written_in_order_within_the_limit(wanted: list[PeerChange], limit: int) -> None:
    messages = list(encode_changes("wg0", wanted, limit))
    assert all(len(attributes) + MESSAGE_HEADERS <= limit for attributes in messages)
    assert sent(messages) == [expected(change) for change in wanted]


@pytest.mark.parametrize("limit", range(1000, 1200, 4))
def test_no_message_is_a_byte_too_long(limit: int) -> None:
    wanted = crowd(50)
    messages = list(encode_changes("wg0", wanted, limit))
    assert max(len(attributes) + MESSAGE_HEADERS for attributes in messages) <= limit
    assert sent(messages) == [expected(change) for change in wanted]


def test_a_long_list_of_allowed_ips_goes_on_without_replacing_and_without_adding_the_peer() -> None:
    many = tuple(ipaddress.IPv6Network(((0xFD00 << 112) + index, 128)) for index in range(1000))
    before, after = crowd(2)
    change = PeerChange(new_key(), preshared_key=PresharedKey.generate(), keepalive=5, allowed_ips=many)
    messages = list(encode_changes("wg0", [before, change, after], 4096))
    assert len(messages) > 10
    assert all(len(attributes) + MESSAGE_HEADERS <= 4096 for attributes in messages)
    first, head, *rest, last = sent(messages)
    assert (first, last) == (expected(before), expected(after))
    assert head == expected(change) | {"allowed_ips": head["allowed_ips"]}
    assert all(part["flags"] == WGPEER_F_UPDATE_ONLY for part in rest)
    assert all(part.keys() == {"public_key", "flags", "allowed_ips"} for part in rest)
    assert {part["public_key"] for part in rest} == {change.public_key}
    assert tuple(prefix for part in (head, *rest) for prefix in part["allowed_ips"]) == many


def test_no_changes_are_no_message() -> None:
    assert list(encode_changes("wg0", [])) == []


def test_the_interface_is_set_field_by_field() -> None:
    key = PrivateKey.generate()
    assert DEVICE.decode(encode_interface("wg0")) == {"name": "wg0"}
    assert DEVICE.decode(encode_interface("wg0", key, 0)) == {
        "name": "wg0",
        "private_key": key.reveal(),
        "listen_port": 0,
    }
    assert DEVICE.decode(encode_interface("wg0", replace_peers=True)) == {"name": "wg0", "flags": 1}


@pytest.mark.parametrize(
    "prefix", prefixes("10.1.2.3/32", "0.0.0.0/0", "10.0.0.0/9", "fd00::1/128", "::/0", "fd00::/65")
)
def test_a_prepared_allowed_ip_is_what_the_table_writes(prefix: AllowedIP) -> None:
    family = AF_INET if prefix.version == 4 else AF_INET6
    values = {"family": family, "address": prefix.network_address.packed, "prefix_length": prefix.prefixlen}
    (change,) = encode_changes("wg0", [PeerChange(new_key(), allowed_ips=(prefix,))])
    assert change.endswith(ALLOWED_IP.encode(values))


def kernels_entry(keepalive: int, sent: int, received: int, handshake: tuple[int, int]) -> bytes:
    """The fixed part of a peer as `get_peer` writes it."""
    fields = {
        "public_key": b"k" * 32,
        "preshared_key": b"p" * 32,
        "last_handshake": handshake,
        "keepalive": keepalive,
        "tx_bytes": sent,
        "rx_bytes": received,
    }
    return PEER.encode(fields) + encode_attribute(10, struct.pack("=I", 1))


@given(st.integers(0, 0xFFFF), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.integers(0, 2**62))
def test_an_entry_at_fixed_places_is_read_as_by_the_table(keepalive: int, sent: int, received: int, time: int) -> None:
    entry = kernels_entry(keepalive, sent, received, (time, 5))
    assert len(entry) == wg_fixed.LENGTH
    assert wg_fixed.peer_fields(entry) == PEER.decode(entry)


@given(st.integers(0, wg_fixed.LENGTH - 1), st.binary(min_size=1, max_size=40), st.integers(0, wg_fixed.LENGTH))
def test_a_changed_entry_is_read_as_by_the_table_or_not_at_all(place: int, noise: bytes, length: int) -> None:
    entry = kernels_entry(25, 1, 2, (3, 4))
    changed = (entry[:place] + noise + entry[place + len(noise) :])[: wg_fixed.LENGTH]
    fields = wg_fixed.peer_fields(changed)
    assert fields is None or fields == PEER.decode(changed)
    if length < wg_fixed.LENGTH:
        assert wg_fixed.peer_fields(entry[:length]) is None


@given(
    st.booleans(), st.binary(min_size=16, max_size=16), st.integers(0, 255), st.integers(0, 60), st.binary(max_size=8)
)
def test_an_allowed_ip_at_fixed_places_is_read_as_by_the_table(
    v4: bool, address: bytes, length: int, place: int, noise: bytes
) -> None:
    def read(how: Callable[[bytes], AllowedIP | None], content: bytes) -> AllowedIP | str | None:
        try:
            return how(content)
        except (ValueError, MalformedAnswer) as error:
            return type(error).__name__

    family = AF_INET if v4 else AF_INET6
    values = {"prefix_length": length, "family": family, "address": address[:4] if v4 else address}
    content = ALLOWED_IP.encode(values)
    assert read(wg_fixed.allowed_ip, content) == read(_unpack_any_allowed_ip, content) is not None
    changed = content[:place] + noise + content[place + len(noise) :]
    fixed = read(wg_fixed.allowed_ip, changed)
    assert fixed is None or fixed == read(_unpack_any_allowed_ip, changed)

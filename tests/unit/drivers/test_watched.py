"""The table of watched peers, held against a plain reading of it."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from wgjit.drivers.confirm.source_filter import hash_of
from wgjit.drivers.confirm.watched import MOST_PREFIXES, Watched
from wgjit.model import AllowedIP, PublicKey

KEYS = [PublicKey(bytes([n]) * 32) for n in range(6)]
A, B, C = KEYS[:3]


def nets(*texts: str) -> list[AllowedIP]:
    return [ipaddress.ip_network(text) for text in texts]


def owner(watched: Watched, address: str) -> PublicKey | None:
    parsed = ipaddress.ip_address(address)
    return watched.owner(parsed.version, int(parsed))


def test_the_longest_prefix_owns_an_address() -> None:
    watched = Watched()
    watched.add(A, nets("0.0.0.0/0"))
    watched.add(B, nets("10.8.0.0/24", "fd00::/64"))
    watched.add(C, nets("10.8.0.7/32", "fe80::2/128"))
    assert owner(watched, "192.0.2.1") == A
    assert owner(watched, "10.8.0.6") == B
    assert owner(watched, "10.8.0.7") == C
    assert owner(watched, "fd00::9") == B
    assert owner(watched, "fe80::2") == C
    assert owner(watched, "fe80::3") is None
    watched.remove(B)
    assert owner(watched, "10.8.0.6") == A
    assert owner(watched, "fd00::9") is None


def test_a_prefix_belongs_to_who_asked_last_and_stays_when_the_other_goes() -> None:
    watched = Watched()
    watched.add(A, nets("10.8.0.7/32"))
    watched.add(B, nets("10.8.0.7/32"))
    watched.remove(A)
    assert owner(watched, "10.8.0.7") == B
    assert A not in watched


def test_a_second_call_replaces_the_prefixes() -> None:
    watched = Watched()
    watched.add(A, nets("10.8.0.7/32", "fd00::7/128"))
    watched.add(A, nets("10.8.0.8/32"))
    assert owner(watched, "10.8.0.7") is owner(watched, "fd00::7") is None
    assert owner(watched, "10.8.0.8") == A
    assert len(watched) == 1


def test_the_first_few_of_many_prefixes_are_watched() -> None:
    watched = Watched()
    watched.add(A, nets(*(f"10.8.{n}.0/24" for n in range(40))))
    assert owner(watched, f"10.8.{MOST_PREFIXES - 1}.1") == A
    assert owner(watched, f"10.8.{MOST_PREFIXES}.1") is None


def test_a_peer_without_prefixes_is_not_watched() -> None:
    watched = Watched()
    watched.add(A, [])
    assert len(watched) == 0
    assert not watched.changed


def test_a_change_is_told() -> None:
    watched = Watched()
    watched.add(A, nets("10.8.0.7/32"))
    assert watched.changed
    watched.changed = False
    watched.remove(B)
    assert not watched.changed
    watched.remove(A)
    assert watched.changed


def test_the_oldest_are_given_up_until_the_filter_fits() -> None:
    watched = Watched()
    keys = [PublicKey(n.to_bytes(32, "big")) for n in range(3000)]
    for n, key in enumerate(keys):
        watched.add(key, [ipaddress.IPv4Network(((10 << 24) + n, 32))])
    given_up = 0
    while watched.size() > 1100:
        given_up += watched.remove_oldest(0.125)
    assert given_up == 3000 - len(watched)
    assert 500 <= len(watched) <= 900
    assert keys[0] not in watched
    assert keys[-1] in watched


def test_with_one_peer_left_the_table_can_still_be_emptied() -> None:
    watched = Watched()
    watched.add(A, nets("10.8.0.7/32"))
    assert watched.remove_oldest(0.125) == 1
    assert watched.remove_oldest(0.125) == 0
    assert watched.size() == 0


def test_a_packet_has_the_sender_of_its_source_address() -> None:
    watched = Watched()
    watched.add(A, nets("10.8.0.7/32", "fd00::7/128", "::/1"))
    four = bytes([0x45]) + bytes(11) + bytes([10, 8, 0, 7]) + bytes(4)
    six = bytes([0x60]) + bytes(7) + bytes.fromhex("fd00" + "00" * 13 + "07") + bytes(16)
    assert watched.sender(four) == watched.sender(six) == A
    assert watched.sender(four[:12] + four[16:] + four[12:16]) is None  # it is the destination
    for other in (b"", four[:15], six[:23], b"\x55" + four[1:], b"\x05" + six[1:]):
        assert watched.sender(other) is None


@given(st.binary(max_size=60))
def test_no_bytes_raise(packet: bytes) -> None:
    watched = Watched()
    watched.add(A, nets("0.0.0.0/0", "::/0"))
    whole = len(packet) >= {4: 16, 6: 24}.get(packet[0] >> 4 if packet else 0, 1000)
    assert watched.sender(packet) == (A if whole else None)


V4 = st.builds(
    lambda address, length: ipaddress.IPv4Network((address >> 32 - length << 32 - length, length)),
    st.sampled_from([0x0A080000 + n for n in (0, 1, 2, 255, 256)]) | st.integers(0, 2**32 - 1),
    st.sampled_from([0, 8, 23, 24, 31, 32]),
)
STEPS = st.lists(st.tuples(st.sampled_from(KEYS), st.none() | st.lists(V4, max_size=4, unique=True)), max_size=30)


@given(STEPS, st.lists(st.integers(0, 2**32 - 1), max_size=5))
@settings(deadline=None)
def test_it_agrees_with_a_plain_reading(
    steps: Sequence[tuple[PublicKey, list[ipaddress.IPv4Network] | None]], sources: list[int]
) -> None:
    watched = Watched()
    plain: dict[ipaddress.IPv4Network, PublicKey] = {}
    for key, prefixes in steps:
        plain = {prefix: other for prefix, other in plain.items() if other != key}
        if prefixes is None:
            watched.remove(key)
        else:
            watched.add(key, prefixes)
            plain.update(dict.fromkeys(prefixes, key))
    sources += [int(prefix[place]) for prefix in plain for place in (0, -1)]
    for source in sources:
        holding = [prefix for prefix in plain if ipaddress.IPv4Address(source) in prefix]
        expected = plain[max(holding, key=lambda prefix: prefix.prefixlen)] if holding else None
        assert watched.owner(4, source) == expected
    told = {(length, found) for length, hashes in watched.hashes()[4].items() for found in hashes}
    assert told == {(p.prefixlen, hash_of(4, p.prefixlen, int(p.network_address))) for p in plain}

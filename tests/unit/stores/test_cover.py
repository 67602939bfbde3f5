"""Few prefixes that hold all registered addresses inside a wider one."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.registry import LabRegistry
from tests.contracts.store import key
from wgjit.model import AllowedIP, Peer, parse_allowed_ip
from wgjit.stores import packing
from wgjit.stores.cover import Range, find_cover


class Registered:
    """Disjoint prefixes in a list, asked as the registry's table is."""

    def __init__(self, prefixes: list[AllowedIP]) -> None:
        pairs = [packing.pack_range(prefix) for prefix in prefixes]
        self.sorted = sorted((first, last or first) for first, last in pairs)
        self.asked = 0

    def __call__(self, first: bytes, last: bytes, count: int) -> list[Range]:
        self.asked += 1
        found = [pair for pair in self.sorted if len(pair[0]) == len(first) and first <= pair[0] <= last]
        return found[::-1][:-count] if count < 0 else found[:count]


def prefix(text: str) -> AllowedIP:
    return parse_allowed_ip(text)


def inside(one: AllowedIP, other: AllowedIP) -> bool:
    return one.version == other.version and one != other and one.subnet_of(other)  # type: ignore[arg-type]


@st.composite
def disjoint(draw: st.DrawFn) -> list[AllowedIP]:
    """In 10.8.0.0/22, so that they crowd."""
    chosen: list[AllowedIP] = []
    base = int(ipaddress.IPv4Address("10.8.0.0"))
    for offset, length in draw(st.lists(st.tuples(st.integers(0, 1023), st.integers(24, 32)), max_size=40)):
        one = ipaddress.IPv4Network((base + offset, length), strict=False)
        if not any(one.overlaps(other) for other in chosen):  # type: ignore[arg-type]
            chosen.append(one)
    return chosen


WIDE = ["0.0.0.0/0", "10.8.0.0/16", "10.8.0.0/22", "10.8.0.0/24", "10.8.1.0/25", "10.8.2.128/30", "::/0"]


@given(disjoint(), st.sets(st.sampled_from(WIDE), min_size=1), st.integers(2, 60))
@settings(max_examples=300, deadline=None)
def test_every_registered_prefix_inside_is_held_by_one_that_is_inside_too(
    registered: list[AllowedIP], wide: set[str], limit: int
) -> None:
    within = frozenset(map(prefix, wide))
    cover = find_cover(Registered(registered), within, limit)
    for outer in within:
        for one in registered:
            if inside(one, outer):
                assert any(inside(held, outer) and (held == one or inside(one, held)) for held in cover.prefixes)
    assert all(any(inside(held, outer) for outer in within) for held in cover.prefixes)
    addresses = {address for one in registered for address in one}
    if cover.exact:
        assert all(address in addresses for held in cover.prefixes for address in held)
    assert len(cover.prefixes) <= limit + 2 * len(within)


def test_a_crowd_without_gaps_is_told_in_few() -> None:
    crowd = [ipaddress.IPv4Network((0x0A080000 + n, 32)) for n in range(4096)]
    cover = find_cover(Registered(list(crowd)), {prefix("0.0.0.0/0")}, 100)
    assert cover.exact
    assert len(cover.prefixes) == 16  # /24s: wider ones are not counted


def test_a_crowd_with_gaps_is_told_roughly_and_says_so() -> None:
    scattered = [ipaddress.IPv4Network((0x0A080000 + 3 * n, 32)) for n in range(3000)]
    cover = find_cover(Registered(list(scattered)), {prefix("0.0.0.0/0")}, 64)
    assert not cover.exact
    assert len(cover.prefixes) <= 64
    assert all(inside(one, prefix("10.8.0.0/18")) for one in cover.prefixes)


def test_its_cost_does_not_depend_on_the_number_of_peers() -> None:
    few, many = (Registered([ipaddress.IPv4Network((0x0A000000 + 64 * n, 32)) for n in range(c)]) for c in (500, 5000))
    for registered in (few, many):
        find_cover(registered, {prefix("0.0.0.0/0")}, 64)
    assert many.asked <= 1.5 * few.asked


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[LabRegistry]:
    registry = LabRegistry(tmp_path / "peers.db")
    yield registry
    registry.close()


def test_the_registry_tells_it_and_when_to_ask_again(registry: LabRegistry) -> None:
    wide = frozenset({prefix("0.0.0.0/0"), prefix("10.9.0.0/24"), prefix("fd00::/64")})
    texts = ["10.8.0.2/32", "10.9.0.0/24", "10.9.1.128/25", "fd00::2/128", "fd00:1::/64"]
    before = registry.addresses_version()
    registry.add([Peer(key(1), tuple(map(prefix, texts)))])
    assert registry.addresses_version() != before
    cover = registry.cover(wide, 100)
    assert set(cover.prefixes) == {prefix(t) for t in ("10.8.0.2/32", "10.9.0.0/24", "10.9.1.128/25", "fd00::2/128")}
    for change in (
        lambda: registry.add([Peer(key(2), (prefix("10.8.0.3/32"),))]),
        lambda: registry.replace(Peer(key(2), (prefix("10.8.0.4/32"),))),
        lambda: registry.remove(key(2)),
    ):
        before = registry.addresses_version()
        change()
        assert registry.addresses_version() != before

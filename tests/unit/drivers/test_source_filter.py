"""The filter over watched prefixes, run by the kernel and held against a plain reading of what it should pass.

A filter on one end of a Unix datagram socket pair sees each message from its first byte on, as it sees a packet from
its IP header on, and attaching it needs no privilege.
"""

from __future__ import annotations

import contextlib
import ipaddress
import random
import socket
from collections.abc import Iterable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wgjit.drivers.confirm.source_filter import MOST_IN_A_TREE, PASSED, hash_of, leaves_for, program, size
from wgjit.drivers.packet_socket import attach_filter
from wgjit.model import AllowedIP

BITS = {4: 32, 6: 128}


def packet(version: int, source: int, length: int = 60) -> bytes:
    """As much of an IP packet as the filter looks at, and some more."""
    head = bytes([version << 4 | 5]) + bytes(11 if version == 4 else 7)
    return (head + source.to_bytes(BITS[version] // 8, "big")).ljust(length, b"\xee")


def made(prefixes: Iterable[AllowedIP]) -> bytes:
    hashes: dict[int, dict[int, list[int]]] = {4: {}, 6: {}}
    for prefix in prefixes:
        found = hash_of(prefix.version, prefix.prefixlen, int(prefix.network_address))
        hashes[prefix.version].setdefault(prefix.prefixlen, []).append(found)
    return program(hashes)


class Sieve:
    """A program in the kernel."""

    def __init__(self, code: bytes) -> None:
        self._in, self._out = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        attach_filter(self._out, code)

    def passes(self, message: bytes) -> bool:
        self._in.send(message)
        try:
            received = self._out.recv(1 << 16, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        assert received == message[:PASSED]
        return True

    def close(self) -> None:
        self._in.close()
        self._out.close()


@contextlib.contextmanager
def sieve(prefixes: Iterable[AllowedIP]) -> Iterator[Sieve]:
    with contextlib.closing(Sieve(made(prefixes))) as running:
        yield running


def network(version: int, address: int, length: int) -> AllowedIP:
    host = BITS[version] - length
    return (ipaddress.IPv4Network if version == 4 else ipaddress.IPv6Network)((address >> host << host, length))


@st.composite
def prefixes(draw: st.DrawFn, version: int) -> list[AllowedIP]:
    """Prefixes of a few lengths, some of them neighbours, some inside others."""
    lengths = draw(st.lists(st.integers(0, BITS[version]), min_size=1, max_size=4))
    addresses = draw(st.lists(st.integers(0, 2 ** BITS[version] - 1), min_size=1, max_size=40))
    near = [address ^ draw(st.integers(0, 3)) for address in addresses]
    return list({network(version, address, draw(st.sampled_from(lengths))) for address in (*addresses, *near)})


@pytest.mark.parametrize("version", [4, 6])
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_it_passes_the_prefixes_and_nothing_else(version: int, data: st.DataObject) -> None:
    wanted = data.draw(prefixes(version))
    sources = data.draw(st.lists(st.integers(0, 2 ** BITS[version] - 1), max_size=10))
    for prefix in wanted:
        first, last = int(prefix.network_address), int(prefix.broadcast_address)
        sources += [first, last, (first - 1) % 2 ** BITS[version], (last + 1) % 2 ** BITS[version]]
    with sieve(wanted) as running:
        for source in sources:
            owned = any(int(p.network_address) <= source <= int(p.broadcast_address) for p in wanted)
            # two prefixes have the same hash once in 2^31 pairs
            assert running.passes(packet(version, source)) == owned, ipaddress.ip_address(source)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 64, 65, 100, 257, 700])
def test_every_size_finds_all_and_no_other(version: int, count: int) -> None:
    chosen = random.Random(count)
    sources = chosen.sample(range(2**31), 2 * count)
    with sieve([network(version, source, BITS[version]) for source in sources[:count]]) as running:
        assert all(running.passes(packet(version, source)) for source in sources[:count])
        assert not any(running.passes(packet(version, source)) for source in sources[count:])


def test_each_version_has_its_own_prefixes() -> None:
    """The words that the filter reads are at other places in each header."""
    four, six = network(4, 0x0A080007, 32), network(6, 0xFD08 << 112 | 7, 128)
    with sieve([four, six]) as both, sieve([four]) as one, sieve([six]) as other, sieve([]) as none:
        for prefix in (four, six):
            message = packet(prefix.version, int(prefix.network_address))
            assert both.passes(message)
            assert one.passes(message) == (prefix is four)
            assert other.passes(message) == (prefix is six)
            assert not none.passes(message)
            assert not both.passes(packet(prefix.version, int(prefix.network_address) ^ 1))


def test_a_part_that_is_longer_than_a_jump_is_passed_over() -> None:
    many = [network(4, 0x0A080000 + n, 32) for n in range(600)]
    with sieve([*many, network(6, 7, 128)]) as running:
        assert running.passes(packet(6, 7))
        assert not running.passes(packet(6, 8))
        assert running.passes(packet(4, 0x0A080000 + 599))
        assert not running.passes(packet(4, 0x0A080000 + 600))


@pytest.mark.parametrize("version", [4, 6])
def test_addresses_that_differ_in_one_bit_are_told_apart(version: int) -> None:
    base = random.Random(1).getrandbits(BITS[version])
    with sieve([network(version, base, BITS[version])]) as running:
        assert running.passes(packet(version, base))
        assert not any(running.passes(packet(version, base ^ 1 << bit)) for bit in range(BITS[version]))


@pytest.mark.parametrize("version", [4, 6])
def test_a_packet_that_is_too_short_for_an_address_is_dropped(version: int) -> None:
    least = 16 if version == 4 else 24
    with sieve([network(version, 5, BITS[version])]) as running:
        for length in range(1, least):
            assert not running.passes(packet(version, 5)[:length])
        assert running.passes(packet(version, 5)[:least])


def test_the_prefix_of_all_addresses_passes_every_packet_of_its_version() -> None:
    with sieve([network(4, 0, 0)]) as running:
        assert running.passes(packet(4, 1))
        assert not running.passes(packet(6, 1))


def test_equal_hashes_do_no_harm() -> None:
    with contextlib.closing(Sieve(program({4: {32: [hash_of(4, 32, 7)] * 20}, 6: {}}))) as running:
        assert running.passes(packet(4, 7))
        assert not running.passes(packet(4, 8))


def test_hashes_have_31_bits_and_are_seldom_equal() -> None:
    for version, base in ((4, 0x0A080000), (6, 0xFD08 << 112)):
        hashes = [hash_of(version, BITS[version], base + host) for host in range(100_000)]
        assert max(hashes) < 2**31
        assert len(set(hashes)) > len(hashes) - 10


def test_a_programs_size_is_known_beforehand() -> None:
    for count in (1, 8, 9, 300, MOST_IN_A_TREE):
        assert leaves_for(count) * 8 >= count
        assert count <= size(4, 32, count) <= 1.4 * 8 * leaves_for(count) + 40
    assert size(6, 128, 1) > size(6, 64, 1) > size(4, 32, 1) > size(4, 0, 1) == 0
    assert size(4, 32, MOST_IN_A_TREE + 1) > MOST_IN_A_TREE

"""Packets and datagrams, against packets that a kernel built and a checksum computed the slow way."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.wire.vectors import PACKETS, UNFINISHED
from wgjit.errors import InvalidValue
from wgjit.refusal import Refusal
from wgjit.wire.endpoint import Endpoint
from wgjit.wire.packets import Datagram, build, finish_checksum, peel

V4 = Endpoint.parse("192.0.2.1:4000"), Endpoint.parse("192.0.2.2:51820")
V6 = Endpoint.parse("[2001:db8::1]:4000"), Endpoint.parse("[2001:db8::2]:51820")
KNOCK = b"\x01\0\0\0" + bytes(range(144))
KNOCK4, KNOCK6 = build(*V4, KNOCK), build(*V6, KNOCK)

ports = st.integers(0, 65535)
endpoints4 = st.builds(Endpoint, st.binary(min_size=4, max_size=4), ports, st.just(0))
endpoints6 = st.builds(Endpoint, st.binary(min_size=16, max_size=16), ports, st.just(0))
ends = st.one_of(st.tuples(endpoints4, endpoints4), st.tuples(endpoints6, endpoints6))


def ones_complement_sum(data: bytes) -> int:
    """RFC 1071, section 4.1, word by word."""
    total = 0
    for (word,) in struct.iter_unpack("!H", data + bytes(len(data) % 2)):
        total += word
        total = (total & 0xFFFF) + (total >> 16)
    return total


def udp_offset(packet: bytes) -> int:
    return (packet[0] & 15) * 4 if packet[0] >> 4 == 4 else 40


def pseudo_header(packet: bytes) -> bytes:
    addresses = packet[12:20] if packet[0] >> 4 == 4 else packet[8:40]
    offset = udp_offset(packet)
    return addresses + bytes([0, 17]) + packet[offset + 4 : offset + 6]


def checksums_are_right(packet: bytes) -> bool:
    offset = udp_offset(packet)
    udp_is_right = ones_complement_sum(pseudo_header(packet) + packet[offset:]) == 0xFFFF
    is_given = packet[offset + 6 : offset + 8] != b"\0\0"
    ip_is_right = packet[0] >> 4 == 6 or ones_complement_sum(packet[:offset]) == 0xFFFF
    return udp_is_right and is_given and ip_is_right


def edited(packet: bytes, offset: int, value: bytes) -> bytes:
    return packet[:offset] + value + packet[offset + len(value) :]


def with_options(packet: bytes, options: bytes) -> bytes:
    header = bytes([0x45 + len(options) // 4]) + packet[1:2] + struct.pack("!H", len(packet) + len(options))
    return header + packet[4:20] + options + packet[20:]


def with_extensions(packet: bytes, *extensions: tuple[int, bytes]) -> bytes:
    """An IPv6 packet with these headers, each its number and its content from the third byte on."""
    numbers = [number for number, _ in extensions] + [17]
    headers = b"".join(
        bytes([following, (len(content) + 2) // 8 - 1]) + content
        for following, (_, content) in zip(numbers[1:], extensions, strict=True)
    )
    length = struct.pack("!H", len(packet) - 40 + len(headers))
    return packet[:4] + length + bytes([numbers[0]]) + packet[7:40] + headers + packet[40:]


# --- against a kernel's packets ---------------------------------------------------------------------------------


@pytest.mark.parametrize("packet", PACKETS)
def test_our_checksums_are_the_kernels(packet: bytes) -> None:
    """Recorded with checksum offload off. Whatever stands in the checksum's place, we compute what the kernel did."""
    assert checksums_are_right(packet)
    for garbage in (b"\0\0", b"\xff\xff", b"\x12\x34"):
        broken = edited(packet, udp_offset(packet) + 6, garbage)
        if packet[0] >> 4 == 4:
            broken = edited(broken, 10, garbage)
        assert finish_checksum(broken) == packet


@pytest.mark.parametrize("packet", PACKETS)
def test_our_packets_are_the_kernels(packet: bytes) -> None:
    datagram = peel(packet)
    assert isinstance(datagram, Datagram)
    built = build(
        *datagram,
        hop_limit=packet[8] if packet[0] >> 4 == 4 else packet[7],
        traffic_class=packet[1] if packet[0] >> 4 == 4 else (packet[0] << 8 | packet[1]) >> 4 & 0xFF,
        identification=int.from_bytes(packet[4:6], "big") if packet[0] >> 4 == 4 else 0,
    )
    if packet[0] >> 4 == 4:  # what build sets or leaves out on its own: don't-fragment, and so the header's checksum
        built = edited(edited(built, 6, packet[6:8]), 10, packet[10:12])
    else:  # and the flow label
        built = edited(built, 1, bytes([built[1] & 0xF0 | packet[1] & 0x0F]) + packet[2:4])
    assert built == packet


@pytest.mark.parametrize("packet", UNFINISHED)
def test_an_unfinished_checksum_is_finished(packet: bytes) -> None:
    offset = udp_offset(packet)
    assert int.from_bytes(packet[offset + 6 : offset + 8], "big") == ones_complement_sum(pseudo_header(packet))
    assert not checksums_are_right(packet)
    finished = finish_checksum(packet)
    assert checksums_are_right(finished)
    assert edited(finished, offset + 6, packet[offset + 6 : offset + 8]) == packet, "nothing else changed"


def test_both_families_and_implementations_were_recorded() -> None:
    assert [packet[0] >> 4 for packet in UNFINISHED] == [4, 6, 4, 6]
    assert {packet[0] >> 4 for packet in PACKETS} == {4, 6}
    assert len(PACKETS) == 40


# --- peel -------------------------------------------------------------------------------------------------------


@given(ends=ends, payload=st.binary(max_size=1500))
def test_build_and_peel_are_inverse(ends: tuple[Endpoint, Endpoint], payload: bytes) -> None:
    packet = build(*ends, payload)
    assert peel(packet) == Datagram(*ends, payload)
    assert checksums_are_right(packet)
    assert finish_checksum(packet) == packet


@pytest.mark.parametrize("packet", [KNOCK4, KNOCK6, with_options(KNOCK4, b"\x01" * 40), *UNFINISHED])
def test_every_truncation_is_refused_and_padding_is_cut(packet: bytes) -> None:
    for size in range(len(packet)):
        assert peel(packet[:size]) is Refusal.NOT_UDP
    for padding in (1, 18, 1000):
        assert peel(packet + b"\xaa" * padding) == peel(packet)
        assert finish_checksum(packet + b"\xaa" * padding) == finish_checksum(packet)


ROUTER_ALERT = 0, bytes([5, 2, 0, 0, 1, 0])
LONG_OPTIONS = 60, bytes([1, 12]) + bytes(12)
ROUTE_USED_UP = 43, bytes([4, 0]) + bytes(4)
KNOCK6_EXTENDED = with_extensions(KNOCK6, ROUTER_ALERT, ROUTE_USED_UP, LONG_OPTIONS)


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(with_options(KNOCK4, b"\x01\x01\x01\x00"), id="IPv4, one word of options"),
        pytest.param(with_options(KNOCK4, bytes(40)), id="IPv4, all the options that fit"),
        pytest.param(edited(KNOCK4, 6, b"\x40\0"), id="IPv4, do not fragment"),
        pytest.param(edited(KNOCK4, 6, b"\x80\0"), id="IPv4, reserved flag"),
        pytest.param(with_extensions(KNOCK6, ROUTER_ALERT), id="IPv6, hop-by-hop"),
        pytest.param(KNOCK6_EXTENDED, id="IPv6, three extension headers"),
        pytest.param(edited(KNOCK6, 0, b"\x6f\xff\xff\xff"), id="IPv6, traffic class and flow label"),
    ],
)
def test_what_stands_before_udp_is_skipped(packet: bytes) -> None:
    source, destination = V4 if packet[0] >> 4 == 4 else V6
    assert peel(packet) == Datagram(source, destination, KNOCK)
    finished = finish_checksum(packet)
    assert finished[-len(KNOCK) - 8 :] == packet[-len(KNOCK) - 8 :], "options are no part of the UDP checksum"


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(edited(KNOCK4, 6, b"\x20\0"), id="IPv4, first fragment"),
        pytest.param(edited(KNOCK4, 6, b"\x00\x01"), id="IPv4, later fragment"),
        pytest.param(edited(KNOCK4, 6, b"\x1f\xff"), id="IPv4, last possible offset"),
        pytest.param(edited(KNOCK4, 9, b"\x06"), id="IPv4, TCP"),
        pytest.param(edited(KNOCK4, 0, b"\x44"), id="IPv4, header too short"),
        pytest.param(edited(build(*V4, bytes(30)), 0, b"\x4f"), id="IPv4, header takes what UDP needs"),
        pytest.param(edited(KNOCK4, 0, b"\x55"), id="version 5"),
        pytest.param(edited(KNOCK4, 2, b"\0\x1b"), id="IPv4, length below the headers"),
        pytest.param(edited(KNOCK4, 2, b"\0\0"), id="IPv4, length zero"),
        pytest.param(edited(KNOCK4, 2, b"\0\xb1"), id="IPv4, length above the packet"),
        pytest.param(edited(KNOCK4, 24, b"\0\x07"), id="UDP length below its header"),
        pytest.param(edited(KNOCK4, 24, b"\0\x00"), id="UDP length zero"),
        pytest.param(edited(KNOCK4, 24, b"\0\x9d"), id="UDP length above the packet"),
        pytest.param(edited(KNOCK6, 44, b"\0\0"), id="IPv6, UDP length zero: a jumbogram"),
        pytest.param(edited(KNOCK6, 4, b"\0\0"), id="IPv6, length zero"),
        pytest.param(edited(KNOCK6, 4, b"\xff\xff"), id="IPv6, length above the packet"),
        pytest.param(edited(KNOCK6, 6, b"\x3b"), id="IPv6, no next header"),
        pytest.param(with_extensions(KNOCK6, (44, bytes(6))), id="IPv6, fragment header, even of a whole packet"),
        pytest.param(with_extensions(KNOCK6, ROUTER_ALERT, (44, bytes(6))), id="IPv6, fragment behind another header"),
        pytest.param(with_extensions(KNOCK6, (43, bytes([4, 1]) + bytes(4))), id="IPv6, route not used up"),
        pytest.param(b"\x60\0\0\0\0\x02\x2b\x40" + bytes(32) + b"\x11\0", id="IPv6, routing header cut short"),
        pytest.param(edited(KNOCK6_EXTENDED, 41, b"\xff"), id="IPv6, extension longer than the packet"),
    ],
)
def test_what_is_no_whole_udp_packet_is_refused(packet: bytes) -> None:
    assert peel(packet) is Refusal.NOT_UDP
    with pytest.raises(InvalidValue, match="no whole UDP packet"):
        finish_checksum(packet)


def test_the_udp_length_counts_where_ip_has_more() -> None:
    """As in the kernel, which trims to it before it checks the sum."""
    packet = edited(KNOCK4, 24, struct.pack("!H", 8 + 100))
    assert peel(packet) == Datagram(*V4, KNOCK[:100])
    finished = finish_checksum(packet)
    assert len(finished) == len(packet)
    assert checksums_are_right(finished[: 28 + 100])


near_packets = st.builds(
    lambda packet, offset, value: edited(packet, offset, value)[: len(packet)],
    st.sampled_from([KNOCK4, KNOCK6, KNOCK6_EXTENDED, with_options(KNOCK4, bytes(8))]),
    st.integers(0, 80),
    st.binary(min_size=1, max_size=4),
)


@given(packet=st.one_of(st.binary(max_size=300), near_packets))
def test_no_bytes_raise(packet: bytes) -> None:
    datagram = peel(packet)
    if datagram is Refusal.NOT_UDP:
        return
    assert isinstance(datagram, Datagram)
    assert peel(finish_checksum(packet)) == datagram


# --- build ------------------------------------------------------------------------------------------------------


def test_build_sets_what_it_is_told() -> None:
    packet = build(*V4, b"", hop_limit=7, traffic_class=0x88, identification=0x1234)
    assert (packet[1], packet[4:6], packet[6:8], packet[8]) == (0x88, b"\x12\x34", b"\x40\0", 7)
    packet = build(*V6, b"", hop_limit=7, traffic_class=0x88)
    assert (packet[:4], packet[7]) == (b"\x68\x80\0\0", 7)


@pytest.mark.parametrize("ends", [V4, V6])
def test_a_checksum_of_zero_is_sent_as_ones(ends: tuple[Endpoint, Endpoint]) -> None:
    """Zero would say that there is none, and an IPv6 receiver drops that."""
    probe = build(*ends, bytes(2))
    offset = udp_offset(probe)
    packet = build(*ends, probe[offset + 6 : offset + 8])  # a payload that fills the sum up to all ones
    assert packet[offset + 6 : offset + 8] == b"\xff\xff"
    assert checksums_are_right(packet)


def test_the_mistakes_of_a_caller_are_named() -> None:
    with pytest.raises(InvalidValue, match="both must be IPv4 or both IPv6"):
        build(V4[0], V6[1], b"")
    for ends, most in ((V4, 65507), (V6, 65527)):
        assert len(build(*ends, bytes(most))) in (65535, 65575)
        with pytest.raises(InvalidValue, match=f"payload of {most + 1} bytes"):
            build(*ends, bytes(most + 1))

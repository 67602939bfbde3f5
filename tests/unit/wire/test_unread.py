"""Packets in which an initiation may be and is not found: each is told with its reason, and no other is."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.wire.vectors import HANDSHAKES, PACKETS
from wgjit.core.knock.observe import observe_packet
from wgjit.wire.endpoint import Endpoint
from wgjit.wire.noise import Responder
from wgjit.wire.packets import build
from wgjit.wire.unread import CUT, FRAGMENT, Tally, Unread, why_unread

INITIATIONS = [handshake.packets["initiation"] for handshake in HANDSHAKES]
V4 = next(packet for packet in INITIATIONS if packet[0] >> 4 == 4)
V6 = next(packet for packet in INITIATIONS if packet[0] >> 4 == 6)
A, B = Endpoint.parse("192.0.2.7:4000"), Endpoint.parse("192.0.2.2:51820")


def udp(payload: bytes, port: int = 51820) -> bytes:
    return build(A, Endpoint(B.address, port), payload)


def v4(protocol: int, payload: bytes = bytes(40), fragment: int = 0) -> bytes:
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 1, fragment, 64, protocol, 0)
    return head + A.address + B.address + payload


def v6(kind: int, payload: bytes) -> bytes:
    return struct.pack("!IHBB16s16s", 6 << 28, len(payload), kind, 64, bytes(16), bytes(16)) + payload


def test_what_is_whole_and_no_initiation_is_read() -> None:
    for packet in PACKETS:
        assert why_unread(packet) is None or packet in INITIATIONS
    for packet in (udp(b""), udp(bytes(1400)), v4(6), v4(1), v6(58, bytes(40)), v6(59, b"")):
        assert why_unread(packet) is None


@pytest.mark.parametrize("packet", [V4, V6])
def test_an_initiation_that_is_cut_anywhere_is_told(packet: bytes) -> None:
    for size in range(len(packet)):
        assert why_unread(packet[:size]) == CUT, size


def test_what_is_cut_and_no_initiation_for_certain_is_read() -> None:
    for packet in (
        udp(bytes(1400))[:60],
        udp(b"\x04" + bytes(147))[:60],
        v4(6, bytes(1000))[:40],
        v6(6, bytes(99))[:60],
    ):
        assert why_unread(packet) is None


@pytest.mark.parametrize("fragment", [0x2000, 0x0010, 0x2010])
def test_fragments_of_what_may_hold_one_are_told(fragment: int) -> None:
    assert why_unread(v4(17, V4[20:], fragment)) == FRAGMENT
    assert why_unread(v4(47, bytes(40), fragment)) == FRAGMENT
    assert why_unread(v4(6, bytes(40), fragment)) is None, "TCP"


@pytest.mark.parametrize("place", [0, 1, 8, 9])
def test_fragments_of_ipv6_are_told_also_one_that_is_the_whole(place: int) -> None:
    header = struct.pack("!BBHI", 17, 0, place, 1)
    assert why_unread(v6(44, header + V6[40:])) == FRAGMENT
    assert why_unread(v6(0, b"\x2c\0" + bytes(6) + header + V6[40:])) == FRAGMENT
    assert why_unread(v6(44, struct.pack("!BBHI", 6, 0, place, 1) + bytes(40))) is None, "TCP"


def test_a_packet_on_its_way_by_source_routing_is_told() -> None:
    assert why_unread(v6(43, b"\x11\0\0\x01" + bytes(4) + V6[40:])) == "IPv6 source routing"


@pytest.mark.parametrize(
    ("packet", "why"),
    [
        (v4(47), "GRE"),
        (v4(4), "IP in IP"),
        (v4(41), "IPv6 in IP"),
        (v4(50), "ESP"),
        (v4(137), "MPLS"),
        (v6(47, bytes(20)), "GRE"),
        (v6(41, V6), "IPv6 in IP"),
        (udp(b"\x08\0\0\0" + bytes(60), 4789), "VXLAN"),
        (udp(b"\x08\0\0\0" + bytes(60), 8472), "VXLAN"),
        (udp(b"\0\0\x65\x58" + bytes(60), 6081), "GENEVE"),
        (udp(b"\x30\xff" + bytes(60), 2152), "GTP"),
        (udp(b"\0\0\x10\0" + bytes(60), 6635), "MPLS"),
        (udp(b"\x12\x34\x56\x78" + bytes(60), 4500), "ESP"),
        (udp(b"\x08\0\0\0" + bytes(600), 4789)[:90], "VXLAN"),
    ],
)
def test_tunnels_are_told(packet: bytes, why: str) -> None:
    assert why_unread(packet) == why


@pytest.mark.parametrize("port", [4789, 4500, 1701])
def test_a_gateway_may_listen_on_a_tunnels_port(port: int) -> None:
    for kind in (2, 3, 4):
        assert why_unread(udp(bytes([kind, 0, 0, 0]) + bytes(88), port)) is None


def test_what_only_keeps_a_nat_alive_or_is_ike_is_read() -> None:
    assert why_unread(udp(b"\xff", 4500)) is None
    assert why_unread(udp(bytes(4) + b"\x11" * 60, 4500)) is None


def test_a_tally_tells_the_most_frequent_reason_first_and_what_to_do() -> None:
    tally = Tally()
    tally.unread.update({FRAGMENT: 1, CUT: 3, Unread("GRE"): 2})
    assert tally.told() == (
        "6 of them were not read, and may hold some: 3 cut short by the capture's snap length, 2 GRE, 1 IP fragments "
        "(capture whole packets: tcpdump -s 0)"
    )
    tally.unread = type(tally.unread)({Unread("GRE"): 1})
    assert "tcpdump" not in tally.told()


@given(st.binary(max_size=120))
def test_no_bytes_raise(packet: bytes) -> None:
    why = why_unread(packet)
    assert why is None or why


@given(st.sampled_from(INITIATIONS), st.integers(0, 200))
def test_an_initiation_is_found_or_told_of_never_neither(packet: bytes, size: int) -> None:
    part = packet[:size]
    assert observe_packet(Responder(HANDSHAKES[0].responder), part, 0.0) or why_unread(part)

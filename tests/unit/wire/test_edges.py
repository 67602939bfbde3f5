"""Ends of ranges and rare branches of packets, endpoints, timestamps and texts: breaks of these went unnoticed."""

from __future__ import annotations

import base64
import random
import struct

import pytest

from wgjit.errors import InvalidValue
from wgjit.refusal import Refusal
from wgjit.wire.bpf import capture_filter
from wgjit.wire.endpoint import Endpoint
from wgjit.wire.key_text import without_keys
from wgjit.wire.keys import PublicKey
from wgjit.wire.packets import Datagram, build, finish_checksum, peel
from wgjit.wire.tai64n import Tai64n

V4 = Endpoint.parse("192.0.2.1:4000"), Endpoint.parse("198.51.100.1:51820")
V6 = Endpoint.parse("[2001:db8::1]:4000"), Endpoint.parse("[2001:db8::2]:51820")

# --- packets ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ends", [V4, V6], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("size", [0, 1, 247, 248, 1000, 9000, 0xFFFF - 28])
def test_payloads_of_all_sizes_come_out_as_they_went_in(ends: tuple[Endpoint, Endpoint], size: int) -> None:
    """Both bytes of each length count, and an empty payload is one."""
    payload = random.Random(size).randbytes(size)
    packet = build(*ends, payload)
    assert peel(packet) == Datagram(*ends, payload)
    assert finish_checksum(packet) == packet
    if len(packet) + 4 <= 0xFFFF and ends is V4:
        header = b"\x46" + packet[1:2] + struct.pack("!H", len(packet) + 4) + packet[4:20] + bytes(4)
        assert peel(header + packet[20:]) == Datagram(*ends, payload)


def test_only_the_first_byte_says_what_follows() -> None:
    """The second one may be 0x45, too: a type of service, or a traffic class with a flow label."""
    for ends in (V4, V6):
        packet = build(*ends, b"payload")
        assert peel(packet[:1] + b"\x45" + packet[2:]) == Datagram(*ends, b"payload")


@pytest.mark.parametrize("kind", [6, 43, 58, 59])
@pytest.mark.parametrize("size", [256, 2048, 2560])
def test_what_has_no_udp_header_is_not_read_at_another_place(kind: int, size: int) -> None:
    """ICMPv6 and others, of sizes that would read as a UDP header's length within the first bytes of the packet."""
    body = bytes([59, 0, 4, 1]) + bytes(size - 4)
    packet = struct.pack("!IHBB16s16s", 6 << 28, size, kind, 64, V6[0].address, V6[1].address) + body
    assert peel(packet) is Refusal.NOT_UDP


# --- the capture filter -----------------------------------------------------------------------------------------


def test_the_filters_ports_are_1_to_65535() -> None:
    assert capture_filter(1) != capture_filter(65535)
    for port in (0, -1, 65536):
        with pytest.raises(InvalidValue, match="must be 1 to 65535"):
            capture_filter(port)


def test_a_filters_instructions_have_no_jumps_where_there_are_none() -> None:
    """The kernel refuses some and ignores others; tools that print a filter show them."""
    for code, if_true, if_false, _ in capture_filter(51820):
        if code & 0x07 != 0x05 or code == 0x05:  # BPF_JMP, but for `ja`
            assert (if_true, if_false) == (0, 0)


# --- endpoints --------------------------------------------------------------------------------------------------


def test_packets_may_come_from_port_0() -> None:
    assert Endpoint.parse("192.0.2.1:0").port == 0


@pytest.mark.parametrize("text", ["[::1:5", "::1]:5", "[:5", "[]:5", "[192.0.2.1:5"])
def test_brackets_come_in_pairs(text: str) -> None:
    with pytest.raises(InvalidValue):
        Endpoint.parse(text)


def test_an_ipv4_mapped_address_is_an_ipv4_address_on_the_wire() -> None:
    mapped = Endpoint.parse("[::ffff:192.0.2.1]:4000")
    assert mapped.unmapped == V4[0]
    assert V4[0].unmapped == V4[0]
    assert V6[0].unmapped == V6[0]
    assert Endpoint(mapped.address, 4000, scope=7).unmapped.scope == 0


# --- keys -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strange", ["!", " ", "\n", "-", "_"])
def test_characters_that_base64_does_not_have_are_not_skipped(strange: str) -> None:
    text = base64.b64encode(bytes(range(32))).decode()
    with pytest.raises(InvalidValue):
        PublicKey.parse(text[:10] + strange + text[10:])


# --- timestamps -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nanoseconds", [0, 1, 999_999_999, 1_000_000_000, 1_800_000_000 * 10**9 + 123_456_789])
def test_a_timestamp_reads_what_it_writes(nanoseconds: int) -> None:
    stamp = Tai64n.from_unix_ns(nanoseconds)
    assert Tai64n.parse(str(stamp)) == stamp
    assert Tai64n.parse("@" + stamp.hex()) == stamp
    assert stamp.unix == pytest.approx(nanoseconds / 1e9)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@",
        "@00",
        "@" + "0" * 23 + "x",
        "2026-01-31T12:00:00Z",
        "2026-01-31T12:00:00.1Z",
        "2026-01-31T12:00:00.00000000xZ",
        "2026-01-31T12:00:00.0000000000Z",
        "x.000000000Z",
    ],
)
def test_text_that_is_no_timestamp_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue, match="write 2026-01-31T12"):
        Tai64n.parse(text)


def test_a_whole_second_of_nanoseconds_is_in_no_calendar() -> None:
    assert str(Tai64n(Tai64n.from_unix_ns(0)[:8] + (10**9).to_bytes(4, "big"))).startswith("@")
    assert str(Tai64n(Tai64n.from_unix_ns(0)[:8] + (10**9 - 1).to_bytes(4, "big"))).endswith(".999999999Z")


def test_nanoseconds_count_and_the_ends_hold() -> None:
    stamp = Tai64n.from_unix_ns(5 * 10**9 + 0x12345678)
    assert stamp.since(Tai64n.from_unix_ns(5 * 10**9)) == 0x12345678 / 1e9
    assert stamp.later(0.25) == Tai64n.from_unix_ns(5 * 10**9 + 0x12345678 + 250_000_000)
    assert stamp.later(-2e19) == Tai64n(bytes(12))
    greatest = Tai64n(b"\xff" * 8 + (10**9 - 1).to_bytes(4, "big"))
    assert stamp.later(2e19) == greatest.later(1.0) == greatest


# --- texts with keys --------------------------------------------------------------------------------------------


def test_only_the_key_is_left_out_of_a_text() -> None:
    one, two = (base64.b64encode(random.Random(number).randbytes(32)).decode() for number in (1, 2))
    assert without_keys(f"peer 7: {one} is bad") == "peer 7: (key left out) is bad"
    assert without_keys(f"{one}, {two}!") == "(key left out), (key left out)!"
    assert without_keys("peer 7 is bad") == "peer 7 is bad"
    escaped = one.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D")
    assert without_keys(f"a%20b {escaped} c") == "a b (key left out) c"
    assert without_keys(f"a%20b {one} c") in ("a%20b (key left out) c", "a b (key left out) c")

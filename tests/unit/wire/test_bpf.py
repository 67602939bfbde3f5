"""The capture filter, run by the kernel over packets and held against a plain reading of what it should pass.

A filter on one end of a Unix datagram socket pair sees each message from its first byte on, as it sees a packet from
its IP header on, and attaching it needs no privilege.
"""

from __future__ import annotations

import ctypes
import errno
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wgjit.errors import InvalidValue
from wgjit.refusal import Refusal
from wgjit.wire.bpf import Program, capture_filter
from wgjit.wire.endpoint import Endpoint
from wgjit.wire.packets import build, peel

PORT = 51820
SO_ATTACH_FILTER = 26

V4 = Endpoint.parse("192.0.2.1:4000"), Endpoint.parse(f"192.0.2.2:{PORT}")
V6 = Endpoint.parse("[2001:db8::1]:4000"), Endpoint.parse(f"[2001:db8::2]:{PORT}")
BOTH = [pytest.param(V4, id="IPv4"), pytest.param(V6, id="IPv6")]


class Sieve:
    """A program in the kernel: `passes(packet)` runs it."""

    def __init__(self, program: Program) -> None:
        self._in, self._out = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        code = ctypes.create_string_buffer(program.encode())
        fprog = struct.pack("@HP", len(program), ctypes.addressof(code))
        self._out.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, fprog)

    def passes(self, packet: bytes) -> bool:
        self._in.send(packet)
        try:
            received = self._out.recv(1 << 17, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        assert received == packet, "the filter cut the packet"
        return True

    def close(self) -> None:
        self._in.close()
        self._out.close()


@contextmanager
def sieve(**options: bool) -> Iterator[Sieve]:
    made = Sieve(capture_filter(PORT, **options))
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def knocks() -> Iterator[Sieve]:
    with sieve() as made:
        yield made


@pytest.fixture(scope="module")
def answers() -> Iterator[Sieve]:
    with sieve(responses=True) as made:
        yield made


def edited(packet: bytes, offset: int, value: bytes) -> bytes:
    return packet[:offset] + value + packet[offset + len(value) :]


def with_options(packet: bytes, words: int) -> bytes:
    """An IPv4 packet with that many words of padding options."""
    total = struct.pack("!H", len(packet) + 4 * words)
    return bytes([0x45 + words]) + packet[1:2] + total + packet[4:20] + b"\1" * (4 * words) + packet[20:]


def expected(packet: bytes, responses: bool) -> bool:
    """The filter's contract, read plainly."""
    if not packet:
        return False
    if 0x45 <= packet[0] <= 0x4F:
        if len(packet) < 10 or packet[9] != 17 or int.from_bytes(packet[6:8], "big") & 0x3FFF:
            return False
        udp = packet[(packet[0] & 15) * 4 :]
    elif packet[0] >> 4 == 6:
        if len(packet) < 7 or packet[6] != 17:
            return False
        udp = packet[40:]
    else:
        return False
    if udp[2:4] != PORT.to_bytes(2, "big"):
        return False
    payload = udp[8 : int.from_bytes(udp[4:6], "big")]
    hidden = (3, 4) if responses else (2, 3, 4)
    return len(payload) < 4 or payload[:4] not in [bytes([kind, 0, 0, 0]) for kind in hidden]


PAYLOADS = [
    (b"\x01\0\0\0" + bytes(144), True),
    (b"\x01\0\0\0" + bytes(10), True),
    (b"\x02\0\0\0" + bytes(88), False),
    (b"\x03\0\0\0" + bytes(60), False),
    (b"\x04\0\0\0" + bytes(28), False),
    (b"\x04\0\0\0" + bytes(1400), False),
    (b"\x04\0\0\0", False),
    (b"\x04\0\0\1" + bytes(28), True),
    (b"\x04\0\1\0" + bytes(28), True),
    (b"\x04\1\0\0" + bytes(28), True),
    (b"\0\0\0\x04" + bytes(28), True),
    (b"\x05\0\0\0" + bytes(28), True),
    (b"\x00\0\0\0" + bytes(28), True),
    (b"GET / HTTP/1.1\r\n", True),
    (b"\x04\0\0", True),
    (b"\x04", True),
    (b"", True),
]


@pytest.mark.parametrize("ends", BOTH)
@pytest.mark.parametrize(("payload", "passed"), PAYLOADS)
def test_only_messages_of_a_running_session_are_held_back(
    knocks: Sieve, ends: tuple[Endpoint, Endpoint], payload: bytes, passed: bool
) -> None:
    packet = build(*ends, payload)
    assert knocks.passes(packet) is passed is expected(packet, responses=False)


@pytest.mark.parametrize("ends", BOTH)
def test_responses_pass_when_asked_for(knocks: Sieve, answers: Sieve, ends: tuple[Endpoint, Endpoint]) -> None:
    response, cookie, data = (build(*ends, bytes([kind, 0, 0, 0]) + bytes(60)) for kind in (2, 3, 4))
    assert [answers.passes(packet) for packet in (response, cookie, data)] == [True, False, False]
    assert not knocks.passes(response)


@pytest.mark.parametrize("ends", BOTH)
@pytest.mark.parametrize(
    "port", [PORT - 1, PORT + 1, 0, PORT ^ 0x8000, int.from_bytes(PORT.to_bytes(2, "big"), "little")]
)
def test_other_ports_do_not_pass(knocks: Sieve, ends: tuple[Endpoint, Endpoint], port: int) -> None:
    assert not knocks.passes(build(ends[0], ends[1]._replace(port=port), b"\x01\0\0\0" + bytes(144)))
    assert not knocks.passes(build(ends[0]._replace(port=PORT), ends[1]._replace(port=port), bytes(148)))


KNOCK4, KNOCK6 = (build(*ends, b"\x01\0\0\0" + bytes(144)) for ends in (V4, V6))
DATA4 = build(*V4, b"\x04\0\0\0" + bytes(28))


@pytest.mark.parametrize(
    ("packet", "passed"),
    [
        pytest.param(KNOCK4, True, id="a knock"),
        pytest.param(with_options(KNOCK4, 1), True, id="IPv4 options"),
        pytest.param(with_options(KNOCK4, 10), True, id="all the options that fit"),
        pytest.param(with_options(DATA4, 10), False, id="data behind options"),
        pytest.param(edited(KNOCK4, 6, b"\x20\0"), False, id="more fragments"),
        pytest.param(edited(KNOCK4, 6, b"\x00\1"), False, id="a later fragment"),
        pytest.param(edited(KNOCK4, 6, b"\x40\0"), True, id="do not fragment"),
        pytest.param(edited(KNOCK4, 9, b"\x06"), False, id="TCP in IPv4"),
        pytest.param(edited(KNOCK6, 6, b"\x06"), False, id="TCP in IPv6"),
        pytest.param(edited(KNOCK6, 6, b"\x2c"), False, id="IPv6 fragment"),
        pytest.param(edited(KNOCK6, 6, b"\x00"), False, id="IPv6 hop-by-hop"),
        pytest.param(
            edited(edited(KNOCK4, 0, b"\x44"), 18, PORT.to_bytes(2, "big")),
            False,
            id="IPv4 header of 16 bytes, port behind",
        ),
        pytest.param(edited(KNOCK4, 0, b"\x55"), False, id="version 5"),
        pytest.param(edited(edited(KNOCK4, 0, b"\x50"), 2, PORT.to_bytes(2, "big")), False, id="version 5, no header"),
        pytest.param(edited(KNOCK6, 0, b"\x70"), False, id="version 7, as IPv6"),
        pytest.param(edited(KNOCK4, 0, b"\x75"), False, id="version 7"),
        pytest.param(edited(KNOCK4, 0, b"\xf5"), False, id="version 15"),
        pytest.param(edited(KNOCK4, 0, b"\x05"), False, id="version 0"),
        pytest.param(edited(KNOCK6, 0, b"\x6f\xff\xff\xff"), True, id="IPv6 traffic class and flow label"),
        pytest.param(build(*V4, b"\x04") + bytes(17), True, id="one byte and link padding"),
        pytest.param(DATA4 + bytes(18), False, id="data and link padding"),
        pytest.param(DATA4[:29], True, id="cut after the first byte of the type"),
    ],
)
def test_headers(knocks: Sieve, packet: bytes, passed: bool) -> None:
    assert knocks.passes(packet) is passed is expected(packet, responses=False)


@pytest.mark.parametrize("packet", [KNOCK4, KNOCK6, DATA4, with_options(KNOCK4, 3)])
def test_every_truncation(knocks: Sieve, packet: bytes) -> None:
    for size in range(len(packet)):
        assert knocks.passes(packet[:size]) is expected(packet[:size], responses=False), size


def ipv4_header(first: int, fragment: int, protocol: int, filling: bytes) -> bytes:
    return bytes([first]) + filling[:5] + struct.pack("!HBB", fragment, 64, protocol) + filling[5:]


def ipv6_header(first: int, protocol: int, filling: bytes) -> bytes:
    return bytes([first]) + filling[:5] + bytes([protocol]) + filling[-33:]


protocols = st.sampled_from([17, 17, 17, 6, 44])
headers = st.one_of(
    st.builds(
        ipv4_header,
        st.sampled_from([0x44, 0x45, 0x46, 0x4F, 0x50]),
        st.sampled_from([0, 0, 0x4000, 0x2000, 1]),
        protocols,
        st.sampled_from([15, 15, 19, 55]).flatmap(lambda size: st.binary(min_size=size, max_size=size)),
    ),
    st.builds(ipv6_header, st.sampled_from([0x60, 0x6B, 0x70]), protocols, st.binary(min_size=33, max_size=33)),
)
udp_headers = st.builds(
    lambda port, length: struct.pack("!HHHH", 4660, port, length, 0),
    st.sampled_from([PORT, PORT, PORT + 1]),
    st.integers(0, 200),
)
typed = st.builds(lambda kind, rest: bytes([kind, 0, 0, 0]) + rest, st.integers(0, 5), st.binary(max_size=200))
packets_near_the_edge = st.builds(
    lambda ip, udp, payload, cut: (ip + udp + payload)[:cut],
    headers,
    udp_headers,
    st.one_of(st.binary(max_size=200), typed),
    st.one_of(st.none(), st.integers(1, 90)),
)


@settings(max_examples=1000, deadline=None)
@given(packet=st.one_of(packets_near_the_edge, st.binary(min_size=1, max_size=300)))
def test_the_kernel_agrees_with_the_plain_reading(knocks: Sieve, answers: Sieve, packet: bytes) -> None:
    assert knocks.passes(packet) is expected(packet, responses=False)
    assert answers.passes(packet) is expected(packet, responses=True)


@settings(max_examples=500, deadline=None)
@given(
    ends=st.sampled_from([V4, V6]),
    payload=st.one_of(st.binary(max_size=300), typed),
    option_words=st.integers(0, 10),
    port=st.sampled_from([PORT, PORT, PORT, PORT + 1]),
)
def test_whole_packets(
    knocks: Sieve, ends: tuple[Endpoint, Endpoint], payload: bytes, option_words: int, port: int
) -> None:
    """Random payloads in real packets: the decision depends on the port and the first payload word alone."""
    packet = build(ends[0], ends[1]._replace(port=port), payload)
    if ends is V4:
        packet = with_options(packet, option_words)
    datagram = peel(packet)
    assert not isinstance(datagram, Refusal)
    held_back = payload[:4] in (b"\2\0\0\0", b"\3\0\0\0", b"\4\0\0\0")
    assert knocks.passes(packet) is (datagram.destination.port == PORT and not held_back)


def test_xt_bytecode_is_the_same_program() -> None:
    program = capture_filter(PORT)
    count, *instructions = program.xt_bytecode().split(",")
    assert int(count) == len(program) == len(instructions) <= 64  # XT_BPF_MAX_NUM_INSTR
    again = b"".join(struct.pack("=HBBI", *map(int, text.split())) for text in instructions)
    assert again == program.encode()
    assert len(again) == 8 * len(program)


def test_the_kernel_refuses_a_broken_program() -> None:
    """So that a pass above means something: the kernel does check what is attached."""
    with pytest.raises(OSError, match="Invalid argument") as caught:
        Sieve(Program(capture_filter(PORT)[:-1]))
    assert caught.value.errno == errno.EINVAL


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_a_port_out_of_range_is_named(port: int) -> None:
    with pytest.raises(InvalidValue, match=f"port {port}"):
        capture_filter(port)

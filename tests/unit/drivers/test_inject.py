"""What a replay refuses before it touches the kernel, and how it marks what it puts back."""

from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgjit.drivers.base import Captured
from wgjit.drivers.replay.inject import ReplayInjector
from wgjit.drivers.replay.mark import SOURCE_MAC, is_marked, mark
from wgjit.errors import InjectError
from wgjit.wire.endpoint import Endpoint
from wgjit.wire.packets import build, finish_checksum, peel

PACKETS = [
    build(Endpoint.parse("198.51.100.7:40000"), Endpoint.parse("192.0.2.1:51820"), bytes(148), traffic_class=0xFF),
    build(Endpoint.parse("[2001:db8::7]:40000"), Endpoint.parse("[2001:db8::1]:51820"), bytes(148), traffic_class=0xFF),
]


@pytest.mark.parametrize("packet", [b"", b"\x45", b"\x60" + bytes(50), bytes(200), PACKETS[0][:-1], PACKETS[1][:-1]])
def test_what_is_no_whole_udp_packet_is_refused(packet: bytes) -> None:
    with (
        closing(ReplayInjector(live_frames=False)) as injector,
        pytest.raises(InjectError, match="no whole UDP packet"),
    ):
        injector.inject(Captured(packet, 1))


def test_a_link_local_answer_could_not_leave_loopback() -> None:
    source, destination = Endpoint.parse("[fe80::2]:51820"), Endpoint.parse("[fe80::1]:51820")
    with closing(ReplayInjector(live_frames=False)) as injector, pytest.raises(InjectError, match="link-local"):
        injector.inject(Captured(build(source, destination, bytes(148)), 1))


@pytest.mark.parametrize("packet", PACKETS)
def test_a_mark_changes_nothing_but_one_field(packet: bytes) -> None:
    marked = mark(packet)
    assert is_marked(marked)
    assert not is_marked(packet)
    assert peel(marked) == peel(packet)
    field = range(4, 6) if packet[0] >> 4 == 4 else range(1, 4)
    assert all(a == b for i, (a, b) in enumerate(zip(packet, marked, strict=True)) if i not in field)
    assert marked[1] & 0xF0 == packet[1] & 0xF0
    if packet[0] >> 4 == 6:
        assert finish_checksum(marked) == marked, "the UDP checksum does not cover it"


@given(st.binary(max_size=60))
def test_any_bytes_can_be_asked_for_a_mark(packet: bytes) -> None:
    assert is_marked(packet) in (True, False)


def test_the_source_address_is_local_and_unicast() -> None:
    assert len(SOURCE_MAC) == 6
    assert SOURCE_MAC[0] & 0b11 == 0b10

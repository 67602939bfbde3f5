"""Capture files: every format, byte order and link type; and files that are damaged, cut or foreign."""

from __future__ import annotations

import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.wire.captures import LINKS, MACS, block, enhanced, interface, pcap, section, simple
from tests.unit.wire.vectors import PACKETS
from wgjit.errors import InvalidValue
from wgjit.wire.pcap import read_packets
from wgjit.wire.unread import CUT, Tally

TIMES = [1_700_000_000.0 + number * 0.015625 for number in range(len(PACKETS))]  # exact in binary and in microseconds
STAMPED = list(zip(TIMES, PACKETS, strict=True))
ARP = MACS + b"\x08\x06" + bytes(28)


def read(file: bytes) -> list[tuple[float | None, bytes]]:
    return list(read_packets(io.BytesIO(file)))


def read_until_fault(file: bytes) -> tuple[list[bytes], str | None]:
    """All packets up to the fault, and the fault's text, None if there is none."""
    packets: list[bytes] = []
    try:
        packets.extend(packet for _, packet in read_packets(io.BytesIO(file)))
    except InvalidValue as fault:
        return packets, str(fault)
    return packets, None


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("nanoseconds", [False, True])
@pytest.mark.parametrize("link", LINKS)
def test_pcap(order: str, nanoseconds: bool, link: str) -> None:
    link_type, frame = LINKS[link]
    file = pcap([(time, frame(packet)) for time, packet in STAMPED], link_type, order=order, nanoseconds=nanoseconds)
    assert read(file) == [(pytest.approx(time, abs=1e-6), packet) for time, packet in STAMPED]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("link", LINKS)
def test_pcapng(order: str, link: str) -> None:
    link_type, frame = LINKS[link]
    blocks = [enhanced(frame(packet), round(time * 1e6), order=order) for time, packet in STAMPED]
    assert read(section(order) + interface(link_type, order) + b"".join(blocks)) == STAMPED


def test_the_high_bits_of_a_pcap_link_type_are_about_checksums() -> None:
    ethernet = [(time, LINKS["Ethernet"][1](packet)) for time, packet in STAMPED]
    assert read(pcap(ethernet, 1 | 0x1400_0000 | 4 << 28)) == STAMPED


@pytest.mark.parametrize(
    ("options", "ticks_per_second", "offset"),
    [
        pytest.param([], 10**6, 0, id="microseconds unless said"),
        pytest.param([(9, b"\x09")], 10**9, 0, id="nanoseconds"),
        pytest.param([(2, b"eth0"), (9, b"\x03"), (12, b"Linux")], 10**3, 0, id="milliseconds among other options"),
        pytest.param([(9, b"\x8a")], 2**10, 0, id="1/1024 s"),
        pytest.param([(14, struct.pack("<q", 1000))], 10**6, 1000, id="seconds to add"),
        pytest.param([(14, struct.pack("<q", -1000)), (9, b"\x00")], 1, -1000, id="whole seconds, some to take off"),
    ],
)
def test_pcapng_time_stamps(options: list[tuple[int, bytes]], ticks_per_second: int, offset: int) -> None:
    ticks = 1_700_000_000 * ticks_per_second
    file = section() + interface(101, options=options) + enhanced(PACKETS[0], ticks)
    assert read(file) == [(pytest.approx(1_700_000_000 + offset), PACKETS[0])]


def test_pcapng_with_several_interfaces_and_sections() -> None:
    ethernet, sll2 = LINKS["Ethernet"][1], LINKS["SLL2"][1]
    file = (
        section("<")
        + interface(1)
        + interface(276, options=[(9, b"\x09")])
        + enhanced(sll2(PACKETS[0]), 5 * 10**9, number=1)
        + block(0x0BAD, b"unknown blocks are skipped")
        + enhanced(ethernet(PACKETS[1]), 6 * 10**6, number=0)
        + section(">")  # interfaces count anew, and the byte order changes
        + interface(101, ">")
        + enhanced(PACKETS[2], 7 * 10**6, order=">")
    )
    assert read(file) == [(5.0, PACKETS[0]), (6.0, PACKETS[1]), (7.0, PACKETS[2])]


def test_pcapng_simple_packets_have_no_time_and_may_be_cut() -> None:
    packet = PACKETS[0]
    assert read(section() + interface(101) + simple(packet)) == [(None, packet)]
    cut = simple(packet[:61], original=len(packet))
    assert read(section() + interface(101, snap_length=61) + cut) == [(None, packet[:61])]


def test_what_is_not_ip_is_skipped() -> None:
    frame = LINKS["Ethernet"][1]
    runts = [b"", ARP[:12], ARP[:14], MACS + b"\x08\x00", MACS + b"\x81\x00", MACS + b"\x81\x00\x00\x05"]
    frames = [ARP, *runts, frame(PACKETS[0]), ARP, frame(PACKETS[1])]
    assert [packet for _, packet in read(pcap([(0, each) for each in frames], 1))] == [PACKETS[0], PACKETS[1]]
    assert read(pcap([(0, b"\x50" + bytes(40)), (0, b"")], 101)) == []
    assert read(pcap([(0, b"\x07\0\0\0" + PACKETS[0]), (0, b"\2\0\0\0"), (0, b"")], 0)) == []


def test_frames_of_other_link_types_are_counted_also_beside_one_that_is_known() -> None:
    usb = interface(220)
    mixed = section() + usb + interface(101) + enhanced(b"\x45" + bytes(30), 0, 0) + enhanced(PACKETS[0], 0, 1)
    assert counted(mixed) == ([PACKETS[0]], 2, {"link type 220": 1})
    assert counted(section() + usb + enhanced(bytes(30), 0)) == ([], 1, {"link type 220": 1})
    assert counted(pcap([(0, bytes(9)), (1, bytes(9))], 147)) == ([], 2, {"link type 147": 2})
    assert counted(pcap([], 147)) == ([], 0, {})


def test_pcapng_packets_in_the_older_block_are_read() -> None:
    head = struct.pack("<HHIIII", 0, 7, 0, 5_000_000, len(PACKETS[0]), len(PACKETS[0]))
    assert read(section() + interface(101) + block(2, head + PACKETS[0])) == [(5.0, PACKETS[0])]
    with pytest.raises(InvalidValue, match="type 2: too short"):
        read(section() + interface(101) + block(2, bytes(8)))


def counted(file: bytes) -> tuple[list[bytes], int, dict[str, int]]:
    """The packets, the number of all frames, and how many of them were not read by reason."""
    tally = Tally()
    packets = [packet for _, packet in read_packets(io.BytesIO(file), tally)]
    return packets, tally.packets, {str(why): number for why, number in tally.unread.items()}


MPLS = MACS + b"\x88\x47" + bytes(24)


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        (MPLS, "MPLS"),
        (MACS + b"\x88\x48" + bytes(24), "MPLS"),
        (MACS + b"\x81\x00\x00\x05\x88\x47" + bytes(24), "MPLS"),
        (MACS + b"\x88\xe5" + bytes(24), "MACsec"),
        (MACS + b"\x12\x34" + bytes(24), "EtherType 0x1234"),
        (MACS + b"\x88\x64\x11\x00\x00\x01\x00\x10\x02\x81" + bytes(24), "MPLS"),
        (MACS + b"\x88\x64\x11\x00\x00\x01\x00\x10\x00\x3d" + bytes(24), "PPP multilink"),
        (MACS + b"\x88\x64\x11\x00\x00\x01\x00\x10\x12\x34" + bytes(24), "PPP protocol 0x1234"),
        (MACS + b"\x00\x20\xaa\xaa\x03\0\0\0\x88\x47" + bytes(24), "MPLS"),
        (ARP, None),
        (MACS + b"\x88\x63\x11\x09" + bytes(24), None),  # PPPoE discovery
        (MACS + b"\x88\x64\x11\x07" + bytes(24), None),  # and what is not of its session
        (MACS + b"\x88\x64\x11\x00\x00\x01\x00\x10\xc0\x21" + bytes(24), None),  # LCP
        (MACS + b"\x88\x64\x11\x00\x00\x01\x00\x10\x2d" + bytes(24), None),  # TCP, header compressed
        (MACS + b"\x00\x26\x42\x42\x03" + bytes(24), None),  # spanning tree
    ],
)
def test_what_may_carry_ip_and_is_not_read_is_told(frame: bytes, why: str | None) -> None:
    assert counted(pcap([(0, frame)], 1)) == ([], 1, {} if why is None else {why: 1})


@pytest.mark.parametrize("link", LINKS)
def test_a_frame_that_is_cut_within_its_headers_is_told(link: str) -> None:
    link_type, frame = LINKS[link]
    whole = frame(PACKETS[0])
    headers = len(whole) - len(PACKETS[0])
    for size in range(headers + 1):
        cut = struct.pack("<IIII", 0, 0, size, len(whole)) + whole[:size]
        assert counted(pcap([], link_type) + cut) == ([], 1, {str(CUT): 1}), size
        assert counted(pcap([(0, whole[:size])], link_type))[2] == {}, "it was so short on the wire"


def whole_files() -> list[object]:
    ng = section() + interface(101) + b"".join(enhanced(packet, 0) for packet in PACKETS[:3])
    return [pytest.param(pcap([(0, packet) for packet in PACKETS[:3]]), id="pcap"), pytest.param(ng, id="pcapng")]


@pytest.mark.parametrize("file", whole_files())
def test_every_truncation_gives_what_was_whole_and_then_says_so(file: bytes) -> None:
    whole_sizes = []
    for size in range(len(file)):
        packets, fault = read_until_fault(file[:size])
        assert packets == [packet for packet in PACKETS[:3] if file.index(packet) + len(packet) + tail(file) <= size]
        if fault is None:
            whole_sizes.append(size)
        else:
            assert ("it ends within" if size >= 4 else "neither pcap nor pcapng") in fault
    between_records = 3 if tail(file) == 0 else 4  # pcapng has one more: behind the section, before the interface
    assert len(whole_sizes) == between_records


def tail(file: bytes) -> int:
    """What follows a packet in its record: pcapng repeats the block's length."""
    return 4 if file[0] == 0x0A else 0


@pytest.mark.parametrize(
    ("file", "fault"),
    [
        pytest.param(b"", "neither pcap nor pcapng", id="empty"),
        pytest.param(b"\x1f\x8b\x08\x00" + bytes(100), "neither pcap nor pcapng", id="gzip"),
        pytest.param(b"PK\x03\x04" + bytes(100), "neither pcap nor pcapng", id="zip"),
        pytest.param(pcap([])[:10], "ends within the file header", id="half a file header"),
        pytest.param(pcap([]) + struct.pack("<IIII", 0, 0, 1 << 30, 1 << 30), "damaged", id="a record of a gigabyte"),
        pytest.param(section()[:8] + b"abcd" + section()[12:], "unknown byte order", id="no byte order"),
        pytest.param(section() + interface(101)[:-4] + b"\0\0\0\0", "two lengths differ", id="lengths differ"),
        pytest.param(section() + struct.pack("<II", 6, 13), "a block of 13 bytes", id="an odd length"),
        pytest.param(section() + struct.pack("<II", 6, 0), "a block of 0 bytes", id="no length"),
        pytest.param(section() + struct.pack("<II", 6, 0xFFFFFFF0), "damaged", id="a block of 4 GB"),
        pytest.param(section() + enhanced(b"", 0), "interface 0 is not described", id="no interface"),
        pytest.param(section() + simple(b""), "interface 0 is not described", id="no interface for a simple packet"),
        pytest.param(section() + interface(1) + enhanced(b"", 0, 1), "interface 1 is not", id="no such interface"),
        pytest.param(section() + interface(1) + block(6, bytes(8)), "type 6: too short", id="short packet block"),
        pytest.param(section() + interface(1) + block(3, b""), "type 3: too short", id="short simple packet block"),
        pytest.param(section() + block(1, bytes(4)), "type 1: too short", id="short interface block"),
        pytest.param(
            section() + interface(1) + block(6, struct.pack("<IIIII", 0, 0, 0, 400, 400) + bytes(8)),
            "longer than the block",
            id="packet longer than its block",
        ),
    ],
)
def test_faults_are_named(file: bytes, fault: str) -> None:
    with pytest.raises(InvalidValue, match=f"^capture file: .*{fault}"):
        read(file)


def damaged(file: bytes, offset: int, value: bytes) -> bytes:
    return file[: offset % len(file)] + value + file[offset % len(file) + len(value) :]


SMALL = [
    pcap([(0, LINKS["SLL"][1](PACKETS[0]))] * 2, 113),
    section() + interface(1, options=[(9, b"\x09"), (14, bytes(8))]) + enhanced(ARP, 0) + simple(ARP),
]
files: st.SearchStrategy[bytes] = st.one_of(
    st.binary(max_size=100),
    st.builds(
        lambda magic, rest: magic + rest, st.sampled_from([file[:24] for file in SMALL]), st.binary(max_size=100)
    ),
    st.builds(damaged, st.sampled_from(SMALL), st.integers(0, 1000), st.binary(min_size=1, max_size=8)),
)


@given(file=files)
def test_no_bytes_raise_anything_else(file: bytes) -> None:
    try:
        packets = read(file)
    except InvalidValue:
        return
    assert all(packet for _, packet in packets)

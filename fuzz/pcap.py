"""Invariant: any bytes give packets, then the end or InvalidValue; nothing else is raised.

- A cut file gives the packets of the whole file up to the cut. So no packet depends on the bytes after it.
- The packets, written as a plain pcap of bare IP packets, are read as the same packets.
- The time of a packet is a number or None, and the feed's line of the packet is JSON.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from io import BytesIO
from struct import pack
from typing import Final

from wgjit.core.knock.observe import observe_packet
from wgjit.errors import InvalidValue
from wgjit.wire.keys import PrivateKey
from wgjit.wire.noise import Responder
from wgjit.wire.pcap import Packet, read_packets

_RESPONDER: Final = Responder(PrivateKey(b"\x42" * 32))
_LINK_RAW: Final = 101


def check(data: bytes) -> None:
    """Hold one input to the invariant."""
    packets = _read(data)
    for time, packet in packets:
        assert time is None or math.isfinite(time)
        assert packet
        if record := observe_packet(_RESPONDER, packet, time):
            json.dumps(record.as_dict())

    part = _read(data[: len(data) * 2 // 3])
    assert part == packets[: len(part)]

    bare = [packet for _, packet in packets if packet[0] >> 4 in (4, 6)]
    assert [packet for _, packet in _read(_written(bare))] == bare


def _read(data: bytes) -> list[Packet]:
    packets = []
    try:
        for packet in read_packets(BytesIO(data)):
            packets.append(packet)
    except InvalidValue as error:
        assert str(error).startswith("capture file: ")
    return packets


def _written(packets: Iterable[bytes]) -> bytes:
    records = (pack("<IIII", 1, 2, len(packet), len(packet)) + packet for packet in packets)
    return pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 1 << 18, _LINK_RAW) + b"".join(records)

"""The flood bench's own judgement, and its sender."""

from __future__ import annotations

import socket
from dataclasses import replace

import pytest

from bench.flood import MEMORY_LIMIT, PATIENCE, PROMPT, Outcome, row
from bench.flooder import LAG, Frames, flood
from bench.packets import FRAME_LENGTH

GOOD = Outcome(
    "garbage",
    spoofed=True,
    wgjit=True,
    rate=20_000.0,
    connects=[0.01, 5.2, PATIENCE],
    rekeys=[5.0],
    memory=[50 << 20, 60 << 20, 55 << 20],
    afterwards=0.01,
    status={"waiting": 0, "faults": {}, "captured": 1, "capture_dropped": 3},
)


def test_a_flood_that_went_well_misses_nothing() -> None:
    assert GOOD.missed() == []
    assert row(GOOD)[3:9] == ("20,000", "25%", "3 of 3", "1", "5.20", f"{PATIENCE:.2f}")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"connects": [0.01, None]}, "1 of 2 new clients"),
        ({"connects": []}, "no new clients were tried"),
        ({"rekeys": [None]}, "1 of 1 rekeys"),
        ({"rekeys": []}, "no rekeys were tried"),
        ({"memory": [0, MEMORY_LIMIT + 1, 0]}, "memory grew"),
        ({"afterwards": None}, "after the flood"),
        ({"afterwards": PROMPT + 0.1}, "after the flood"),
        ({"strangers": 1}, "1 peers are installed"),
        ({"status": GOOD.status | {"waiting": 2}}, "2 knocks wait"),
        ({"status": GOOD.status | {"faults": {"store": 1}}}, "faults"),
    ],
)
def test_each_goal_can_be_missed(change: dict[str, object], said: str) -> None:
    (missed,) = replace(GOOD, **change).missed()  # type: ignore[arg-type]
    assert said in missed
    assert missed.startswith("garbage from 50000")


def frame(number: int) -> bytes:
    return number.to_bytes(2, "big") * (FRAME_LENGTH // 2)


def test_frames_are_sent_whole_in_order_and_not_past_the_last() -> None:
    frames = Frames(b"".join(frame(n) for n in range(10)))
    out, into = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with out, into:
        assert frames.send(out.fileno(), 7, 5) == 3
        assert [into.recv(2048) for _ in range(3)] == [frame(7), frame(8), frame(9)]
        assert frames.send(out.fileno(), 0, 2) == 2
        assert [into.recv(2048) for _ in range(2)] == [frame(0), frame(1)]
    with pytest.raises(OSError, match="descriptor"):
        frames.send(-1, 0, 1)


@pytest.mark.parametrize("data", [b"", b"x" * (FRAME_LENGTH + 1)])
def test_a_file_that_holds_no_whole_frames_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="multiple"):
        Frames(data)


def test_a_flood_never_exceeds_its_rate() -> None:
    frames = Frames(b"".join(frame(n) for n in range(3)))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as into, socket.socket(type=socket.SOCK_DGRAM) as out:
        into.bind(("127.0.0.1", 0))
        out.connect(into.getsockname())
        sent, took = flood(frames, out, rate=1000, seconds=0.2)
        into.setblocking(False)
        got = [into.recv(2048) for _ in range(min(sent, 100))]
    assert 1 <= sent <= 1000 * (took + LAG)
    assert got[:4] == [frame(0), frame(1), frame(2), frame(0)][: len(got)]

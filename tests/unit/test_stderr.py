"""Standard error that nobody reads: what is written to it neither raises nor waits, and what is lost is counted."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from wgjit import stderr
from wgjit.stderr import LossyStream


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Its end to read, and its end to write."""
    ends = os.pipe()
    yield ends
    for end in ends:
        with contextlib.suppress(OSError):
            os.close(end)


def fill(end: int) -> int:
    """Write until a pipe takes no more; gives how much that is."""
    os.set_blocking(end, False)
    count = 0
    try:
        while True:
            count += os.write(end, b"." * 65536)
    except BlockingIOError:
        pass
    try:
        while True:
            count += os.write(end, b".")
    except BlockingIOError:
        pass
    os.set_blocking(end, True)
    return count


def test_lines_are_written_whole_as_they_end(pipe: tuple[int, int]) -> None:
    stream = LossyStream(pipe[1])
    print("one", file=stream)
    stream.write("two\nthr")
    assert os.read(pipe[0], 100) == b"one\ntwo\n"
    stream.write("ee\n")
    stream.write("\udcff, and what ends without a newline")
    stream.flush()
    assert os.read(pipe[0], 100) == b"three\n\\udcff, and what ends without a newline"
    assert stream.lost == 0


def test_none_at_all_is_counted() -> None:
    stream = LossyStream(None)
    print("one\ntwo", file=stream, flush=True)
    assert stream.lost == 2
    assert not stream.isatty()
    with pytest.raises(OSError, match="closed"):
        stream.fileno()


def test_a_pipe_whose_reader_is_gone(pipe: tuple[int, int]) -> None:
    stream = LossyStream(pipe[1])
    print("read", file=stream, flush=True)
    os.close(pipe[0])
    print("lost", file=stream, flush=True)
    assert stream.lost == 1


def test_a_full_disk() -> None:
    with open("/dev/full", "wb") as full:
        stream = LossyStream(full.fileno())
        print("lost", file=stream, flush=True)
        assert stream.lost == 1


def test_a_descriptor_that_somebody_closed(pipe: tuple[int, int]) -> None:
    stream = LossyStream(pipe[1])
    os.close(pipe[1])
    print("lost", file=stream, flush=True)
    assert stream.lost == 1
    assert not stream.isatty()


def test_a_pipe_that_nobody_empties_is_not_waited_for_and_says_what_is_missing(pipe: tuple[int, int]) -> None:
    stream = LossyStream(pipe[1])
    count = fill(pipe[1])
    for number in range(3):
        print(f"lost {number}", file=stream, flush=True)  # on a blocking descriptor: it would wait for ever
    assert stream.lost == 3
    while count:
        count -= len(os.read(pipe[0], count))
    print("read", file=stream, flush=True)
    print("read, too", file=stream, flush=True)
    assert os.read(pipe[0], 1000) == b"wgjit: 3 lines of the log were lost here\nread\nread, too\n"
    assert stream.lost == 3


def test_a_line_that_was_cut_ends_before_the_next(pipe: tuple[int, int]) -> None:
    stream = LossyStream(pipe[1])
    count = fill(pipe[1])
    free = 2 * os.sysconf("SC_PAGESIZE")
    read = 0
    while read < free:
        read += len(os.read(pipe[0], free - read))
    print("x" * 100_000, file=stream, flush=True)
    assert stream.lost == 1
    rest = b""
    while len(rest) < count - free or not rest.endswith(b"x"):
        rest += os.read(pipe[0], 65536)
    print("whole", file=stream, flush=True)
    assert os.read(pipe[0], 1000) == b"\nwgjit: 1 line of the log were lost here\nwhole\n".replace(b"were", b"was")


def test_whoever_writes_to_standard_error_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", LossyStream(None))
    stderr.take_over()  # once is enough
    logging.getLogger("asyncio").handlers.clear()
    handler = logging._StderrHandler(logging.WARNING)  # type: ignore[attr-defined]  # what is used where none is set up
    handler.handle(logging.LogRecord("asyncio", logging.ERROR, "", 0, "told by a library", None, None))
    assert stderr.lost_lines() == 1


def test_closed_descriptors_are_not_given_to_the_next_file(tmp_path: Path) -> None:
    program = (
        "import os, sys; from wgjit import stderr; stderr.hold_places(); "
        f"opened = open({str(tmp_path / 'file')!r}, 'w'); "
        "print('lost', file=sys.stderr); print('lost', file=sys.stdout); stderr.take_over(); "
        "os.write(opened.fileno(), f'{opened.fileno()} {stderr.lost_lines()}'.encode())"
    )
    command = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-c", program]
    assert subprocess.run(command, timeout=60).returncode == 0
    number, lost = (tmp_path / "file").read_text().split()
    assert int(number) > 2
    assert lost == "1"

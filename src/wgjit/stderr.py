"""Standard error for servers. A log that nobody reads must neither end a server nor hold it up.

Standard error may be closed at the start, or its reader may end or stop reading, or its disk may be full. So writing
neither raises nor waits. A line that cannot be written at once is lost and counted. The next line that can be written
says how many lines were lost.
"""

from __future__ import annotations

import io
import os
import select
import sys
import threading

_MOST = select.PIPE_BUF
"""Bytes that a writable pipe takes without waiting."""


class LossyStream(io.TextIOBase):
    """A text stream on a descriptor, or without one. Any thread may write. `lost`: number of lines not written."""

    encoding = "utf-8"

    def __init__(self, descriptor: int | None) -> None:
        self.lost = 0
        self._descriptor = descriptor
        self._told = 0  # number of lost lines that the reader has been told of
        self._is_cut = False  # the last write ended within a line
        self._lock = threading.Lock()
        self._begun = threading.local()  # a thread's unfinished line: `print` writes text and newline separately

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self._descriptor is not None and os.isatty(self._descriptor)

    def fileno(self) -> int:
        """The descriptor. Raises OSError if there is none."""
        if self._descriptor is None:
            raise OSError("standard error was closed when this process started")
        return self._descriptor

    def write(self, text: str) -> int:
        """Write all complete lines. The rest waits for the end of its line, or for `flush`."""
        *lines, rest = (getattr(self._begun, "text", "") + text).split("\n")
        self._begun.text = rest
        for line in lines:
            self._put(line + "\n")
        return len(text)

    def flush(self) -> None:
        """Write this thread's unfinished line."""
        if rest := getattr(self._begun, "text", ""):
            self._begun.text = ""
            self._put(rest)

    def _put(self, line: str) -> None:
        with self._lock:
            before = "\n" if self._is_cut else ""
            missing = self.lost - self._told
            note = (
                f"wgjit: {missing} {'line of the log was' if missing == 1 else 'lines of the log were'} lost here\n"
                if missing
                else ""
            )
            if self._send((before + note + line).encode("utf-8", "backslashreplace")):
                self._told = self.lost
            else:
                self.lost += 1

    def _send(self, data: bytes) -> bool:
        """Write the data; whether all of it was written."""
        if self._descriptor is None:
            return False
        ready = select.poll()
        at = 0
        try:
            ready.register(self._descriptor, select.POLLOUT)
            while at < len(data):
                if not ready.poll(0):
                    break  # the descriptor cannot take more now
                at += os.write(self._descriptor, data[at : at + _MOST])
        except (OSError, ValueError):
            pass
        if at:
            self._is_cut = not data[:at].endswith(b"\n")
        return at == len(data)


def hold_places() -> None:
    """Open /dev/null in place of each closed standard descriptor. To be called before anything is opened.

    Else the next file gets the number: the registry could become standard error, and a library's messages would go into
    it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the least free number, which is this one
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - until the process ends
    if sys.stderr is None:
        sys.stderr = LossyStream(None)


def take_over() -> None:
    """Replace `sys.stderr` by a stream that neither raises nor waits."""
    if isinstance(sys.stderr, LossyStream):
        return
    try:
        descriptor = sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):
        descriptor = None
    sys.stderr = LossyStream(descriptor)


def lost_lines() -> int:
    """Number of this process's log lines that could not be written."""
    return sys.stderr.lost if isinstance(sys.stderr, LossyStream) else 0

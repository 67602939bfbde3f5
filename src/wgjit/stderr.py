"""Standard error of what serves: a log that nobody reads must not end it, nor hold it up.

Whoever started us may have closed standard error, end the program that reads it, stop reading, or fill the disk that it
goes to, at the start or later. So nothing that is written here raises or waits: a line that cannot be written now is
lost and counted, and the next one that can be says how many were.
"""

from __future__ import annotations

import io
import os
import select
import sys
import threading

_MOST = select.PIPE_BUF
"""Bytes that a pipe takes without waiting when it says that it can be written to."""


class LossyStream(io.TextIOBase):
    """A text stream on a descriptor, or on none at all; any thread may write. `lost`: lines that were not written."""

    encoding = "utf-8"

    def __init__(self, descriptor: int | None) -> None:
        self.lost = 0
        self._descriptor = descriptor
        self._told = 0  # of the lost ones, how many the reader knows of
        self._is_cut = False  # what was written last is no whole line
        self._lock = threading.Lock()
        self._begun = threading.local()  # a thread's line that has no end yet: `print` writes text and newline apart

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self._descriptor is not None and os.isatty(self._descriptor)

    def fileno(self) -> int:
        """Raises OSError if there is none."""
        if self._descriptor is None:
            raise OSError("standard error was closed when this process started")
        return self._descriptor

    def write(self, text: str) -> int:
        """Write the lines that are whole now; the rest waits for its end, or for `flush`."""
        *lines, rest = (getattr(self._begun, "text", "") + text).split("\n")
        self._begun.text = rest
        for line in lines:
            self._put(line + "\n")
        return len(text)

    def flush(self) -> None:
        """Write what this thread has begun."""
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
        """Whether all of it was written."""
        if self._descriptor is None:
            return False
        ready = select.poll()
        at = 0
        try:
            ready.register(self._descriptor, select.POLLOUT)
            while at < len(data):
                if not ready.poll(0):
                    break  # nobody reads
                at += os.write(self._descriptor, data[at : at + _MOST])
        except (OSError, ValueError):
            pass
        if at:
            self._is_cut = not data[:at].endswith(b"\n")
        return at == len(data)


def hold_places() -> None:
    """Put /dev/null where a standard descriptor is closed. To be called before anything is opened.

    Else the next file takes its number: the registry would be standard error, and what a library writes there would
    go into it.
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
    """From now on `sys.stderr`, for whoever writes there, is one that neither raises nor waits."""
    if isinstance(sys.stderr, LossyStream):
        return
    try:
        descriptor = sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):
        descriptor = None
    sys.stderr = LossyStream(descriptor)


def lost_lines() -> int:
    """Lines of this process's log that could not be written."""
    return sys.stderr.lost if isinstance(sys.stderr, LossyStream) else 0

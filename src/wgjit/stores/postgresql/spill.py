"""Plain peers on their way into the database, given back in the order of keys, whatever their number.

A server inserts rows in key order several times faster than in any other order. Public keys are as good as random, so
their first byte divides them evenly: each of 256 heaps is sorted on its own. What is too much for the memory goes to an
unnamed temporary file, a segment of each heap at a time. Only keys that all begin alike would make one heap of all.
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import IO

from wgjit.errors import StoreError
from wgjit.stores.plain import PLAIN_SIZE

LINE = struct.Struct(">q")
"""Behind each record: twice its line, plus one if the source says that the peer has no labels."""

SIZE = PLAIN_SIZE + LINE.size
"""Bytes of a row: a record of `plain.pack_plain`, and its line."""

_HEAPS = 256

_PENDING = 400_000
"""Rows in memory at most, some 40 MB."""


class Spill:
    """See the head of this file. A StoreError says that the temporary file cannot be written or read."""

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None
        self.clear()

    def clear(self) -> None:
        """Forget all rows, and give their space back."""
        if self._file is not None:
            self._file.close()
        self._file = None
        self._heaps: list[list[bytes]] = [[] for _ in range(_HEAPS)]
        self._segments: list[list[tuple[int, int]]] = [[] for _ in range(_HEAPS)]
        self._pending = self._end = 0
        self._first: list[bytes | None] = [None] * _HEAPS
        self.count = 0
        """Rows in all."""

    def add(self, lines: Sequence[int], records: Sequence[bytes], *, unlabelled: bool) -> None:
        """Take records, and the line of each."""
        heaps, pack, flag = self._heaps, LINE.pack, int(unlabelled)
        for line, record in zip(lines, records, strict=True):
            heaps[record[0]].append(record + pack(line << 1 | flag))
        self.count += len(records)
        self._pending += len(records)
        if self._pending >= _PENDING:
            self._write()

    def rows(self) -> Iterator[list[bytes]]:
        """All rows in the order of keys, a heap at a time. They stay."""
        for heap, segments in zip(self._heaps, self._segments, strict=True):
            rows = [*chain.from_iterable(map(self._read, segments)), *heap]
            if rows:
                rows.sort()
                yield rows

    def sample(self) -> list[bytes]:
        """A key of each heap."""
        rows = (heap[0] if heap else first for heap, first in zip(self._heaps, self._first, strict=True))
        return [row[:32] for row in rows if row is not None]

    def _write(self) -> None:
        """Bring all heaps to the file."""
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile()  # noqa: SIM115 - `clear` closes it
            for number, (heap, segments) in enumerate(zip(self._heaps, self._segments, strict=True)):
                if heap:
                    self._first[number] = heap[0]
                    written = self._file.write(b"".join(heap))
                    segments.append((self._end, written))
                    self._end += written
                    heap.clear()
        except OSError as error:
            raise _failed(error) from None
        self._pending = 0

    def _read(self, segment: tuple[int, int]) -> list[bytes]:
        start, length = segment
        assert self._file is not None
        try:
            self._file.seek(start)
            data = self._file.read(length)
            self._file.seek(0, 2)
        except OSError as error:
            raise _failed(error) from None
        return [data[place : place + SIZE] for place in range(0, length, SIZE)]


def _failed(error: OSError) -> StoreError:
    return StoreError(
        f"the temporary file of peers in {tempfile.gettempdir()}: {error.strerror}; make room, or set TMPDIR"
    )

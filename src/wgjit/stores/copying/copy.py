"""The copy itself.

All is read as it was at one moment. Rows are written in the order of their keys, a transaction for some thousands. The
registry that is copied into is marked until the copy is whole, and no other program opens it before. After a copy that
was interrupted, the next one first deletes what is not, or no longer, as in the source, and goes on. At the end all is
read again and compared by digests, table by table.
"""

from __future__ import annotations

import hashlib
from typing import Protocol

from wgjit.errors import StoreError
from wgjit.stores.copying.tables import TABLES, End, Row, Source, Table, Target, stream


class Progress(Protocol):
    """Is told how far a copy is."""

    def begin(self, doing: str, table: Table, rows: int) -> None:
        """A step begins: `checking`, `copying` or `comparing` a table of so many rows, about."""

    def advance(self, rows: int) -> None:
        """So many rows more of the present step are done."""


def copy(source: Source, target: Target, progress: Progress) -> dict[Table, int]:
    """Copy all of a registry into an empty one, or the rest of it. Returns the number of rows of each table.

    Raises StoreError: one of the two cannot be used, the target has something of its own, or both differ at the end.
    """
    is_rest = _claim(source, target)
    if is_rest:
        for table in TABLES:
            if table.name not in target.derived:
                _prune(source, target, table, progress)
    digests = {table: _fill(source, target, table, progress) for table in TABLES}
    for table, digest in digests.items():
        _compare(source, target, table, digest, progress)
    target.set_mark(None)
    return {table: digest.count for table, digest in digests.items()}


class Digest:
    """The number of some rows, and a digest of them in their order."""

    def __init__(self) -> None:
        self.count = 0
        self._hash = hashlib.blake2b(digest_size=32)

    def add(self, rows: list[Row]) -> None:
        """Take in the next rows."""
        self.count += len(rows)
        self._hash.update("\n".join(map(repr, rows)).encode("utf-8", "surrogatepass") + b"\n")

    @property
    def value(self) -> tuple[int, bytes]:
        """What is equal for equal rows."""
        return self.count, self._hash.digest()


def digest_of(end: End, table: Table) -> Digest:
    """The digest of a table."""
    digest = Digest()
    for rows in stream(end, table):
        digest.add(rows)
    return digest


def _claim(source: Source, target: Target) -> bool:
    """Mark the target as ours. Returns whether it has a part of this very copy. Raises StoreError."""
    identity, mark = source.identity(), target.mark()
    if source.mark() is not None:
        raise StoreError(f"registry {source.place}: is an unfinished copy itself; finish that copy first")
    if identity == target.identity():
        raise StoreError(
            f"registry {target.place}: is the same as {source.place}, or a copy of its file; give an empty registry"
        )
    if mark == identity:
        return True
    if mark is not None:
        raise StoreError(
            f"registry {target.place}: is a part of a copy of another registry than {source.place}; finish that copy, "
            "or give an empty registry"
        )
    for table in TABLES:
        if table.name not in target.derived and target.last(table) is not None:
            raise StoreError(
                f"registry {target.place}: has {table.what} of its own, and a copy would mix them up; give an empty one"
            )
    target.set_mark(identity)
    return False


def _prune(source: Source, target: Target, table: Table, progress: Progress) -> None:
    """Delete the target's rows that are not as the source's."""
    progress.begin("checking", table, target.count(table))
    after = None
    for mine in stream(target, table):
        last = table.key_of(mine[-1])
        stale = dict.fromkeys(mine)
        for theirs in stream(source, table, last, after):
            for row in theirs:
                stale.pop(row, None)
        if stale:
            target.delete(table, list(stale))
        after = last
        progress.advance(len(mine))


def _fill(source: Source, target: Target, table: Table, progress: Progress) -> Digest:
    """Add the rows that the target does not have. Returns the source's digest."""
    progress.begin("copying", table, source.count(table))
    digest = Digest()
    is_derived = table.name in target.derived
    last = None if is_derived else target.last(table)
    after = None
    for rows in stream(source, table):
        digest.add(rows)
        upto = table.key_of(rows[-1])
        if not is_derived:
            missing = rows
            if last is not None and table.key_of(rows[0]) <= last:
                there = {row for some in stream(target, table, upto, after) for row in some}
                missing = [row for row in rows if row not in there]
            if missing:
                target.insert(table, missing)
        after = upto
        progress.advance(len(rows))
    return digest


def _compare(source: Source, target: Target, table: Table, wanted: Digest, progress: Progress) -> None:
    progress.begin("comparing", table, wanted.count)
    found = Digest()
    for rows in stream(target, table):
        found.add(rows)
        progress.advance(len(rows))
    if found.value == wanted.value:
        return
    if table.name in target.derived:
        raise StoreError(
            f"registry {source.place}: its table {table.name} does not fit its peers, so the copy is not exact; export "
            "the peers and import them instead"
        )
    raise StoreError(
        f"registry {target.place}: its {table.what} are not as in {source.place} ({found.count} and {wanted.count}): "
        "another program has written into it; end that program, and copy again"
    )

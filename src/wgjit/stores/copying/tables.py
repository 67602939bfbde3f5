"""What is copied, and the form in which rows are handed over.

A row is a tuple of the columns of its table, of plain values that are equal on both ends: bytes, whole numbers, floats,
texts, None. Addresses are packed as in `packing`. A row's key is its first columns; rows come in the order of their
keys, which is that of bytes, numbers and code points. So one end's rows can be compared with the other end's.

Not copied are the log of changes and the registry's identity, since the copy is another registry to whoever follows it;
who is a gateway, which the gateways say themselves; and what the schema derives.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from wgjit.model import PublicKey
from wgjit.stores import packing
from wgjit.wire.key_text import shown

Row = tuple[Any, ...]
Key = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table, by the names that it and its columns have in SQLite."""

    name: str
    what: str
    """Its rows, for people."""
    key: int
    """How many columns are the key: the first ones."""
    columns: tuple[str, ...]

    def key_of(self, row: Row) -> Key:
        """The key of a row."""
        return row[: self.key]


TABLES = (
    Table("peers", "peers", 1, packing.PEER_COLUMNS),
    Table("addresses", "addresses", 1, ("first", "last", "public_key")),
    Table("labels", "labels", 2, ("public_key", "key", "value")),
    Table("claims", "claims", 1, ("public_key", "timestamp", "gateway", "endpoint", "proven_at", "proven")),
    Table("holdings", "holdings", 1, ("public_key", *packing.HOLDING_COLUMNS)),
    Table("removed", "removed keys", 1, ("public_key", "at")),
    # A pool is its first and last address; `freed` has them before its own columns.
    Table("pools", "pools", 2, ("first", "last", "next")),
    Table("freed", "freed addresses", 4, ("pool_first", "pool_last", "first", "last", "at")),
    Table(
        "tokens",
        "tokens",
        1,
        ("id", "name", "hash", "scope", "rate", "created_at", "expires_at", "last_used_at", "revoked_at"),
    ),
    Table(
        "audit",
        "entries of the audit log",
        1,
        ("id", "at", "actor", "verb", "public_key", "old_key", "name", "details"),
    ),
    Table("idempotency", "kept answers", 2, ("actor", "key", "fingerprint", "status", "body", "at")),
)
"""In the order in which rows are written: a peer before its labels, a pool before its freed addresses."""


class End(Protocol):
    """One end of a copy. One thread uses it. All calls raise StoreError."""

    place: str
    """The registry's place, for people."""

    def identity(self) -> bytes:
        """The number that was drawn when the registry was made."""

    def mark(self) -> bytes | None:
        """The identity of the registry that is being copied into this one; None if there is no such copy."""

    def count(self, table: Table) -> int:
        """The number of rows, by reading them if need be."""

    def rows(self, table: Table, after: Key | None, upto: Key | None, limit: int) -> list[Row]:
        """The first `limit` rows with a key above `after` and not above `upto`, in order. None: no such limit."""

    def close(self) -> None:
        """Close the registry. What was not committed is undone."""


class Source(End, Protocol):
    """The end that is copied from. All that is read is as it was at one moment."""

    def has_changed(self) -> bool:
        """Whether the registry has changed since that moment. Nothing can be read as of that moment any more."""


class Target(End, Protocol):
    """The end that is copied into. Each call that writes is a transaction of its own."""

    derived: frozenset[str]
    """Names of the tables that the schema itself keeps like others."""

    def last(self, table: Table) -> Key | None:
        """The greatest key; None if there is no row."""

    def set_mark(self, identity: bytes | None) -> None:
        """Note which registry is being copied into this one. None: the copy is whole, and the registry may be used."""

    def insert(self, table: Table, rows: Sequence[Row]) -> None:
        """Add rows, whose keys ascend. The error for a row that is refused names it."""

    def delete(self, table: Table, rows: Sequence[Row]) -> None:
        """Delete the rows with these rows' keys."""


def stream(end: End, table: Table, upto: Key | None = None, after: Key | None = None) -> Iterator[list[Row]]:
    """All rows of a table in order, `CHUNK` at a time."""
    while some := end.rows(table, after, upto, CHUNK):
        yield some
        after = table.key_of(some[-1])


CHUNK = 20_000
"""Rows in memory, and rows of a transaction: some megabytes."""


def named(table: Table, row: Row) -> str:
    """A row in an error: its table and key, which are no secrets."""
    return f"{table.name} {', '.join(map(_shown, table.key_of(row)))}"


def _shown(part: Any) -> str:
    if isinstance(part, bytes):
        return str(PublicKey(part)) if len(part) == 32 else part.hex()
    return shown(part)

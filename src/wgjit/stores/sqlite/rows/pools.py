"""Gives out addresses: the next free address of a pool, in the transaction that registers its peer.

A pool has a mark, `pools.next`. No address after the mark was ever given out. Each address before the mark is taken,
reserved, or in `freed`. The schema's trigger puts every address that loses its owner there, for any reason. The next
address is the one that was freed first, if its quarantine is over, else the one at the mark. This takes a few B-tree
descents, whatever the number of peers, also in a pool that is almost full. Only addresses that were registered without
the pool are in the way of the mark, which steps over each of them once in the life of the pool.

A clock that is set back lengthens quarantines, and a clock that is set forward shortens them. No address is given out
twice.
"""

from __future__ import annotations

import heapq
import ipaddress
import sqlite3
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from wgjit.errors import PoolExhausted
from wgjit.model import AllowedIP
from wgjit.stores import packing
from wgjit.stores.entries import Pool

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Range = tuple[bytes, bytes]
"""First and last address, packed."""

_MOST_STEPS = 50_000
"""Ranges that one transaction steps over at most: some 50 ms."""

_BUSY = """
    SELECT first, coalesce(last, first) FROM addresses WHERE first BETWEEN :low AND :high
    UNION ALL
    SELECT first, last FROM freed WHERE pool = :pool AND first BETWEEN :low AND :high AND at > :ripe
    ORDER BY 1"""


class MarkMoves(Exception):
    """All addresses from the mark to `mark` are taken; None: all to the pool's end. Move the mark, commit, and ask
    again. So no other writer waits long for the registry, and the search steps over no range twice."""

    def __init__(self, pool: Pool, mark: bytes | None) -> None:
        super().__init__(f"the mark of pool {pool.prefix} moves")
        self.pool = pool
        self.mark = mark


def allocate(db: sqlite3.Connection, pool: Pool, now: float) -> AllowedIP:
    """A free address of the pool as a prefix. Raises PoolExhausted, MarkMoves.

    The caller has a write transaction open, and registers the address in it. `now` in Unix seconds.
    """
    number = know(db, pool)
    last = _bounds(pool)[1]
    ripe = int(now) - pool.quarantine
    search = _Search(db, number, ripe, _reserved(pool))
    oldest = "SELECT first, last, at FROM freed WHERE pool = ? AND at <= ? ORDER BY at LIMIT 1"
    while row := db.execute(oldest, (number, ripe)).fetchone():
        found = search.first_free(row[0], row[1])
        db.execute("DELETE FROM freed WHERE pool = ? AND first = ? AND last = ?", (number, row[0], row[1]))
        if found is None:
            continue  # taken again since; a trigger notes it when it is freed again
        if found < row[1]:
            db.execute(
                "INSERT INTO freed (pool, first, last, at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (number, _successor(found), row[1], row[2]),
            )
        return packing.unpack_range(found, None)
    (mark,) = db.execute("SELECT next FROM pools WHERE id = ?", (number,)).fetchone()
    if mark is None:
        raise _exhausted(db, pool, number)
    found = search.first_free(mark, last, _MOST_STEPS)
    if found is None or search.gave_up:
        raise MarkMoves(pool, found)
    move_mark(db, pool, _successor(found) if found < last else None)
    return packing.unpack_range(found, None)


def move_mark(db: sqlite3.Connection, pool: Pool, mark: bytes | None) -> None:
    """Set the pool's mark. None: the pool was given out to its end."""
    db.execute("UPDATE pools SET next = ? WHERE first = ? AND last = ?", (mark, *_bounds(pool)))


def know(db: sqlite3.Connection, pool: Pool) -> int:
    """The pool's number in the file. From the first call on, addresses of the pool that lose their owner are noted."""
    first, last = _bounds(pool)
    row = db.execute("SELECT id FROM pools WHERE first = ? AND last = ?", (first, last)).fetchone()
    if row is not None:
        return int(row[0])
    number = db.execute("INSERT INTO pools (first, last, next) VALUES (?, ?, ?)", (first, last, first)).lastrowid
    assert number is not None
    # The pool may be an older one that was made wider or smaller: the quarantines go on.
    db.execute(
        """INSERT INTO freed (pool, first, last, at)
        SELECT :number, max(first, :first), min(last, :last), max(at) FROM freed
        WHERE first <= :last AND last >= :first GROUP BY 2, 3""",
        {"number": number, "first": first, "last": last},
    )
    return number


def taken(db: sqlite3.Connection, prefixes: Iterable[AllowedIP]) -> None:
    """Forget that these prefixes were freed, since they have an owner. A missed call only costs later searches time."""
    ranges = [(first, last or first) for first, last in map(packing.pack_range, prefixes)]
    db.executemany("DELETE FROM freed WHERE pool IN (SELECT id FROM pools) AND first = ? AND last = ?", ranges)


class _Search:
    """Looks for addresses that have no owner, are not reserved, and are not in quarantine."""

    def __init__(self, db: sqlite3.Connection, number: int, ripe: int, reserved: list[_Range]) -> None:
        self._db = db
        self._number = number
        self._ripe = ripe
        self._reserved = reserved
        self.gave_up = False
        """If true, the last answer is where the search gave up, and the addresses before it are not free."""

    def first_free(self, low: bytes, high: bytes, most_steps: int | None = None) -> bytes | None:
        """The first free address from `low` to `high`, None if there is none. Gives up after `most_steps`."""
        at = low
        self.gave_up = False
        busy = heapq.merge(self._into(low), self._reserved, self._from(low, high))
        for steps, (first, last) in enumerate(busy):
            if first > at:
                break
            if steps == most_steps:
                self.gave_up = True
                break
            if last >= at:
                at = _successor(last)
        return at if at <= high else None

    def _into(self, low: bytes) -> Iterable[_Range]:
        """Ranges that begin before `low` and reach it: one owner's range at most, and freed ranges."""
        before = "SELECT coalesce(last, first) FROM addresses WHERE first < ? ORDER BY first DESC LIMIT 1"
        wide = """
            SELECT max(last) FROM freed
            WHERE pool = ?1 AND last > first AND last >= ?2 AND first < ?2 AND at > ?3"""
        lasts = [
            self._db.execute(before, (low,)).fetchone(),
            self._db.execute(wide, (self._number, low, self._ripe)).fetchone(),
        ]
        return sorted((low, row[0]) for row in lasts if row is not None and row[0] is not None and row[0] >= low)

    def _from(self, low: bytes, high: bytes) -> Iterator[_Range]:
        yield from self._db.execute(_BUSY, {"low": low, "high": high, "pool": self._number, "ripe": self._ripe})


def _bounds(pool: Pool) -> _Range:
    first, last = packing.pack_range(pool.prefix)
    return first, last or first


def _reserved(pool: Pool) -> list[_Range]:
    first, last = _bounds(pool)
    own = [packing.pack_range(ipaddress.ip_network(address))[0] for address in pool.reserved]
    ends = [first, last] if pool.prefix.version == 4 else [first]
    return sorted((address, address) for address in {*own, *ends})


def _successor(address: bytes) -> bytes:
    """The next packed address. For the last address of a family, a value greater than all of the family's addresses."""
    return (int.from_bytes(address, "big") + 1).to_bytes(len(address), "big")


def _exhausted(db: sqlite3.Connection, pool: Pool, number: int) -> PoolExhausted:
    (at,) = db.execute("SELECT min(at) FROM freed WHERE pool = ?", (number,)).fetchone()
    text = f"pool.ipv{pool.prefix.version} {pool.prefix}: no address is free; make it wider or remove peers"
    if at is not None:
        moment = datetime.fromtimestamp(at + pool.quarantine, UTC)
        text += f" (the quarantine of the next freed one ends at {moment:%Y-%m-%dT%H:%M:%SZ})"
    return PoolExhausted(text)

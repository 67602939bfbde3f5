"""Gives out addresses: the next free address of a pool, in the transaction that registers its peer.

A pool has a mark, `pools.next`. No address after the mark was ever given out. Each address before the mark is taken,
reserved, in `ready`, or in `freed`. The schema's trigger puts every address that loses its owner there, for any reason.
The next address is the one that was freed first, if its quarantine is over, else the first ready one. If none is ready,
`prepare` moves the mark over a block of addresses in a transaction of its own, and makes the free ones ready.

Writers do not wait for one another: each takes an address that no other transaction holds (SKIP LOCKED), and a
transaction that is undone gives its address back. The clock is the server's.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from wgjit.errors import PoolExhausted
from wgjit.model import AllowedIP
from wgjit.stores.entries import Address, Pool
from wgjit.stores.postgresql.database.schema import Db
from wgjit.stores.postgresql.rows.texts import array

BLOCK = 512
"""Addresses that are made ready at once. Writers wait for one another only then."""

_WIDEST = 16_384
"""Addresses that one transaction looks at one by one, at most."""

_WIDEST_TAKEN = 262_144
"""Addresses that one transaction counts, at most, to see that all of them are taken."""

_NOW = "extract(epoch FROM clock_timestamp())::bigint"

_OWNED = """
    EXISTS (SELECT FROM wgjit.addresses AS a WHERE a.prefix = {at}::cidr)
    OR EXISTS (SELECT FROM (
        SELECT prefix FROM wgjit.wide WHERE prefix < {at}::cidr ORDER BY prefix DESC LIMIT 1
    ) AS w WHERE w.prefix >> {at}::cidr)"""
_RESTING = (
    """
    EXISTS (SELECT FROM wgjit.freed AS f
            WHERE f.pool = %(pool)s AND f.first = {at} AND f.last = {at} AND f.at > """
    + _NOW
    + """ - %(quarantine)s)
    OR EXISTS (SELECT FROM wgjit.freed AS f
               WHERE f.pool = %(pool)s AND f.last > f.first AND f.first <= {at} AND f.last >= {at}
               AND f.at > """
    + _NOW
    + """ - %(quarantine)s)"""
)

_RIPE = f"""
    SELECT first, last, at FROM wgjit.freed WHERE pool = %(pool)s AND at <= {_NOW} - %(quarantine)s
    ORDER BY at, first LIMIT 1 FOR UPDATE"""
_READY = """
    SELECT address FROM wgjit.ready WHERE pool = %(pool)s AND address <> ALL (%(reserved)s::inet[])
    ORDER BY address LIMIT 1 FOR UPDATE"""
_TAKEN = """
    SELECT count(*) FROM (
        SELECT FROM wgjit.addresses WHERE prefix >= %(mark)s::inet::cidr AND prefix <= (%(mark)s::inet + %(more)s)::cidr
        LIMIT %(more)s + 1) AS a"""
"""How many owned prefixes begin among some addresses. As they are disjoint, it is all of the addresses or fewer."""
_FREE = f"""
    SELECT host(m) FROM (SELECT %(mark)s::inet + i AS m FROM generate_series(0, %(span)s::bigint - 1) AS i) AS every
    WHERE m <> ALL (%(reserved)s::inet[]) AND NOT ({_OWNED.format(at="m")}) AND NOT ({_RESTING.format(at="m")})
    ORDER BY m LIMIT %(block)s"""
_AROUND = f"""
    SELECT host(broadcast(prefix)) FROM (
        SELECT prefix FROM wgjit.wide WHERE prefix < %(mark)s::cidr ORDER BY prefix DESC LIMIT 1
    ) AS w WHERE prefix >> %(mark)s::cidr
    UNION ALL
    SELECT host(max(last)) FROM wgjit.freed
    WHERE pool = %(pool)s AND last > first AND first <= %(mark)s AND last >= %(mark)s
        AND at > {_NOW} - %(quarantine)s"""
"""The ends of the ranges around an address that are owned or rest."""


class NotReady(Exception):
    """No address of the pool is ready. Undo the transaction, `prepare` some, and ask again."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(f"pool {pool.prefix}: no address is ready")
        self.pool = pool


def know(db: Db, pool: Pool) -> int:
    """The pool's number. From the first call on, addresses of the pool that lose their owner are noted."""
    first, last = str(pool.prefix.network_address), str(pool.prefix.broadcast_address)
    query = "SELECT id FROM wgjit.pools WHERE prefix = %s"
    row = db.execute(query, (str(pool.prefix),)).fetchone()
    if row is None:
        made = "INSERT INTO wgjit.pools (prefix, next) VALUES (%s, %s) ON CONFLICT DO NOTHING RETURNING id"
        row = db.execute(made, (str(pool.prefix), first)).fetchone()
        if row is not None:
            # The pool may be an older one that was made wider or smaller: the quarantines go on.
            db.execute(
                """INSERT INTO wgjit.freed (pool, first, last, at)
                SELECT %(pool)s, greatest(first, %(first)s::inet), least(last, %(last)s::inet), max(at)
                FROM wgjit.freed WHERE first <= %(last)s::inet AND last >= %(first)s::inet GROUP BY 2, 3""",
                {"pool": row[0], "first": first, "last": last},
            )
    if row is None:  # another program has made it meanwhile
        row = db.execute(query, (str(pool.prefix),)).fetchone()
    assert row is not None
    return int(row[0])


def columns(some: Iterable[tuple[Pool, int]]) -> tuple[str, str, str]:
    """Numbers, quarantines and reserved addresses of pools, as texts of the arrays that `wgjit.register` takes."""
    rows = [(str(number), str(pool.quarantine), '"{' + ",".join(_reserved(pool)) + '}"') for pool, number in some]
    numbers, quarantines, reserved = (",".join(row[place] for row in rows) for place in range(3))
    return f"{{{numbers}}}", f"{{{quarantines}}}", f"{{{reserved}}}"


def prepare(db: Db, pool: Pool, number: int) -> PoolExhausted | None:
    """Make some addresses ready, or wait for who holds the last ones. Returns the error if none is free.

    The caller has begun a transaction for this alone, and commits it, also if none is free: the mark has moved. The
    transaction need not be flushed to disk: a later one that takes such an address is flushed behind it.
    """
    parameters = _parameters(pool, number)
    row = db.execute("SELECT next FROM wgjit.pools WHERE id = %s FOR UPDATE", (number,)).fetchone()
    if row is None:
        return None  # the registry was made anew
    if db.execute(f"{_READY} SKIP LOCKED", parameters).fetchone():
        return None  # another program has prepared some
    mark, last, span, passed = row[0], pool.prefix.broadcast_address, BLOCK, 0
    while mark is not None:
        parameters["mark"] = str(mark)
        span = min(span, int(last) - int(mark) + 1)
        if _are_taken(db, parameters, span):
            mark, passed = _behind(mark + (span - 1), last), passed + span
            if passed >= _WIDEST_TAKEN:
                _move(db, number, mark)
                return None
            span = min(4 * span, _WIDEST_TAKEN)
            continue
        ends = [ipaddress.ip_address(end) for (end,) in db.execute(_AROUND, parameters) if end is not None]
        if ends:
            mark = _behind(max(ends, key=int), last)
            continue
        span = min(span, _WIDEST)
        parameters |= {"span": span, "block": BLOCK}
        free = [ipaddress.ip_address(address) for (address,) in db.execute(_FREE, parameters)]
        mark = _behind(free[-1] if len(free) == BLOCK else mark + (span - 1), last)
        if free or span >= _WIDEST:
            texts = [str(address) for address in free]
            db.execute("INSERT INTO wgjit.ready (pool, address) SELECT %s, unnest(%s::inet[])", (number, texts))
            _move(db, number, mark)
            return None
        span = min(4 * span, _WIDEST)
    _move(db, number, None)
    if db.execute(_READY, parameters).fetchone() or db.execute(_RIPE, parameters).fetchone():
        return None  # another program held the last ones, and did not take them all
    return _exhausted(db, pool, number)


def _are_taken(db: Db, parameters: dict[str, Any], span: int) -> bool:
    """Whether each of the `span` addresses from the mark on is the first one of an owned prefix."""
    row = db.execute(_TAKEN, parameters | {"more": span - 1}).fetchone()
    return row is not None and row[0] == span


def taken(db: Db, prefixes: Iterable[AllowedIP]) -> None:
    """Forget that these prefixes were freed, since they have an owner. A missed call only costs later searches time."""
    if some := [*prefixes]:
        db.execute("SELECT wgjit.forget_freed(%s::cidr[])", (array(some),))


def _parameters(pool: Pool, number: int) -> dict[str, Any]:
    return {"pool": number, "quarantine": pool.quarantine, "reserved": _reserved(pool)}


@lru_cache(maxsize=64)
def _reserved(pool: Pool) -> list[str]:
    ends = [pool.prefix.network_address, pool.prefix.broadcast_address]
    return sorted({str(address) for address in [*pool.reserved, *ends[: 2 if pool.prefix.version == 4 else 1]]})


def _behind(address: Address, last: Address) -> Address | None:
    return None if int(address) >= int(last) else address + 1


def _move(db: Db, number: int, mark: Address | None) -> None:
    db.execute("UPDATE wgjit.pools SET next = %s WHERE id = %s", (None if mark is None else str(mark), number))


def _exhausted(db: Db, pool: Pool, number: int) -> PoolExhausted:
    row = db.execute("SELECT min(at) FROM wgjit.freed WHERE pool = %s", (number,)).fetchone()
    text = f"pool.ipv{pool.prefix.version} {pool.prefix}: no address is free; make it wider or remove peers"
    if row is not None and row[0] is not None:
        moment = datetime.fromtimestamp(row[0] + pool.quarantine, UTC)
        text += f" (the quarantine of the next freed one ends at {moment:%Y-%m-%dT%H:%M:%SZ})"
    return PoolExhausted(text)

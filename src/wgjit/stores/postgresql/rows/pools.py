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
from typing import Any

from wgjit.errors import PoolExhausted
from wgjit.model import AllowedIP
from wgjit.stores.entries import Address, Pool
from wgjit.stores.postgresql.database.schema import Db

BLOCK = 64
"""Addresses that are made ready at once."""

_WIDEST = 16_384
"""Addresses that one transaction looks at, at most."""

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
_TAKE = "SELECT host(wgjit.take_address(%(pool)s, %(quarantine)s, %(reserved)s::inet[]))"
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


def allocate(db: Db, pool: Pool, number: int) -> AllowedIP:
    """A free address of the pool as a prefix. Raises NotReady.

    The caller has a transaction open, and registers the address in it.
    """
    row = db.execute(_TAKE, _parameters(pool, number)).fetchone()
    if row is None or row[0] is None:
        raise NotReady(pool)
    return ipaddress.ip_network(row[0])


def prepare(db: Db, pool: Pool, number: int) -> PoolExhausted | None:
    """Make some addresses ready, or wait for who holds the last ones. Returns the error if none is free.

    The caller has begun a transaction for this alone, and commits it, also if none is free: the mark has moved.
    """
    parameters = _parameters(pool, number)
    row = db.execute("SELECT next FROM wgjit.pools WHERE id = %s FOR UPDATE", (number,)).fetchone()
    if row is None:
        return None  # the registry was made anew
    if db.execute(f"{_READY} SKIP LOCKED", parameters).fetchone():
        return None  # another program has prepared some
    mark, last, span = row[0], pool.prefix.broadcast_address, BLOCK
    while mark is not None:
        parameters["mark"] = str(mark)
        ends = [ipaddress.ip_address(end) for (end,) in db.execute(_AROUND, parameters) if end is not None]
        if ends:
            mark = _behind(max(ends, key=int), last)
            continue
        span = min(span, int(last) - int(mark) + 1)
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


def taken(db: Db, prefixes: Iterable[AllowedIP]) -> None:
    """Forget that these prefixes were freed, since they have an owner. A missed call only costs later searches time."""
    ranges = [(str(prefix.network_address), str(prefix.broadcast_address)) for prefix in prefixes]
    if ranges:
        # A row that another transaction holds stays. Waiting for it could be waiting in a circle.
        db.execute(
            "DELETE FROM wgjit.freed WHERE ctid = ANY (ARRAY(SELECT f.ctid FROM wgjit.pools AS p "
            "CROSS JOIN unnest(%s::inet[], %s::inet[]) AS r (first, last) "
            "JOIN wgjit.freed AS f ON f.pool = p.id AND f.first = r.first AND f.last = r.last "
            "FOR UPDATE OF f SKIP LOCKED))",
            ([first for first, _ in ranges], [last for _, last in ranges]),
        )


def _parameters(pool: Pool, number: int) -> dict[str, Any]:
    ends = [pool.prefix.network_address, pool.prefix.broadcast_address]
    reserved = {str(address) for address in [*pool.reserved, *ends[: 2 if pool.prefix.version == 4 else 1]]}
    return {"pool": number, "quarantine": pool.quarantine, "reserved": sorted(reserved)}


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

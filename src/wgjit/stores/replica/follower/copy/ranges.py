"""Reads ranges of keys of the registry of record in a form that goes into a replica without a look at single rows.

Rows whose columns have the same sizes come as one group: their columns of fixed size as one long value, and the others
as one JSON array. A statement of SQLite takes a group apart. So a row costs some microseconds of SQLite's work, and
none of Python's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from wgjit.stores.postgresql.database.schema import Db

STEP = 5000
"""Peers whose rows are read at once."""

Range = tuple[bytes, bytes | None]
"""Keys after the first one and up to the second; None is the end."""

_ONE = """
    CASE family({0}) WHEN 4 THEN '\\x04'::bytea ELSE '\\x06'::bytea END
    || substr(cidr_send({0}), 5) || substr(cidr_send({0}), 2, 1)"""
_FIRST, _SECOND = _ONE.format("allowed_ips[1]"), _ONE.format("allowed_ips[2]")
_PACKED = f"""
    CASE cardinality(allowed_ips) WHEN 1 THEN {_FIRST} WHEN 2 THEN {_FIRST} || {_SECOND}
         ELSE wgjit.packed(allowed_ips) END"""

PLAIN, NAMED, OTHER = 0, 1, 2
"""Groups of peers of which nothing else is set, whose names are set, or of any other."""

_PEERS = f"""
    SELECT octet_length(packed), psk IS NOT NULL, kind, count(*),
           string_agg(public_key || packed || coalesce(psk, ''::bytea), ''::bytea),
           CASE kind
           WHEN {NAMED} THEN json_agg(name) FILTER (WHERE kind = {NAMED})
           WHEN {OTHER} THEN json_agg(json_build_array(keepalive, enabled::int, expires_at, name, idle_timeout))
                             FILTER (WHERE kind = {OTHER})
           END::text
    FROM (SELECT public_key, {_PACKED} AS packed, preshared_key AS psk,
                 keepalive, enabled, expires_at, name, idle_timeout,
                 CASE WHEN keepalive <> 0 OR NOT enabled OR expires_at IS NOT NULL OR idle_timeout IS NOT NULL
                      THEN {OTHER} WHEN name IS NOT NULL THEN {NAMED} ELSE {PLAIN} END AS kind
          FROM wgjit.peers WHERE {{where}}) AS p
    GROUP BY 1, 2, 3"""

_CLAIMS = """
    SELECT octet_length(endpoint), proven IS NOT NULL, gateway, count(*),
           string_agg(public_key || timestamp || endpoint || coalesce(proven, ''::bytea), ''::bytea),
           json_agg(proven_at)::text
    FROM wgjit.claims WHERE {where} GROUP BY 1, 2, 3"""

_HOLDINGS = """
    SELECT octet_length(endpoint), gateway, count(*), string_agg(public_key || timestamp || endpoint, ''::bytea),
           json_agg(json_build_array(takeovers, epoch, since, until, before))::text
    FROM wgjit.holdings WHERE {where} GROUP BY 1, 2"""

_REMOVED = """
    SELECT count(*), string_agg(public_key, ''::bytea), json_agg(at)::text
    FROM wgjit.removed WHERE {where} HAVING count(*) > 0"""

_BOUNDS = f"""
    SELECT public_key FROM (
        SELECT public_key, row_number() OVER (ORDER BY public_key) AS place FROM wgjit.peers
        WHERE public_key > %b ORDER BY public_key LIMIT %s) AS p
    WHERE place %% {STEP} = 0 ORDER BY public_key"""


@dataclass(frozen=True, slots=True)
class Part:
    """All that the registry of record has of a range of keys, in groups."""

    range: Range
    claims: list[tuple[Any, ...]]
    holdings: list[tuple[Any, ...]]
    removed: list[tuple[Any, ...]]
    peers: list[tuple[Any, ...]]


def bounds(db: Db, after: bytes, steps: int) -> list[Range]:
    """The next ranges of `STEP` peers each after a key, so many at most. The last one may reach to the end."""
    keys = [bytes(key) for (key,) in db.execute(_BOUNDS, (after, steps * STEP)).fetchall()]
    starts = [after, *keys]
    if len(keys) == steps:
        return list(zip(starts, keys, strict=False))
    return list(zip(starts, [*keys, None], strict=True))


def read(db: Db, some: list[Range], extend: Callable[[], None]) -> Iterator[Part]:
    """The parts of these ranges, in a transaction that sees one moment. The next one is read while one is used."""

    def part(each: Range) -> Part:
        extend()
        return Part(each, *(_groups(db, query, each) for query in (_CLAIMS, _HOLDINGS, _REMOVED, _PEERS)))

    with ThreadPoolExecutor(1, "copy") as pool:
        coming: Future[Part] | None = pool.submit(part, some[0])
        for following in [*some[1:], None]:
            assert coming is not None
            this = coming.result()
            coming = None if following is None else pool.submit(part, following)
            yield this


def _groups(db: Db, query: str, each: Range) -> list[tuple[Any, ...]]:
    after, last = each
    where = f"public_key > '\\x{after.hex()}'" + ("" if last is None else f" AND public_key <= '\\x{last.hex()}'")
    with db.cursor(binary=True) as cursor:
        return cursor.execute(query.format(where=where).encode()).fetchall()

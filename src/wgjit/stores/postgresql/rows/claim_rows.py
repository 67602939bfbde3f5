"""The statements that save claims and holdings.

Each keeps the greater of the row that it brings and of the row that is there, whoever wrote it, and answers which keys
it has saved: the others lost. Writers lock the rows in the order of keys, so that none waits in a circle.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from wgjit.model import Claim, Holding, PublicKey
from wgjit.stores import packing
from wgjit.stores.postgresql.database.schema import Db

COLUMNS = "timestamp, gateway, endpoint, proven_at, proven"
"""The columns of a claim after its key, in the order of `packing.row_claim`."""

_SAVE = f"""
    INSERT INTO wgjit.claims AS c (public_key, {COLUMNS})
    SELECT n.* FROM unnest(%s::bytea[], %s::bytea[], %s::text[], %s::bytea[], %s::float8[], %s::bytea[])
        AS n (public_key, {COLUMNS})
    WHERE EXISTS (SELECT FROM wgjit.peers AS p WHERE p.public_key = n.public_key)
       OR EXISTS (SELECT FROM wgjit.removed AS r WHERE r.public_key = n.public_key)
    ORDER BY n.public_key
    ON CONFLICT (public_key) DO UPDATE
    SET timestamp = excluded.timestamp, gateway = excluded.gateway,
        endpoint = excluded.endpoint, proven_at = excluded.proven_at,
        proven = CASE WHEN excluded.proven IS NOT NULL
                      THEN greatest(excluded.proven, coalesce(c.proven, c.timestamp)) END
    WHERE CASE WHEN excluded.proven IS NULL
               THEN excluded.timestamp > coalesce(c.proven, c.timestamp)
               ELSE excluded.timestamp > c.timestamp
                    OR excluded.timestamp = c.timestamp AND excluded.proven > c.proven END
    RETURNING c.public_key"""
"""Saves each claim as `Claim.over` does."""

_HOLDINGS = packing.holding_columns()
_TYPES = ("bytea", "int8", "text", "int8", "bytea", "float8", "float8", "text")
_SAVE_HOLDINGS = f"""
    INSERT INTO wgjit.holdings AS h (public_key, {_HOLDINGS})
    SELECT n.* FROM unnest(%s::bytea[], {", ".join(f"%s::{kind}[]" for kind in _TYPES)})
        AS n (public_key, {_HOLDINGS})
    WHERE EXISTS (SELECT FROM wgjit.peers AS p WHERE p.public_key = n.public_key)
       OR EXISTS (SELECT FROM wgjit.removed AS r WHERE r.public_key = n.public_key)
    ORDER BY n.public_key
    ON CONFLICT (public_key) DO UPDATE
    SET {", ".join(f"{column} = excluded.{column}" for column in packing.HOLDING_COLUMNS[:-1])},
        before = CASE WHEN excluded.gateway = h.gateway THEN coalesce(excluded.before, h.before) ELSE h.gateway END
    WHERE (excluded.timestamp, excluded.takeovers, excluded.gateway, excluded.epoch)
        > (h.timestamp, h.takeovers, h.gateway, h.epoch)
       OR (excluded.timestamp, excluded.takeovers, excluded.gateway, excluded.epoch)
        = (h.timestamp, h.takeovers, h.gateway, h.epoch)
          AND (excluded.endpoint, excluded.since, excluded.until, coalesce(excluded.before, h.before))
              IS DISTINCT FROM (h.endpoint, h.since, h.until, h.before)
    RETURNING h.public_key"""
"""Saves each holding as `Holding.over` does. One that is there already is not written again."""

_SAVE_SAID = f"""
    WITH c AS ({_SAVE}), h AS ({_SAVE_HOLDINGS})
    SELECT 0, public_key FROM c UNION ALL SELECT 1, public_key FROM h"""
"""Claims first, in every gateway: none waits in a circle."""


def save(db: Db, claims: Sequence[Claim]) -> None:
    """Save claims. A key that comes twice is saved twice, in order."""
    for some in _rounds(claims):
        db.execute(_SAVE, _columns([packing.claim_row(each) for each in some], 6))


def save_said(db: Db, claims: Sequence[Claim], holdings: Sequence[Holding]) -> tuple[set[bytes], set[bytes]]:
    """Save claims and holdings, each key once of either, in one statement. Return the keys of which each was saved."""
    columns = [
        *_columns([packing.claim_row(each) for each in claims], 6),
        *_columns([packing.holding_row(each) for each in holdings], 9),
    ]
    saved: tuple[set[bytes], set[bytes]] = set(), set()
    for is_holding, key in db.execute(_SAVE_SAID, columns).fetchall():
        saved[is_holding].add(key)
    return saved


def greater_claims(db: Db, keys: Sequence[PublicKey]) -> list[Claim]:
    """The claims of keys that lost. In the transaction that saved: a statement of its own sees who won."""
    query = f"SELECT public_key, {COLUMNS} FROM wgjit.claims WHERE public_key = ANY(%b)"
    return [packing.row_claim(PublicKey(key), *row) for key, *row in db.execute(query, (list(keys),)).fetchall()]


def greater_holdings(db: Db, keys: Sequence[PublicKey]) -> list[Holding]:
    """As `greater_claims`, of holdings."""
    query = f"SELECT public_key, {_HOLDINGS} FROM wgjit.holdings WHERE public_key = ANY(%b)"
    return [packing.row_holding(*row) for row in db.execute(query, (list(keys),)).fetchall()]


def _columns(rows: Sequence[Sequence[Any]], width: int) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]


def _rounds(claims: Iterable[Claim]) -> list[list[Claim]]:
    """The claims in rounds, such that no key comes twice in a round: one statement writes a row once."""
    rounds: list[list[Claim]] = []
    times: dict[PublicKey, int] = {}
    for claim in claims:
        number = times.get(claim.public_key, 0)
        times[claim.public_key] = number + 1
        if number == len(rounds):
            rounds.append([])
        rounds[number].append(claim)
    return rounds

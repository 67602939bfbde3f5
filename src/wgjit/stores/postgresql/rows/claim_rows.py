"""The statements that save claims and holdings. The schema has the functions that do it (0005_fleet.sql)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from wgjit.model import Claim, Holding, PublicKey
from wgjit.stores import packing
from wgjit.stores.postgresql.database.schema import Db

COLUMNS = "timestamp, gateway, endpoint, proven_at, proven"
"""The columns of a claim after its key, in the order of `packing.row_claim`."""

_CLAIM = ("bytea", "bytea", "text", "bytea", "float8", "bytea")
_HOLDING = ("bytea", "bytea", "int8", "text", "int8", "bytea", "float8", "float8", "text")
"""The types of the columns of `packing.claim_row` and `packing.holding_row`."""


def _marks(types: Sequence[str]) -> str:
    return ", ".join(f"%s::{kind}[]" for kind in types)


_SAVE = f"SELECT wgjit.save_claims({_marks(_CLAIM)})"

_SAVE_SAID = f"""
    SELECT false, * FROM wgjit.save_claims({_marks(_CLAIM)})
    UNION ALL SELECT true, * FROM wgjit.save_holdings({_marks(_HOLDING)})"""
"""Claims first, in every gateway: none waits in a circle."""


def save(db: Db, claims: Sequence[Claim]) -> None:
    """Save claims. A key that comes twice is saved twice, in order."""
    for some in _rounds(claims):
        db.execute(_SAVE, _columns([packing.claim_row(each) for each in some], len(_CLAIM)))


def save_said(db: Db, claims: Sequence[Claim], holdings: Sequence[Holding]) -> tuple[set[bytes], set[bytes]]:
    """Save claims and holdings, each key once of either, in one statement. Return the keys of which each was saved."""
    columns = [
        *_columns([packing.claim_row(each) for each in claims], len(_CLAIM)),
        *_columns([packing.holding_row(each) for each in holdings], len(_HOLDING)),
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
    query = f"SELECT public_key, {packing.holding_columns()} FROM wgjit.holdings WHERE public_key = ANY(%b)"
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

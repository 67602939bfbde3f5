"""The statement that saves claims."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from wgjit.model import Claim, PublicKey
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
                    OR excluded.timestamp = c.timestamp AND excluded.proven > c.proven END"""
"""Saves each claim as `Claim.over` does. Writers lock the rows in the order of keys, so that none waits in a circle."""


def save(db: Db, claims: Sequence[Claim]) -> None:
    """Save claims. A key that comes twice is saved twice, in order."""
    for some in _rounds(claims):
        rows = zip(*map(packing.claim_row, some), strict=True)
        keys, timestamps, gateways, endpoints, moments, proven = map(list, rows)
        db.execute(_SAVE, (keys, timestamps, gateways, endpoints, moments, proven))


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

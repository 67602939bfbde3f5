"""The statement that saves a claim. The registry and the cache of a remote registry have the same table of claims."""

from __future__ import annotations

COLUMNS = "timestamp, gateway, endpoint, proven_at, proven"
"""The columns of a claim after its key, in the order of `packing.row_claim`."""


def save(condition: str) -> str:
    """The statement that saves a `packing.claim_row` as `Claim.over` does, if `condition` holds for ?1, its key."""
    return save_all(f"SELECT ?1, ?2, ?3, ?4, ?5, ?6 WHERE {condition}")


def save_all(select: str) -> str:
    """The statement that saves each claim that a SELECT with a WHERE gives, its key first, as `Claim.over` does."""
    return f"""
        INSERT INTO claims (public_key, {COLUMNS}) {select}
        ON CONFLICT (public_key) DO UPDATE
        SET timestamp = excluded.timestamp, gateway = excluded.gateway,
            endpoint = excluded.endpoint, proven_at = excluded.proven_at,
            proven = iif(excluded.proven IS NULL, NULL, max(excluded.proven, coalesce(claims.proven, claims.timestamp)))
        WHERE iif(excluded.proven IS NULL,
                  excluded.timestamp > coalesce(claims.proven, claims.timestamp),
                  excluded.timestamp > claims.timestamp
                  OR excluded.timestamp = claims.timestamp AND excluded.proven > claims.proven)"""

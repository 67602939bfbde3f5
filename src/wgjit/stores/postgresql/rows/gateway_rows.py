"""The rows that gateways write of themselves."""

from __future__ import annotations

LIVES = 10
"""Seconds for which a gateway counts as living after it was seen, by the database's clock."""

_NOW = "extract(epoch FROM clock_timestamp())::float8"

_COLUMNS = (
    "name",
    "instance",
    "epoch",
    "public_key",
    "interface",
    "address",
    "version",
    "residents",
    "lag",
    "clock_offset",
    "started_at",
    "draining",
    "service",
)

SELECT = f"SELECT {', '.join(_COLUMNS)}, seen_at, seen_at > {_NOW} - {LIVES} FROM wgjit.gateways"
"""All of a gateway, and whether it lives."""

BEAT = f"""
    INSERT INTO wgjit.gateways AS g ({", ".join(_COLUMNS)}, seen_at)
    VALUES ({", ".join(["%s"] * len(_COLUMNS))}, {_NOW})
    ON CONFLICT (name) DO UPDATE
    SET {", ".join(f"{column} = excluded.{column}" for column in (*_COLUMNS[1:], "seen_at"))}
    WHERE g.instance = excluded.instance OR g.seen_at <= excluded.seen_at - {LIVES}
    RETURNING seen_at"""
"""A heartbeat. No row comes back if a living gateway of another instance has the name."""

OTHERS = f"""
    SELECT name, seen_at > {_NOW} - {LIVES} AS lives, draining, service, public_key FROM wgjit.gateways
    WHERE name <> %s ORDER BY name"""
"""The other gateways, also those that were not seen for long."""

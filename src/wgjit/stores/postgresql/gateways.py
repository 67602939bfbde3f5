"""The gateways of a fleet: each writes a row of its own every few seconds, and whoever manages the fleet reads them."""

from __future__ import annotations

from typing import Any

from wgjit.model import PublicKey
from wgjit.stores import audit_records, checks
from wgjit.stores.entries import Author, GatewayEntry
from wgjit.stores.postgresql import audit
from wgjit.stores.postgresql.database.connection import Database
from wgjit.stores.postgresql.rows import gateway_rows
from wgjit.stores.postgresql.rows.texts import storable


class Gateways:
    """The gateways of an open registry."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def every(self) -> list[GatewayEntry]:
        """All gateways by name, also those that were not seen for long."""
        with self._database.look() as db:
            rows = db.execute(f"{gateway_rows.SELECT} ORDER BY name").fetchall()
        return [_entry(row) for row in rows]

    def forget(self, name: str, *, by: Author) -> GatewayEntry:
        """Delete what a gateway said of itself. It comes back if it still runs. Returns what was deleted.

        Raises NoSuchGateway; GatewayLives if the gateway was seen within the last 10 seconds.
        """
        with self._database.change() as db:
            row = db.execute(f"{gateway_rows.SELECT} WHERE name = %s FOR UPDATE", (storable(name),)).fetchone()
            if row is None:
                raise checks.no_such_gateway(name)
            entry = _entry(row)
            if entry.lives:
                (now,) = db.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone() or (0.0,)
                raise checks.gateway_lives(name, max(0.0, now - entry.seen_at))
            db.execute("DELETE FROM wgjit.gateways WHERE name = %s", (entry.name,))
            audit.write(db, by, [audit_records.gateway_forgotten(entry)])
        return entry


def _entry(row: tuple[Any, ...]) -> GatewayEntry:
    values: list[Any] = list(row)
    values[3] = PublicKey(values[3])
    return GatewayEntry(*values)

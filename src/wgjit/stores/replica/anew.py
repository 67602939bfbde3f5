"""Makes a replica anew in the place of a file that is damaged or gone, while programs have it open.

The old file goes first, and then its log (`-wal`, `-shm`), which a new file of that name would take for its own. The
new file comes in one step. Who has the old one open goes on with it until the next use, and then notices
(`connection.Link`). So for a moment there is no file, or an empty one, and uses of it fail.

What can be read of the old file's outbox, with its claims and holdings, is put into the new one: nothing else has it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wgjit.errors import StoreError
from wgjit.stores import packing
from wgjit.stores.sqlite.file import schema
from wgjit.stores.sqlite.file.errors import translate
from wgjit.stores.sqlite.rows import claim_rows, holding_rows

_CLAIMS = f"""
    SELECT public_key, {claim_rows.COLUMNS} FROM outbox JOIN claims USING (public_key)
    WHERE what = 'claim' ORDER BY seq"""
_HOLDINGS = f"""
    SELECT public_key, {packing.holding_columns("h.")} FROM outbox JOIN holdings AS h USING (public_key)
    WHERE what = 'holding' ORDER BY seq"""


@dataclass(slots=True)
class Salvaged:
    """What was read of an old file."""

    instance: bytes | None = None
    claims: list[tuple[Any, ...]] = field(default_factory=list)
    holdings: list[tuple[Any, ...]] = field(default_factory=list)


def salvage(db: sqlite3.Connection) -> Salvaged:
    """All that can be read of what counts. Never raises an sqlite3.Error."""
    found = Salvaged()
    for row in _readable(db, "SELECT value FROM replica WHERE what = 'instance'"):
        found.instance = bytes(row[0])
    found.claims += _readable(db, _CLAIMS)
    found.holdings += _readable(db, _HOLDINGS)
    return found


def salvage_file(path: Path) -> Salvaged:
    """As `salvage`, of a file that may not even be a database."""
    with (
        contextlib.suppress(sqlite3.Error, StoreError),
        contextlib.closing(schema.connect(path, read_only=True, timeout=1.0)) as db,
    ):
        return salvage(db)
    return Salvaged()


def start_anew(path: Path, salvaged: Salvaged) -> None:
    """Put a new replica in the place of `path`. Raises StoreError."""
    fresh = Path(f"{path}-new")
    try:
        fresh.unlink(missing_ok=True)
        schema.create_file(fresh)
        for end in ("", "-wal", "-shm"):
            Path(f"{path}{end}").unlink(missing_ok=True)
        os.replace(fresh, path)
    except OSError as error:
        raise StoreError(f"registry {path}: cannot make the replica anew: {error.strerror}") from error
    schema.prepare(path, create=True, read_only=False)
    try:
        with contextlib.closing(schema.connect(path, read_only=False, timeout=5.0)) as db:
            db.execute("BEGIN IMMEDIATE")
            _fill(db, salvaged)
            db.execute("COMMIT")
    except sqlite3.Error as error:
        raise translate(error, path) from error


def _fill(db: sqlite3.Connection, salvaged: Salvaged) -> None:
    now = time.time_ns()
    values = {"instance": salvaged.instance or secrets.token_bytes(16), "arrivals": now // 1000}
    db.executemany("INSERT OR REPLACE INTO replica (what, value) VALUES (?, ?)", list(values.items()))
    # Greater than any number of the old file's, so that readers of the old one notice that they have missed some.
    db.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('changes', ?)", (now // 1_000_000,))
    db.executemany(claim_rows.save("TRUE"), salvaged.claims)
    holding_rows.queue(db, "claim", [row[0] for row in salvaged.claims])
    first = holding_rows.arrivals(db, len(salvaged.holdings))
    db.executemany(holding_rows.SAVE, [(*row, first + place) for place, row in enumerate(salvaged.holdings)])
    holding_rows.queue(db, "holding", [row[0] for row in salvaged.holdings])


def _readable(db: sqlite3.Connection, query: str) -> Iterator[tuple[Any, ...]]:
    with contextlib.suppress(sqlite3.Error):
        yield from db.execute(query)

"""What is written to the replica. Each call is one short transaction, in which the follower's place is written, too.

The registry of record decides. If it gives a peer an address or a name that another peer has here, the other peer has
lost it there, and loses it here at once: its own row is behind, and comes later.

A row of `peers` that does not change is not written, so it is in no log of changes, and no gateway looks it up.
"""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from wgjit.errors import StoreDamaged, StoreError
from wgjit.model import Claim, Holding, PublicKey, Registration, Removed
from wgjit.stores import packing
from wgjit.stores.replica import anew
from wgjit.stores.replica.follower.reading import Row
from wgjit.stores.sqlite.file import schema
from wgjit.stores.sqlite.file.connection import Link
from wgjit.stores.sqlite.file.errors import translate
from wgjit.stores.sqlite.rows import claim_rows, holding_rows

TIMEOUT = 5.0
"""Seconds to wait for the gateway, or another program, that writes to the file."""

COLUMNS = packing.columns()
_PEER = f"SELECT {COLUMNS} FROM peers WHERE public_key = ?"
_INSERT = f"INSERT INTO peers ({COLUMNS}) VALUES ({', '.join('?' * len(packing.PEER_COLUMNS))})"
_SET = ", ".join(f"{column} = ?{number}" for number, column in enumerate(packing.PEER_COLUMNS[1:], 2))
_UPDATE = f"UPDATE peers SET {_SET} WHERE public_key = ?1"
_ADDRESS = "INSERT INTO addresses (first, last, public_key) VALUES (?, ?, ?)"
_CLAIM = claim_rows.save("TRUE")
_OWNERS = """
    SELECT public_key, first, last FROM (
        SELECT public_key, first, last FROM addresses WHERE first <= ?1 ORDER BY first DESC LIMIT 1)
    WHERE coalesce(last, first) >= ?1
    UNION SELECT public_key, first, last FROM addresses WHERE first > ?1 AND first <= ?2"""


class File:
    """The replica `path`. Any thread may call anything; one at a time writes. Raises StoreError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._old: sqlite3.Connection | None = None
        self._held: tuple[int, int] | None = None
        self._instance: bytes | None = None
        self._link = Link(path, read_only=False, timeout=TIMEOUT)
        self.is_loading = False
        """Whether the first copy is being written; see `loading`."""
        self.touched: set[bytes] | None = None
        """Peers whose addresses were written here, while others are sorted to be written; None if none are."""

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A use of the file that only reads."""
        with self._lock, self._link as db:
            yield db

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction, committed at the end of the block."""
        with self._lock, self._link as db:
            db.execute("BEGIN IMMEDIATE")
            yield db
            db.execute("COMMIT")

    def check(self) -> None:
        """Hold on to the file, so that its outbox can be read when it is deleted.

        Raises StoreMissing, StoreDamaged, StoreError.
        """
        with self._lock:
            is_there = schema.identity(self.path)
            if self._old is None or is_there != self._held:
                self._let_go()
                try:
                    self._old = schema.connect(self.path, read_only=True, timeout=0.0)
                    (version,) = self._old.execute("PRAGMA user_version").fetchone()
                except sqlite3.Error as error:
                    raise translate(error, self.path) from error
                if version == 0:
                    raise StoreDamaged(f"registry {self.path}: is empty")
                self._held = is_there

    def start_anew(self) -> None:
        """Make the replica anew: it is damaged, gone, or half made of something else. Raises StoreError."""
        with self._lock:
            salvaged = anew.salvage_file(self.path) if self._old is None else anew.salvage(self._old)
            salvaged.instance = salvaged.instance or self._instance
            anew.start_anew(self.path, salvaged)
            self._let_go()
            self.is_loading, self.touched = False, None

    def _let_go(self) -> None:
        old, self._old = self._old, None
        if old is not None:
            old.close()

    # --- the place --------------------------------------------------------------------------------------------

    def values(self) -> dict[str, Any]:
        """All that the table `replica` has."""
        with self.reading() as db:
            return dict(db.execute("SELECT what, value FROM replica").fetchall())

    def set(self, values: Mapping[str, Any]) -> None:
        """Write values of the table `replica`."""
        with self.writing() as db:
            set_values(db, values)

    def instance(self) -> bytes:
        """This replica's own number. It is drawn at the first call."""
        with self.writing() as db:
            db.execute("INSERT OR IGNORE INTO replica (what, value) VALUES ('instance', ?)", (secrets.token_bytes(16),))
            (value,) = db.execute("SELECT value FROM replica WHERE what = 'instance'").fetchone()
        self._instance = bytes(value)
        return self._instance

    # --- peers ------------------------------------------------------------------------------------------------

    def put_peers(self, db: sqlite3.Connection, rows: Sequence[Row]) -> int:
        """Have these peers as they are, in the order of `packing.PEER_COLUMNS`. Returns how many rows were written."""
        written = 0
        for row in rows:
            old = db.execute(_PEER, (row[0],)).fetchone()
            if not is_same(old, row):
                self._put_peer(db, row, old)
                written += 1
        return written

    def drop_peers(self, db: sqlite3.Connection, keys: Sequence[bytes]) -> int:
        """Remove peers. Returns how many there were."""
        self._touch(keys)
        return db.executemany("DELETE FROM peers WHERE public_key = ?", [(key,) for key in keys]).rowcount

    def _put_peer(self, db: sqlite3.Connection, row: Row, old: Row | None) -> None:
        key, packed = row[0], row[1]
        if row[6] is not None:
            db.execute("UPDATE peers SET name = NULL WHERE name = ? AND public_key <> ?", (row[6], key))
        moves = old is None or old[1] != packed
        ranges = packing.pack_ranges(packed, packing.unpack_allowed_ips(packed)) if moves else []
        for first, last in ranges:
            for owner, _, _ in db.execute(_OWNERS, (first, last or first)).fetchall():
                if owner != key:
                    self._take_away(db, owner, first, last or first)
        db.execute(_INSERT if old is None else _UPDATE, row)
        if old is None and self.is_loading:  # the trigger is away
            db.execute("UPDATE totals SET count = count + 1 WHERE what = 'peers'")
        if moves:
            self._touch([key])
        db.executemany(_ADDRESS, [(first, last, key) for first, last in ranges])

    def _take_away(self, db: sqlite3.Connection, key: bytes, first: bytes, last: bytes) -> None:
        """Take all prefixes that overlap a range from a peer."""
        found = db.execute("SELECT allowed_ips FROM peers WHERE public_key = ?", (key,)).fetchone()
        if found is None:  # no peer has it: the file was damaged, or written by hand
            db.execute("DELETE FROM addresses WHERE public_key = ?", (key,))
            return
        ranges = [(prefix, *packing.pack_range(prefix)) for prefix in packing.unpack_allowed_ips(found[0])]
        kept = [(prefix, low, high) for prefix, low, high in ranges if low > last or (high or low) < first]
        # A trigger takes all of the peer's addresses off the table.
        packed = packing.pack_allowed_ips(prefix for prefix, _, _ in kept)
        db.execute("UPDATE peers SET allowed_ips = ? WHERE public_key = ?", (packed, key))
        db.executemany(_ADDRESS, [(low, high, key) for _, low, high in kept])
        self._touch([key])

    def _touch(self, keys: Iterable[bytes]) -> None:
        if self.touched is not None:
            self.touched.update(keys)


def is_same(here: Row | None, row: Row) -> bool:
    """Whether a row of `peers` here is as one of the registry of record."""
    return here == (*row[:4], int(row[4]), *row[5:])


def set_values(db: sqlite3.Connection, values: Mapping[str, Any]) -> None:
    """Write values of the table `replica`."""
    db.executemany("INSERT OR REPLACE INTO replica (what, value) VALUES (?, ?)", list(values.items()))


def put_removed(db: sqlite3.Connection, rows: Sequence[Row]) -> None:
    """Remember keys as removed: key and moment."""
    db.executemany(
        "INSERT INTO removed (public_key, at) VALUES (?, ?) ON CONFLICT (public_key) DO UPDATE SET at = excluded.at",
        [row[:2] for row in rows],
    )


def reset(db: sqlite3.Connection, keys: Sequence[bytes]) -> None:
    """Forget what a person deleted: claims, holdings, and what was to be said of them."""
    for table in ("outbox", "holdings", "claims", "removed"):
        db.executemany(f"DELETE FROM {table} WHERE public_key = ?", [(key,) for key in keys])


def others(db: sqlite3.Connection) -> list[Row]:
    """The other gateways, as `put_others` took them."""
    found = db.execute("SELECT name, lives, draining, service FROM gateways ORDER BY name").fetchall()
    return [(name, bool(lives), bool(draining), service) for name, lives, draining, service in found]


def put_others(db: sqlite3.Connection, others: Sequence[Row]) -> None:
    """Have these other gateways and no more: name, whether it lives, whether it drains, service addresses."""
    db.execute("DELETE FROM gateways")
    db.executemany("INSERT INTO gateways (name, lives, draining, service) VALUES (?, ?, ?, ?)", others)


# --- claims and holdings ----------------------------------------------------------------------------------------


def put_claims(db: sqlite3.Connection, rows: Sequence[Row]) -> list[Row]:
    """Take claims of the registry of record. Returns those that were not, as equal or greater ones are here."""
    return [row for row in rows if not db.execute(_CLAIM, row).rowcount]


def put_holdings(db: sqlite3.Connection, rows: Sequence[Row]) -> list[Row]:
    """Take holdings of the registry of record. Returns those that were not, as equal or greater ones are here."""
    if not rows:
        return []
    first = holding_rows.arrivals(db, len(rows))
    numbered = enumerate(rows, first)
    return [row for number, row in numbered if not db.execute(holding_rows.TAKE, (*row, number)).rowcount]


def greater_here(db: sqlite3.Connection, what: str, rows: Iterable[Row]) -> list[bytes]:
    """The keys whose claim (`claim`) or holding (`holding`) here is greater than the one of the registry of record."""
    order = {"claim": ("claims", "coalesce(proven, timestamp)", "(?)"),
             "holding": ("holdings", "timestamp, takeovers, gateway, epoch", "?, ?, ?, ?")}  # fmt: skip
    table, columns, marks = order[what]
    query = f"SELECT 1 FROM {table} WHERE public_key = ? AND ({columns}) > ({marks})"
    keys = []
    for row in rows:
        values = (row[5] or row[1],) if what == "claim" else row[1:5]
        if db.execute(query, (row[0], *values)).fetchone():
            keys.append(row[0])
    return keys


def put_found(file: File, db: sqlite3.Connection, key: PublicKey, found: Registration | Removed) -> None:
    """Have what the registry of record has of one key."""
    if isinstance(found, Removed):
        db.execute("INSERT OR IGNORE INTO removed (public_key, at) VALUES (?, CAST(strftime('%s') AS INTEGER))", (key,))
    else:
        file.put_peers(db, [packing.peer_row(found.peer)])
        if found.holding is not None:
            put_holdings(db, [packing.holding_row(found.holding)])
    if found.claim is not None:
        put_claims(db, [packing.claim_row(found.claim)])


def forget_unknown(db: sqlite3.Connection, keys: Iterable[bytes]) -> None:
    """Forget claims and holdings of keys that the registry of record does not know, unless they are known here."""
    for table in ("claims", "holdings"):
        db.executemany(
            f"DELETE FROM {table} WHERE public_key = ?1 AND NOT EXISTS (SELECT 1 FROM peers WHERE public_key = ?1) "
            "AND NOT EXISTS (SELECT 1 FROM removed WHERE public_key = ?1)",
            [(key,) for key in keys],
        )


# --- what is to be said -----------------------------------------------------------------------------------------


def unsaid(db: sqlite3.Connection, limit: int) -> tuple[list[Claim], list[Holding], int]:
    """The oldest of what is to be said, as it is now, and the number up to which it was read; 0 if there is nothing."""
    queued = db.execute("SELECT seq, what, public_key FROM outbox ORDER BY seq LIMIT ?", (limit,)).fetchall()
    claims: list[Claim] = []
    holdings: list[Holding] = []
    for _, what, key in queued:
        with contextlib.suppress(StoreError):  # a damaged row is not said
            if what == "claim":
                query = f"SELECT {claim_rows.COLUMNS} FROM claims WHERE public_key = ?"
                if row := db.execute(query, (key,)).fetchone():
                    claims.append(packing.row_claim(PublicKey(key), *row))
            else:
                query = f"SELECT {holding_rows.COLUMNS} FROM holdings WHERE public_key = ?"
                if row := db.execute(query, (key,)).fetchone():
                    holdings.append(packing.row_holding(key, *row))
    return claims, holdings, queued[-1][0] if queued else 0

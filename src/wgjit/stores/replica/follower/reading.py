"""What is read of the registry of record: what is new since a snapshot, and all that it has of a range of keys.

Rows come as a replica keeps them, but for their last column: the number of the transaction that wrote them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import capabilities

from wgjit.model import PublicKey, Registration, Removed
from wgjit.stores import packing
from wgjit.stores.postgresql.database.schema import Db
from wgjit.stores.postgresql.rows import claim_rows
from wgjit.stores.replica.follower.snapshot import Snapshot

Row = tuple[Any, ...]

_PEERS = f"""
    SELECT p.public_key, wgjit.packed(p.allowed_ips), {packing.columns("p.", key=False).partition(", ")[2]}, {{written}}
    FROM wgjit.peers AS p"""
_CLAIMS = f"SELECT c.public_key, {claim_rows.COLUMNS}, {{written}} FROM wgjit.claims AS c"
_HOLDINGS = f"SELECT h.public_key, {packing.holding_columns('h.')}, {{written}} FROM wgjit.holdings AS h"
_REMOVED = "SELECT r.public_key, r.at, {written} FROM wgjit.removed AS r"

MOST = 5000
"""Rows of a table that are read at once. If there are more, all tables are read as streams."""

_JOINED = "LEFT JOIN wgjit.peers AS p ON p.public_key = r.public_key"

_NEW = (
    ("resets", f"SELECT r.public_key, p.public_key IS NOT NULL, {{written}} FROM wgjit.resets AS r {_JOINED}", "r"),
    ("removed", f"SELECT r.public_key, r.at, p.public_key IS NOT NULL, {{written}} FROM wgjit.removed AS r {_JOINED}",
     "r"),
    ("claims", _CLAIMS, "c"),
    ("holdings", _HOLDINGS, "h"),
    ("peers", _PEERS, "p"),
)  # fmt: skip
"""Resets and removals come first, so that what is new counts after them."""

Apply = Callable[[str, list[Row]], None]
"""Takes rows of a table: `resets` (key, whether a peer has it), `removed` (key, moment, whether a peer has it),
`claims`, `holdings`, `peers`."""


@dataclass(frozen=True, slots=True)
class State:
    """What a server says of itself, in the transaction of what else is read."""

    identity: bytes
    is_standby: bool
    timeline: str | None
    """None on a standby."""
    snapshot: Snapshot
    replayed: float | None
    """On a standby: seconds since the last transaction that it has repeated was committed."""


def state(db: Db) -> State:
    """What the server says of itself, in a transaction that sees one moment."""
    row = db.execute("SELECT identity, is_standby, timeline, snapshot, replayed FROM wgjit.server()").fetchone()
    assert row is not None
    return State(bytes(row[0]), row[1], row[2], Snapshot.parse(row[3]), row[4])


def news(db: Db, since: Snapshot, check: Callable[[State], bool], apply: Apply, extend: Callable[[], None]) -> None:
    """Give all that `since` does not see to `apply`, a table's rows at a time; the last call is `("place", [[PLACE]])`.

    On a connection without a transaction. Mostly this is one statement. `check` gets what the server says of itself,
    before anything is applied; if it returns False, nothing is. `extend` is called whenever the server has answered.
    """
    with db.cursor(binary=True) as cursor:
        rows = cursor.execute(_NEWS, (str(since), MOST + 1)).fetchall()
    said = _state(rows[0])
    if not check(said):
        return
    new: dict[str, list[Row]] = {name: [] for name, _, _ in _NEW}
    for row in rows[1:]:
        new[row[0]].append(row)
    seen: set[int] = set()
    reset: list[bytes] = []
    if all(len(each) <= MOST for each in new.values()):
        seen.update(row[1] for row in rows)
        for name, each in new.items():
            if each:
                apply(name, [_ROWS[name](row) for row in each])
        reset += [row[2] for row in new["resets"]]
    else:
        del rows, new
        with db.transaction():
            db.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            said = state(db)
            if not check(said):
                return
            for name, query in _news(since):
                for each in _stream(db, query, extend):
                    seen.update(row[-1] for row in each)
                    apply(name, [row[:-1] for row in each])
                    if name == "resets":
                        reset += [row[0] for row in each]
    for start in range(0, len(reset), MOST):
        # Somebody may have said something new while another one deleted the old. The new is still there.
        for name, each in _of_keys(db, reset[start : start + MOST]):
            apply(name, each)
    place = since | (said.snapshot.with_seen(seen) if said.is_standby else said.snapshot)
    apply("place", [(place,)])


_NEWS = "SELECT * FROM wgjit.news(%s::pg_snapshot, %s)"

_ROWS: dict[str, Callable[[Row], Row]] = {
    "resets": lambda row: (row[2], row[3]),
    "removed": lambda row: (row[2], row[7], row[3]),
    "claims": lambda row: (row[2], row[4], row[10], row[5], row[12], row[6]),
    "holdings": lambda row: (row[2], row[4], row[7], row[10], row[8], row[5], row[12], row[13], row[11]),
    "peers": lambda row: (row[2], row[4], row[5], row[7], row[3], row[8], row[10], row[9]),
}
"""From the columns of `wgjit.news`."""


def _state(row: Row) -> State:
    return State(bytes(row[4]), row[3], row[10], Snapshot.parse(row[11]), row[12])


def _of_keys(db: Db, keys: Sequence[bytes]) -> Iterator[tuple[str, list[Row]]]:
    for name, select, alias in _NEW:
        if name in ("removed", "claims", "holdings"):
            query = f"{select.format(written='0')} WHERE {alias}.public_key = ANY(%b)"
            if rows := db.execute(query, (list(keys),)).fetchall():
                yield name, [row[:-1] for row in rows]


def _news(since: Snapshot) -> Iterator[tuple[str, str]]:
    for name, select, alias in _NEW:
        written = f"{alias}.written"
        query = select.format(written=f"{written}::text::int8")
        new = f"{written} >= '{since.xmin}'::xid8 AND NOT pg_visible_in_snapshot({written}, '{since}')"
        yield name, f"{query} WHERE {new}"


def _stream(db: Db, query: str, extend: Callable[[], None]) -> Iterator[list[Row]]:
    """The rows of a query in batches, as they come."""
    batch: list[Row] = []
    with db.cursor() as cursor:
        for row in cursor.stream(query.encode(), binary=True, size=_CHUNK):
            batch.append(row)
            if len(batch) == MOST:
                extend()
                yield batch
                batch = []
    extend()
    if batch:
        yield batch


_CHUNK = 500 if capabilities.has_stream_chunked() else 1
"""Rows that libpq gives at once."""


def of_range(db: Db, table: str, after: bytes, last: bytes | None, extend: Callable[[], None]) -> Iterator[list[Row]]:
    """A table's rows with keys after `after` and up to `last` (None: to the end), in the order of keys, in batches."""
    select, alias = _RANGES[table]
    key = f"{alias}.public_key"
    query = select.format(written="0") + f" WHERE {key} > '\\x{after.hex()}'"
    query += "" if last is None else f" AND {key} <= '\\x{last.hex()}'"
    for rows in _stream(db, f"{query} ORDER BY {key}", extend):
        yield [row[:-1] for row in rows]


_RANGES = {"claims": (_CLAIMS, "c"), "holdings": (_HOLDINGS, "h"), "removed": (_REMOVED, "r"), "peers": (_PEERS, "p")}


def peers(db: Db, keys: Sequence[bytes]) -> list[Row]:
    """The rows of peers with these keys."""
    query = f"{_PEERS.format(written='0')} WHERE p.public_key = ANY(%b)"
    return [row[:-1] for row in db.execute(query, (list(keys),)).fetchall()]


def lookup(db: Db, keys: Sequence[PublicKey]) -> dict[PublicKey, Registration | Removed]:
    """What the registry has of some keys; keys of which it has nothing are left out. Raises StoreError (damaged)."""
    found: dict[PublicKey, Registration | Removed] = {}
    query = f"""
        SELECT k, {packing.columns("p.")}, c.timestamp, c.gateway, c.endpoint, c.proven_at, c.proven,
               {packing.holding_columns("h.")}, r.public_key
        FROM unnest(%b::bytea[]) AS k LEFT JOIN wgjit.peers AS p ON p.public_key = k
            LEFT JOIN wgjit.claims AS c ON c.public_key = k LEFT JOIN wgjit.holdings AS h ON h.public_key = k
            LEFT JOIN wgjit.removed AS r ON r.public_key = k"""
    for row in db.execute(query, (list(keys),)).fetchall():
        key = PublicKey(row[0])
        claim = None if row[9] is None else packing.row_claim(key, *row[9:14])
        if row[1] is not None:
            holding = None if row[14] is None else packing.row_holding(key, *row[14:22])
            found[key] = Registration(packing.make_peer(*row[1:9]), claim, holding)
        elif row[22] is not None:
            found[key] = Removed(key, claim)
    return found

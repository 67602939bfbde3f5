"""Pages of peers that fit a filter, and the search for a text. A page reads no more rows than it has to.

Each filter has an index to walk along. Further filters are checked row by row. A cursor says where a page ended, and
the next page begins there (keyset paging), so a late page takes no longer than an early one.

| given                         | order            | walks along           |
| ----------------------------- | ---------------- | --------------------- |
| a label                       | key              | `labels_by_value`     |
| name prefix                   | name             | `peers_by_name`       |
| expires before, state expired | expiry, then key | `peers_by_expiry`     |
| state disabled                | key              | `peers_disabled`      |
| state enabled, or nothing     | key              | the table             |
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

from wgjit.model import PublicKey, Standing
from wgjit.stores import checks, handle_rules, packing
from wgjit.stores.entries import Entry, Filter, Page
from wgjit.stores.pages import BEYOND_TEXT, PEER_SIZE, PREFIX_FACTOR, fill, hidden_fields, parse_cursor
from wgjit.stores.sqlite.rows import labels
from wgjit.wire.key_text import holds_key

_COLUMNS = packing.columns("p.")

_HAS_STANDING = {
    Standing.ENABLED: "p.enabled = 1 AND (p.expires_at IS NULL OR p.expires_at > :now)",
    Standing.DISABLED: "p.enabled = 0",
    Standing.EXPIRED: "p.enabled = 1 AND p.expires_at <= :now",
}
"""`Peer.standing` as SQL. A test checks that the two agree."""


def page(db: sqlite3.Connection, wanted: Filter, now: float, limit: int, after: str | None = None) -> Page:
    """The first `limit` peers that fit, or the next after a cursor. Raises InvalidValue for a cursor of another filter.

    `now`, Unix seconds, decides which peers have expired. A page ends early, with a cursor, at `PAGE_SIZE`.
    """
    query, parameters = _query(wanted, now, after)
    found = db.execute(f"{query} LIMIT :limit", parameters | {"limit": limit + 1})
    entries, is_whole = _within(db, iter(found.fetchone, None), limit)
    return Page(entries, None if is_whole else wanted.cursor(entries[-1].peer))


def count(db: sqlite3.Connection, wanted: Filter, now: float) -> int:
    """The number of peers that fit. Reads all of these peers."""
    query, parameters = _query(wanted, now, None)
    (number,) = db.execute(f"SELECT count(*) FROM ({query})", parameters).fetchone()
    return int(number)


def search(db: sqlite3.Connection, text: str, limit: int, *, anywhere: bool) -> list[Entry]:
    """Peers whose name or key begins with `text`, that own an address in it, or that have it as a label.

    With `anywhere` also peers whose name contains `text` anywhere, for which all names are read. The list ends early at
    `PAGE_SIZE`.
    """
    found: dict[bytes, None] = {}
    for query, parameters in _searches(text, anywhere):
        if len(found) >= limit:
            break
        for (key,) in db.execute(f"{query} LIMIT :limit", parameters | {"limit": limit}):
            found[key] = None
    keys = list(found)[:limit]
    rows = (db.execute(f"SELECT {_COLUMNS} FROM peers p WHERE public_key = ?", (key,)).fetchone() for key in keys)
    return _within(db, (row for row in rows if row is not None), limit)[0]


def entry(db: sqlite3.Connection, key: PublicKey) -> Entry:
    """One peer as a listing shows it. Raises NoSuchPeer."""
    row = db.execute(f"SELECT {_COLUMNS} FROM peers p WHERE public_key = ?", (key,)).fetchone()
    if row is None:
        raise checks.no_such_peer(str(key))
    return entries_of(db, [row])[0]


def names(db: sqlite3.Connection, prefix: str, limit: int) -> list[str]:
    """The first `limit` names with this prefix, in order. Names with a key in them are left out."""
    query = "SELECT name FROM peers WHERE name >= ? AND name < ? ORDER BY name LIMIT ?"
    found = (name for (name,) in db.execute(query, (prefix, prefix + BEYOND_TEXT, limit)))
    return [name for name in found if not holds_key(name)]


def entries_of(db: sqlite3.Connection, rows: Sequence[tuple[Any, ...]], *, labelled: bool = True) -> list[Entry]:
    """Entries of these rows, with labels unless `labelled` is false. Raises StoreError for a damaged row."""
    peers = [packing.row_peer(*row) for row in rows]
    found, withheld = labels.read_all(db, [peer.public_key for peer in peers]) if labelled else ({}, set())
    entries = []
    for peer, row in zip(peers, rows, strict=True):
        left_out = hidden_fields(peer, row[6], labels=peer.public_key in withheld)
        entries.append(Entry(peer, found.get(peer.public_key, {}), left_out))
    return entries


def _within(db: sqlite3.Connection, rows: Iterator[tuple[Any, ...]], limit: int) -> tuple[list[Entry], bool]:
    """The first `limit` rows as entries, and whether these are all: see `pages.fill`."""
    sizes: dict[bytes, int] = {}

    def weigh(some: Sequence[tuple[Any, ...]]) -> list[int]:
        nonlocal sizes
        sizes = labels.sizes(db, [PublicKey(row[0]) for row in some])
        return [
            PEER_SIZE + PREFIX_FACTOR * len(row[1] if isinstance(row[1], bytes) else b"") + sizes.get(row[0], 0)
            for row in some
        ]

    def read(some: Sequence[tuple[Any, ...]]) -> list[Entry]:
        return entries_of(db, some, labelled=bool(sizes))

    return fill(rows, limit, weigh, read)


def _query(wanted: Filter, now: float, after: str | None) -> tuple[str, dict[str, Any]]:
    """The statement up to its LIMIT. CROSS JOIN and + make SQLite use the index that the head of this file names."""
    parameters: dict[str, Any] = {"now": int(now), "before": wanted.expires_before}
    conditions: list[str] = []
    source = "peers p"
    by_expiry = wanted.expires_before is not None or wanted.state is Standing.EXPIRED
    for number, (key, value) in enumerate(wanted.labels.items()):
        parameters |= {f"key{number}": key, f"value{number}": value}
        if number == 0:
            source = "labels l INDEXED BY labels_by_value CROSS JOIN peers p ON p.public_key = l.public_key"
            conditions.append("l.key = :key0 AND l.value = :value0")
        else:
            conditions.append(
                f"EXISTS (SELECT 1 FROM labels o WHERE o.public_key = p.public_key AND o.key = :key{number}"
                f" AND o.value = :value{number})"
            )
    column = "l.public_key" if wanted.labels else "p.public_key"
    order = column
    if wanted.name_prefix is not None:
        parameters |= {"name": wanted.name_prefix, "beyond": wanted.name_prefix + BEYOND_TEXT}
        if wanted.labels:
            conditions.append("+p.name >= :name AND +p.name < :beyond")
        else:
            source, order = "peers p INDEXED BY peers_by_name", "p.name"
            # The index needs one lower bound to begin at: the cursor, if there is one.
            conditions.append(f"{'' if after is None else '+'}p.name >= :name AND p.name < :beyond")
    elif by_expiry and not wanted.labels:
        source, order = "peers p INDEXED BY peers_by_expiry", "p.expires_at, p.public_key"
        conditions.append("p.expires_at IS NOT NULL")
    elif wanted.state is Standing.DISABLED and not wanted.labels:
        source = "peers p INDEXED BY peers_disabled"
    if wanted.expires_before is not None:
        conditions.append("p.expires_at < :before")
    if wanted.state is not None:
        conditions.append(_HAS_STANDING[wanted.state])
    if after is not None:
        conditions.append(_behind(order, after, parameters))
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return f"SELECT {_COLUMNS} FROM {source}{where} ORDER BY {order}", parameters


def _behind(order: str, after: str, parameters: dict[str, Any]) -> str:
    """The condition for the rows after a cursor."""
    if order == "p.name":
        parameters["after"] = checks.parse_key(after) or after
        if isinstance(parameters["after"], PublicKey):
            return "p.name > (SELECT name FROM peers WHERE public_key = :after)"
        return "p.name > :after"
    with_expiry = order.startswith("p.expires_at")
    parameters["after"], parameters["expiry"] = parse_cursor(after, with_expiry=with_expiry)
    if not with_expiry:
        return f"{order} > :after"
    return "(p.expires_at, p.public_key) > (:expiry, :after)"


def _searches(text: str, anywhere: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    """Statements up to their LIMIT, the likeliest first. Each selects keys."""
    key: PublicKey | None = checks.parse_key(text)
    if key is not None:
        yield "SELECT public_key FROM peers WHERE public_key = :key", {"key": key}
    if (prefix := handle_rules.address(text)) is not None:
        first, last = packing.pack_range(prefix)
        bounds = {"first": first, "last": last or first}
        yield (
            "SELECT public_key FROM (SELECT coalesce(last, first) AS last, public_key FROM addresses "
            "WHERE first < :first ORDER BY first DESC LIMIT 1) WHERE last >= :first",
            bounds,
        )
        yield "SELECT public_key FROM addresses WHERE first BETWEEN :first AND :last ORDER BY first", bounds
    label, equals, value = text.partition("=")
    if equals and value:
        yield (
            "SELECT public_key FROM labels WHERE key = :key AND value = :value ORDER BY public_key",
            {"key": label, "value": value},
        )
    yield (
        "SELECT public_key FROM peers WHERE name >= :name AND name < :beyond ORDER BY name",
        {"name": text, "beyond": text + BEYOND_TEXT},
    )
    if (keys := handle_rules.key_range(text)) is not None:
        yield (
            "SELECT public_key FROM peers WHERE public_key BETWEEN :low AND :high ORDER BY public_key",
            {"low": keys[0], "high": keys[1]},
        )
    if anywhere:
        yield (
            "SELECT public_key FROM peers INDEXED BY peers_by_name WHERE name IS NOT NULL AND instr(name, :name)",
            {"name": text},
        )

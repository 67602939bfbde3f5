"""Pages of peers that fit a filter, and the search for a text. A page reads no more rows than it has to.

Each filter has an index to walk along, the same as in SQLite. Further filters are checked row by row. A cursor says
where a page ended, and the next page begins there (keyset paging), so a late page takes no longer than an early one.

| given                         | order            | walks along           |
| ----------------------------- | ---------------- | --------------------- |
| a label                       | key              | `labels_by_value`     |
| name prefix                   | name             | `peers_by_name`       |
| expires before, state expired | expiry, then key | `peers_by_expiry`     |
| state disabled                | key              | `peers_disabled`      |
| state enabled, or nothing     | key              | the primary key       |
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from wgjit.model import PublicKey, Standing
from wgjit.stores import checks, handle_rules, label_rules, packing
from wgjit.stores.entries import EVERY, Entry, Filter, Page
from wgjit.stores.pages import BEYOND_TEXT, PEER_SIZE, PREFIX_FACTOR, fill, hidden_fields, parse_cursor
from wgjit.stores.postgresql.database.schema import Db
from wgjit.stores.postgresql.rows import handles, labels
from wgjit.stores.postgresql.rows.texts import storable
from wgjit.wire.key_text import holds_key

_COLUMNS = packing.columns("p.")

_HAS_STANDING = {
    Standing.ENABLED: "p.enabled AND (p.expires_at IS NULL OR p.expires_at > %(now)s)",
    Standing.DISABLED: "NOT p.enabled",
    Standing.EXPIRED: "p.enabled AND p.expires_at <= %(now)s",
}
"""`Peer.standing` as SQL. A test checks that the two agree."""

_PACKED = {4: 6, 6: 18}
"""Bytes of a packed prefix, which `PREFIX_FACTOR` is for."""

_FEW = 2048
"""Bytes of labels that a peer's row may bring along."""

_WITH_LABELS = f"""{_COLUMNS}, (
    SELECT CASE WHEN its.size <= {_FEW} THEN (
        SELECT json_object_agg(l.key, l.value ORDER BY l.key)::text FROM wgjit.labels AS l
        WHERE l.public_key = p.public_key) WHEN its.size > {_FEW} THEN '' END
    FROM (SELECT sum(octet_length(l.key) + octet_length(l.value)) AS size FROM wgjit.labels AS l
          WHERE l.public_key = p.public_key) AS its)"""
"""A peer's columns and its labels as JSON: NULL if there are none, empty if they are too large to come along."""


def page_at_once(db: Db, wanted: Filter, now: float, limit: int, after: str | None = None) -> Page | None:
    """As `page`, by one statement, which needs no transaction to see one moment. None if it takes `page`.

    That is so if other programs gave a peer of this page very large labels.
    """
    query, parameters = _query(wanted, now, after, _WITH_LABELS)
    parameters["limit"] = limit + 1
    # Of the filters with parameters of their own each value may want a plan of its own.
    rows = db.execute(f"{query} LIMIT %(limit)s", parameters, prepare=wanted == EVERY).fetchall()
    if any(row[-1] == "" for row in rows):
        return None
    entries, is_whole = fill(map(_labelled, rows), limit, _weigh_labelled, _entries_labelled)
    return Page(entries, None if is_whole else wanted.cursor(entries[-1].peer))


def page(db: Db, wanted: Filter, now: float, limit: int, after: str | None = None) -> Page:
    """The first `limit` peers that fit, or the next after a cursor. Raises InvalidValue for a cursor of another filter.

    `now`, Unix seconds, decides which peers have expired. A page ends early, with a cursor, at `PAGE_SIZE`.
    """
    query, parameters = _query(wanted, now, after)
    with db.cursor() as cursor:
        cursor.execute(f"{query} LIMIT %(limit)s", parameters | {"limit": limit + 1})
        entries, is_whole = _within(db, iter(cursor.fetchall()), limit)
    return Page(entries, None if is_whole else wanted.cursor(entries[-1].peer))


def count(db: Db, wanted: Filter, now: float) -> int:
    """The number of peers that fit. Reads all of these peers."""
    query, parameters = _query(wanted, now, None)
    row = db.execute(f"SELECT count(*) FROM ({query}) AS fitting", parameters).fetchone()
    assert row is not None
    return int(row[0])


def search(db: Db, text: str, limit: int, *, anywhere: bool) -> list[Entry]:
    """Peers whose name or key begins with `text`, that own an address in it, or that have it as a label.

    With `anywhere` also peers whose name contains `text` anywhere, for which all names are read. The list ends early at
    `PAGE_SIZE`.
    """
    found: dict[bytes, None] = {}
    for query, parameters in _searches(text, anywhere):
        if len(found) >= limit:
            break
        for (key,) in db.execute(f"{query} LIMIT %(limit)s", parameters | {"limit": limit}).fetchall():
            found[key] = None
    keys = list(found)[:limit]
    rows = db.execute(f"SELECT {_COLUMNS} FROM wgjit.peers AS p WHERE public_key = ANY(%b)", (keys,)).fetchall()
    by_key = {row[0]: row for row in rows}
    return _within(db, (by_key[key] for key in keys if key in by_key), limit)[0]


def entry_at_once(db: Db, key: PublicKey) -> Entry | None:
    """As `entry`, by one statement. None if it takes `entry`."""
    row = db.execute(
        f"SELECT {_WITH_LABELS} FROM wgjit.peers AS p WHERE public_key = %s", (key,), prepare=True
    ).fetchone()
    if row is None:
        raise checks.no_such_peer(str(key))
    return None if row[-1] == "" else _entries_labelled([_labelled(row)])[0]


def entry(db: Db, key: PublicKey) -> Entry:
    """One peer as a listing shows it. Raises NoSuchPeer."""
    row = db.execute(f"SELECT {_COLUMNS} FROM wgjit.peers AS p WHERE public_key = %s", (key,)).fetchone()
    if row is None:
        raise checks.no_such_peer(str(key))
    return _entries_of(db, [row])[0]


def names(db: Db, prefix: str, limit: int) -> list[str]:
    """The first `limit` names with this prefix, in order. Names with a key in them are left out."""
    query = "SELECT name FROM wgjit.peers WHERE name >= %s AND name < %s ORDER BY name LIMIT %s"
    prefix = storable(prefix)
    found = (name for (name,) in db.execute(query, (prefix, prefix + BEYOND_TEXT, limit)))
    return [name for name in found if not holds_key(name)]


def _entries_of(db: Db, rows: Sequence[tuple[Any, ...]], *, labelled: bool = True) -> list[Entry]:
    """Entries of these rows, with labels unless `labelled` is false. Raises StoreError for a damaged row."""
    peers = [packing.make_peer(*row) for row in rows]
    found, withheld = labels.read_all(db, [peer.public_key for peer in peers]) if labelled else ({}, set())
    entries = []
    for peer, row in zip(peers, rows, strict=True):
        left_out = hidden_fields(peer, row[6], labels=peer.public_key in withheld)
        entries.append(Entry(peer, found.get(peer.public_key, {}), left_out))
    return entries


def _within(db: Db, rows: Iterator[tuple[Any, ...]], limit: int) -> tuple[list[Entry], bool]:
    """The first `limit` rows as entries, and whether these are all: see `pages.fill`."""
    sizes: dict[bytes, int] = {}

    def weigh(some: Sequence[tuple[Any, ...]]) -> list[int]:
        nonlocal sizes
        sizes = labels.sizes(db, [PublicKey(row[0]) for row in some])
        return [_weigh(row) + sizes.get(row[0], 0) for row in some]

    def read(some: Sequence[tuple[Any, ...]]) -> list[Entry]:
        return _entries_of(db, some, labelled=bool(sizes))

    return fill(rows, limit, weigh, read)


_Labelled = tuple[tuple[Any, ...], dict[str, str]]
"""A peer's columns, and its labels."""


def _labelled(row: tuple[Any, ...]) -> _Labelled:
    return row[:-1], {} if row[-1] is None else json.loads(row[-1])


def _weigh(row: Sequence[Any]) -> int:
    """Bytes of JSON of a peer without its labels."""
    prefixes = row[1]
    packed = _PACKED[prefixes[0].version] if len(prefixes) == 1 else sum(_PACKED[each.version] for each in prefixes)
    return PEER_SIZE + PREFIX_FACTOR * packed


def _weigh_labelled(rows: Sequence[_Labelled]) -> list[int]:
    return [
        _weigh(row) + (sum(labels.size(key, value) for key, value in its.items()) if its else 0) for row, its in rows
    ]


def _entries_labelled(rows: Sequence[_Labelled]) -> list[Entry]:
    """Entries of these rows. Raises StoreError for a damaged row."""
    entries = []
    for row, its in rows:
        peer = packing.make_peer(*row)
        shown = {key: value for key, value in its.items() if not label_rules.is_withheld(key, value)} if its else {}
        left_out = hidden_fields(peer, row[6], labels=len(shown) < len(its))
        entries.append(Entry(peer, shown, left_out))
    return entries


def _query(wanted: Filter, now: float, after: str | None, columns: str = _COLUMNS) -> tuple[str, dict[str, Any]]:
    """The statement up to its LIMIT."""
    parameters: dict[str, Any] = {"now": int(now), "before": wanted.expires_before}
    conditions: list[str] = []
    source = "wgjit.peers AS p"
    by_expiry = wanted.expires_before is not None or wanted.state is Standing.EXPIRED
    for number, (key, value) in enumerate(wanted.labels.items()):
        parameters |= {f"key{number}": storable(key), f"value{number}": storable(value)}
        if number == 0:
            source = "wgjit.labels AS l JOIN wgjit.peers AS p ON p.public_key = l.public_key"
            conditions.append("l.key = %(key0)s AND l.value = %(value0)s")
        else:
            conditions.append(
                f"EXISTS (SELECT FROM wgjit.labels AS o WHERE o.public_key = p.public_key AND o.key = %(key{number})s"
                f" AND o.value = %(value{number})s)"
            )
    order = "l.public_key" if wanted.labels else "p.public_key"
    if wanted.name_prefix is not None:
        name = storable(wanted.name_prefix)
        parameters |= {"name": name, "beyond": name + BEYOND_TEXT}
        conditions.append("p.name >= %(name)s AND p.name < %(beyond)s")
        if not wanted.labels:
            order = "p.name"
    elif by_expiry and not wanted.labels:
        order = "p.expires_at, p.public_key"
        conditions.append("p.expires_at IS NOT NULL")
    if wanted.expires_before is not None:
        conditions.append("p.expires_at < %(before)s")
    if wanted.state is not None:
        conditions.append(_HAS_STANDING[wanted.state])
    if after is not None:
        conditions.append(_behind(order, after, parameters))
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return f"SELECT {columns} FROM {source}{where} ORDER BY {order}", parameters


def _behind(order: str, after: str, parameters: dict[str, Any]) -> str:
    """The condition for the rows after a cursor."""
    if order == "p.name":
        key = checks.parse_key(after)
        parameters["after"] = storable(after) if key is None else key
        if key is not None:
            return "p.name > (SELECT name FROM wgjit.peers WHERE public_key = %(after)s)"
        return "p.name > %(after)s"
    with_expiry = order.startswith("p.expires_at")
    parameters["after"], parameters["expiry"] = parse_cursor(after, with_expiry=with_expiry)
    if not with_expiry:
        return f"{order} > %(after)s"
    return "(p.expires_at, p.public_key) > (%(expiry)s, %(after)s)"


def _searches(text: str, anywhere: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    """Statements up to their LIMIT, the likeliest first. Each selects keys."""
    key: PublicKey | None = checks.parse_key(text)
    if key is not None:
        yield "SELECT public_key FROM wgjit.peers WHERE public_key = %(key)s", {"key": key}
    if (prefix := handle_rules.address(text)) is not None:
        bounds = {"prefix": str(prefix), "last": str(prefix.broadcast_address)}
        yield handles.OWNER, bounds
        yield (
            "SELECT public_key FROM wgjit.addresses WHERE prefix > %(prefix)s::cidr AND prefix <= %(last)s::cidr "
            "ORDER BY prefix",
            bounds,
        )
    label, equals, value = storable(text).partition("=")
    if equals and value:
        yield (
            "SELECT public_key FROM wgjit.labels WHERE key = %(key)s AND value = %(value)s ORDER BY public_key",
            {"key": label, "value": value},
        )
    name = storable(text)
    yield (
        "SELECT public_key FROM wgjit.peers WHERE name >= %(name)s AND name < %(beyond)s ORDER BY name",
        {"name": name, "beyond": name + BEYOND_TEXT},
    )
    if (keys := handle_rules.key_range(text)) is not None:
        yield (
            "SELECT public_key FROM wgjit.peers WHERE public_key BETWEEN %(low)s AND %(high)s ORDER BY public_key",
            {"low": keys[0], "high": keys[1]},
        )
    if anywhere:
        yield (
            "SELECT public_key FROM wgjit.peers WHERE name IS NOT NULL AND strpos(name, %(name)s) > 0 ORDER BY name",
            {"name": name},
        )

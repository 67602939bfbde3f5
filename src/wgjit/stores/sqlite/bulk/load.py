"""Registers many peers at once: staged in temporary tables, checked as sets, inserted in key order.

Registering peers one by one costs a round trip of Python and three triggers a peer, and random keys write to pages
everywhere in the table. So a load first stages its peers, while no other program has to wait. `commit` then inserts
them with a few statements, sorted, in one transaction. Meanwhile a second connection sorts their addresses
(`bulk.aside`). The triggers that check the same rules row by row are dropped inside that transaction, and made again
before it commits. No other connection ever sees the schema without them, and a crash leaves the file as it was.

Meanwhile the rules are held so:

| rule                        | held by                                                                           |
| --------------------------- | --------------------------------------------------------------------------------- |
| a key, a name once          | the primary key and the unique index; a plain INSERT replaces nothing             |
| disjoint addresses          | equal first addresses: the primary key. A range that contains another's first     |
|                             | address: one pass over all ranges, or, beside a far larger registry, the trigger  |
| the count of peers          | the same transaction adds the number of inserted rows                             |
| labels are of a peer        | their own trigger, which stays                                                    |

If a rule is broken, the transaction is rolled back, and a second transaction takes the slow way. Rows that equal a
registered peer count as present. Set operations single out the rows that conflict with any other row, staged or
registered. The rest is inserted as before. The singled-out rows follow one by one, in the order of their lines, with
all triggers. A row without conflict may be inserted early, so the result is the same as of adding all rows one by one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from wgjit.errors import StoreError
from wgjit.model import Peer, PublicKey
from wgjit.stores import checks, label_rules, packing
from wgjit.stores.entries import PLAINLY, Loaded, Loading
from wgjit.stores.loading import again
from wgjit.stores.loading.again import Refused
from wgjit.stores.sqlite.bulk.aside import CACHE, Aside
from wgjit.stores.sqlite.bulk.rows import NoteChange, Rows, unnoted_change

_ROUND = 16_384
"""Plain records staged by one statement."""

_LARGER = 4
"""A registry more than this many times the size of a batch is not read as a whole: the triggers check."""

_COLUMNS = packing.columns()

_SPARED = ("peers_not_replaced", "peers_counted")
_DISJOINT = "addresses_disjoint"

_STAGE = f"""
CREATE TEMP TABLE ordinals (i INTEGER PRIMARY KEY);
CREATE TEMP TABLE other (line INTEGER PRIMARY KEY, {_COLUMNS}, labelled NOT NULL);
CREATE TEMP TABLE other_labels (line, key, value, PRIMARY KEY (line, key)) WITHOUT ROWID;
CREATE TEMP TABLE other_ranges (line, first, last, public_key);
CREATE TEMP TABLE apart (line INTEGER PRIMARY KEY, present);
CREATE TEMP VIEW new_keys AS
    SELECT line, substr(record, 1, 32) AS public_key FROM plain
    WHERE NOT EXISTS (SELECT 1 FROM apart WHERE apart.line = plain.line AND present)
    UNION ALL SELECT line, public_key FROM other
    WHERE NOT EXISTS (SELECT 1 FROM apart WHERE apart.line = other.line AND present);
CREATE TEMP VIEW new_ranges AS
    SELECT line, substr(record, 33, 5) AS first, substr(record, 33, 5) AS last FROM plain
    WHERE NOT EXISTS (SELECT 1 FROM apart WHERE apart.line = plain.line AND present)
    UNION ALL SELECT line, first, coalesce(last, first) FROM other_ranges
    WHERE NOT EXISTS (SELECT 1 FROM apart WHERE apart.line = other_ranges.line AND present);
WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {_ROUND - 1})
    INSERT INTO ordinals SELECT i FROM n;
"""

_STAGE_ROUND = """
INSERT INTO staged.plain SELECT ?1 + i * ?2, substr(?3, i * 38 + 1, 38), ?5 FROM ordinals WHERE i < ?4"""

_INSERT_PEERS = f"""
INSERT INTO main.peers (public_key, allowed_ips)
    SELECT substr(record, 1, 32), substr(record, 33) FROM staged.plain
    WHERE line NOT IN (SELECT line FROM apart) ORDER BY 1, 2;
INSERT INTO main.peers ({_COLUMNS})
    SELECT {_COLUMNS} FROM other WHERE line NOT IN (SELECT line FROM apart) ORDER BY public_key
"""
"""The order is by the inserted columns. A sorter keeps such a column once, but keeps any other expression beside it."""

_MOVE_ADDRESSES = "INSERT INTO main.addresses SELECT * FROM sorted.addresses"
_SORT_ADDRESSES = """
INSERT INTO main.addresses (first, last, public_key)
    SELECT substr(record, 33, 5), NULL, substr(record, 1, 32) FROM staged.plain
    WHERE line NOT IN (SELECT line FROM apart) ORDER BY 1, 3"""

_INSERT_OTHERS = """
INSERT INTO main.addresses (first, last, public_key)
    SELECT first, last, public_key FROM other_ranges WHERE line NOT IN (SELECT line FROM apart) ORDER BY first;
INSERT INTO main.labels (public_key, key, value)
    SELECT public_key, l.key, l.value FROM other_labels AS l JOIN other USING (line)
    WHERE line NOT IN (SELECT line FROM apart) ORDER BY public_key, l.key
"""

_FORGET_FREED = """
DELETE FROM main.freed WHERE (pool, first, last) IN (
    SELECT p.id, r.first, r.last FROM new_ranges AS r CROSS JOIN main.pools AS p
    WHERE r.first BETWEEN p.first AND p.last AND r.line NOT IN (SELECT line FROM apart))"""
"""As `pools.taken`. A range around a whole pool stays in `freed`, and `pools.allocate` checks it."""

_OVERLAP = """
SELECT 1 FROM main.addresses AS wide WHERE last IS NOT NULL
    AND EXISTS (SELECT 1 FROM main.addresses AS inner WHERE inner.first > wide.first AND inner.first <= wide.last)
LIMIT 1"""

_PLAIN = packing.peer_row(Peer(PublicKey(bytes(32))))
_CHANGEABLE = packing.PEER_COLUMNS[1:]
_IS_SAME = " AND ".join(f"p.{column} IS o.{column}" for column in _CHANGEABLE)
_IS_PLAIN = " AND ".join(
    f"p.{column} IS {'NULL' if value is None else int(value)}"
    for column, value in zip(_CHANGEABLE[1:], _PLAIN[2:], strict=True)
)

_SINGLE_OUT = f"""
INSERT INTO apart
    SELECT line, 1 FROM plain JOIN main.peers AS p ON p.public_key = substr(record, 1, 32)
    WHERE p.allowed_ips = substr(record, 33) AND {_IS_PLAIN}
      AND NOT (unlabelled AND EXISTS (SELECT 1 FROM main.labels AS l WHERE l.public_key = p.public_key));
INSERT INTO apart
    SELECT line, 1 FROM other AS o JOIN main.peers AS p ON p.public_key = o.public_key
    WHERE {_IS_SAME}
      AND (NOT labelled
           OR NOT EXISTS (SELECT key, value FROM other_labels WHERE line = o.line
                          EXCEPT SELECT key, value FROM main.labels WHERE public_key = o.public_key)
          AND NOT EXISTS (SELECT key, value FROM main.labels WHERE public_key = o.public_key
                          EXCEPT SELECT key, value FROM other_labels WHERE line = o.line));
INSERT OR IGNORE INTO apart
    SELECT line, 0 FROM new_keys AS s WHERE EXISTS (SELECT 1 FROM main.peers WHERE public_key = s.public_key);
INSERT OR IGNORE INTO apart
    SELECT line, 0 FROM (
        SELECT line, public_key, lag(public_key) OVER w AS before, lead(public_key) OVER w AS after
        FROM new_keys WINDOW w AS (ORDER BY public_key))
    WHERE public_key IS before OR public_key IS after;
INSERT OR IGNORE INTO apart
    SELECT line, 0 FROM other AS s
    WHERE name IS NOT NULL AND EXISTS (SELECT 1 FROM main.peers AS p WHERE p.name = s.name);
INSERT OR IGNORE INTO apart
    SELECT line, 0 FROM (
        SELECT line, name, lag(name) OVER w AS before, lead(name) OVER w AS after
        FROM other WHERE name IS NOT NULL WINDOW w AS (ORDER BY name))
    WHERE name IS before OR name IS after;
INSERT OR IGNORE INTO apart
    SELECT line, 0 FROM new_ranges AS s
    WHERE (SELECT coalesce(last, first) FROM main.addresses
           WHERE first <= s.last ORDER BY first DESC LIMIT 1) >= s.first;
INSERT OR IGNORE INTO apart
    SELECT line, 0 FROM (
        SELECT line, first, last,
               max(last) OVER (ORDER BY first, last ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS reached,
               lead(first) OVER (ORDER BY first, last) AS after
        FROM new_ranges)
    WHERE reached >= first OR after <= last
"""

_CLEAR = "DELETE FROM other; DELETE FROM other_labels; DELETE FROM other_ranges; DELETE FROM apart"


class _Overlap(Exception):
    """Two ranges in `addresses` overlap."""


BeforeCommit = Callable[[sqlite3.Connection, Loaded, str], None]
"""Gets the result of a batch and its source, in the batch's transaction. An error that it raises undoes the batch."""


def unnoted(_db: sqlite3.Connection, _loaded: Loaded, _source: str) -> None:
    """Do nothing."""


class BulkLoad:
    """Peers on their way into a registry, a batch at a time. Any thread may call this, one at a time.

    `db` is the load's own connection. An sqlite3.Error is left to the caller who opened `db`. `insert` registers a
    round of peers with all triggers, and raises a worded error for a refused peer. `cache`: KiB of memory for each of
    the load's two connections. `note_change` is told each registered peer that an update has changed. The line numbers
    of a batch ascend, and none comes twice.
    """

    def __init__(
        self,
        db: sqlite3.Connection,
        insert: Callable[[sqlite3.Connection, list[Peer]], None],
        before_commit: BeforeCommit = unnoted,
        cache: int = CACHE,
        note_change: NoteChange = unnoted_change,
    ) -> None:
        self._db = db
        self._insert_one = insert
        self._before_commit = before_commit
        self._note_change = note_change
        self.staged = 0
        """Peers in this batch so far."""
        db.execute(f"PRAGMA cache_size = -{cache}")
        self._run(_STAGE)
        self._aside = Aside(db, cache)

    def close(self) -> None:
        """Drop peers that are staged but not committed. Call this before `db` is closed."""
        self._aside.close()

    def plain(self, lines: Sequence[int], records: Sequence[bytes], *, unlabelled: bool = False) -> None:
        """Stage plain peers: the records of `plain.pack_plain`, and the line of each.

        `unlabelled`: the source says that these peers have no labels. A registered peer with labels then counts as
        different.
        """
        for start in range(0, len(records), _ROUND):
            part, numbers = records[start : start + _ROUND], lines[start : start + _ROUND]
            if isinstance(numbers, range):  # the usual case: bind one value, not thousands
                self._aside.run(
                    _STAGE_ROUND,
                    (numbers.start, numbers.step, b"".join(part), len(part), unlabelled),
                )
            else:
                self._aside.settle()
                self._db.execute("BEGIN")
                rows = ((line, record, unlabelled) for line, record in zip(numbers, part, strict=True))
                self._db.executemany("INSERT INTO staged.plain VALUES (?, ?, ?)", rows)
                self._db.execute("COMMIT")
        self.staged += len(records)

    def peers(self, peers: Iterable[tuple[int, Peer]], said: Mapping[int, Mapping[str, str]] | None = None) -> None:
        """Stage any peers, each with its line. Raises InvalidValue for an invalid name, too many allowed IPs or labels.

        `said`: labels by line, for the peers whose labels the source states. Each label is valid.
        """
        said = said or {}
        for given in said.values():
            label_rules.check_count(len(given))
        rows, ranges = [], []
        for line, peer in peers:
            checks.check_peer(peer)
            row = packing.peer_row(peer)
            rows.append((line, *row, line in said))
            ranges += [(line, first, last, row[0]) for first, last in packing.pack_ranges(row[1], peer.allowed_ips)]
        self._aside.settle()
        self._db.execute("BEGIN")
        self._db.executemany("INSERT INTO other VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
        self._db.executemany("INSERT INTO other_ranges VALUES (?, ?, ?, ?)", ranges)
        pairs = ((row[0], key, value) for row in rows for key, value in said.get(row[0], {}).items())
        self._db.executemany("INSERT INTO other_labels VALUES (?, ?, ?)", pairs)
        self._db.execute("COMMIT")
        self.staged += len(rows)

    def commit(self, refused: Refused, source: str = "", how: Loading = PLAINLY) -> Loaded:
        """Register the staged peers in one transaction, and begin the next batch.

        `source`: where the peers were read from. Raises StoreBusy, StoreError, and what `refused` and `how.settled`
        raise. After an error no peer of this batch is registered.
        """
        if not self.staged:
            how.settled()
            return Loaded(0, 0, 0)
        self._aside.settle()
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._insert_all(at_once=True)
        except (sqlite3.IntegrityError, _Overlap):
            self._aside.stop()
            self._db.execute("ROLLBACK")
            self._aside.forget_sorted()
            self._db.execute("BEGIN IMMEDIATE")
            loaded = self._sift(refused, how)
        else:
            loaded = Loaded(self.staged, 0, 0)
        how.settled()
        self._before_commit(self._db, loaded, source)
        self._db.execute("COMMIT")
        self._run(_CLEAR)
        self._aside.forget()
        self.staged = 0
        return loaded

    def _sift(self, refused: Refused, how: Loading) -> Loaded:
        """Insert all rows without a conflict, then the others one by one."""
        self._run(_SINGLE_OUT)
        apart, present = self._db.execute("SELECT count(*), coalesce(sum(present), 0) FROM apart").fetchone()
        try:
            self._insert_all(at_once=False)
        except (sqlite3.IntegrityError, _Overlap) as error:
            raise StoreError("a peer of this import is refused by the schema; a value is out of range") from error
        rows = Rows(self._db, self._insert_one, self._note_change)
        peers = self._singled_out()
        return again.settle_all(rows, peers, how, refused, added=self.staged - apart, present=present)

    def _insert_all(self, *, at_once: bool) -> None:
        """Insert the rows that are not in `apart`. `at_once`: `apart` is empty. Raises IntegrityError, _Overlap."""
        (before,) = self._db.execute("SELECT count FROM totals WHERE what = 'peers'").fetchone()
        scan = before <= _LARGER * self.staged
        with self._without((*_SPARED, _DISJOINT) if scan else _SPARED):
            if at_once:
                self._aside.sort()
            inserted = sum(self._run(_INSERT_PEERS))
            self._aside.settle()
            self._db.execute(_MOVE_ADDRESSES if at_once else _SORT_ADDRESSES)
            self._run(_INSERT_OTHERS)
            self._db.execute("UPDATE totals SET count = count + ? WHERE what = 'peers'", (inserted,))
            if scan and self._db.execute(_OVERLAP).fetchone():
                raise _Overlap
        if self._db.execute("SELECT 1 FROM main.freed LIMIT 1").fetchone():
            self._db.execute(_FORGET_FREED)

    @contextmanager
    def _without(self, names: tuple[str, ...]) -> Iterator[None]:
        """Drop triggers inside the running transaction, and make them again afterwards. After an error, roll back."""
        marks = ", ".join("?" * len(names))
        query = f"SELECT name, sql FROM main.sqlite_master WHERE type = 'trigger' AND name IN ({marks})"
        triggers = self._db.execute(query, names).fetchall()
        if len(triggers) != len(names):
            raise StoreError("the registry's schema lacks a trigger; restore the file from a backup")
        for name, _ in triggers:
            self._db.execute(f"DROP TRIGGER main.{name}")
        yield
        for _, sql in triggers:
            self._db.execute(sql)

    def _singled_out(self) -> Iterator[tuple[int, Peer, dict[str, str] | None]]:
        """Line, peer and stated labels of the rows in conflict, in the order of lines."""
        last = -1
        while True:
            query = "SELECT line FROM apart WHERE NOT present AND line > ? ORDER BY line LIMIT 1000"
            lines = [line for (line,) in self._db.execute(query, (last,))]
            for line in lines:
                found = self._db.execute("SELECT record, unlabelled FROM plain WHERE line = ?", (line,)).fetchone()
                if found is not None:
                    peer = packing.row_peer(found[0][:32], found[0][32:], None, 0, 1, None, None, None)
                    yield line, peer, {} if found[1] else None
                else:
                    *row, said = self._db.execute(
                        f"SELECT {_COLUMNS}, labelled FROM other WHERE line = ?", (line,)
                    ).fetchone()
                    pairs = self._db.execute("SELECT key, value FROM other_labels WHERE line = ?", (line,))
                    yield line, packing.row_peer(*row), dict(pairs.fetchall()) if said else None
            if not lines:
                return
            last = lines[-1]

    def _run(self, script: str) -> list[int]:
        """Run a script, inside the open transaction if there is one. Returns how many rows each statement wrote."""
        return [self._db.execute(statement).rowcount for statement in script.split(";") if statement.strip()]

"""Registers many peers at once: sorted, copied in key order, and checked as sets.

A batch is one transaction, so that it works behind pgbouncer. Before `commit` no other program has to wait. Most peers
of a large batch are plain. They are sorted on this side (`spill`), with no transaction open, and `commit` copies them
into the table, which costs the server two thirds of an INSERT. The others are staged in a temporary table, which ends
with the transaction, and are inserted sorted by one statement. The schema's triggers work on whole statements, so they
check a batch as one set.

If a rule is broken, the insertion is undone, all rows are staged, and the batch takes the slow way. Rows that equal a
registered peer count as present. Set operations single out the rows that conflict with any other row, staged or
registered. The rest is inserted at once. The singled-out rows follow one by one, in the order of their lines. A row
without conflict may be inserted early, so the result is the same as of adding all rows one by one.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from psycopg import errors as pg

from wgjit.errors import StoreError
from wgjit.model import Peer
from wgjit.stores import audit_records, checks, label_rules, packing
from wgjit.stores.entries import PLAINLY, Author, Loaded, Loading
from wgjit.stores.loading import again
from wgjit.stores.loading.again import Refused
from wgjit.stores.plain import PLAIN_SIZE
from wgjit.stores.postgresql import audit
from wgjit.stores.postgresql.database.connection import Database
from wgjit.stores.postgresql.database.schema import Db
from wgjit.stores.postgresql.rows import peer_rows
from wgjit.stores.postgresql.rows.loaded import Rows
from wgjit.stores.postgresql.spill import LINE, Spill

CACHE = 65_536
"""KiB of memory for each sort on the server."""

_COLUMNS = packing.columns()
_TRIES = 5
"""How often the slow way is gone, if other programs register peers in conflict meanwhile."""

_STAGE = """
CREATE TEMP TABLE stage (
    line bigint NOT NULL, public_key bytea NOT NULL, allowed_ips cidr[] NOT NULL, preshared_key bytea,
    keepalive integer NOT NULL DEFAULT 0, enabled boolean NOT NULL DEFAULT true, expires_at bigint,
    name text COLLATE "C", idle_timeout integer, labelled boolean NOT NULL
) ON COMMIT DROP;
CREATE TEMP TABLE stage_labels (line bigint NOT NULL, key text COLLATE "C" NOT NULL, value text COLLATE "C" NOT NULL)
    ON COMMIT DROP;
CREATE TEMP TABLE apart (line bigint PRIMARY KEY, present boolean NOT NULL) ON COMMIT DROP
"""

_COPY_PLAIN = "COPY wgjit.peers (public_key, allowed_ips) FROM STDIN (FORMAT binary)"
_STAGE_PLAIN = "COPY pg_temp.stage (line, public_key, allowed_ips, labelled) FROM STDIN (FORMAT binary)"
_COPY_PEERS = f"COPY pg_temp.stage (line, {_COLUMNS}, labelled) FROM STDIN"
_COPY_LABELS = "COPY pg_temp.stage_labels (line, key, value) FROM STDIN"

_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"
# Fields, each behind its length: the key, and an array of one cidr (type 650: one dimension, no NULL, from index 1;
# family 2, 32 bits, is a cidr, 4 bytes of address). A staged row also has its line and whether it is labelled.
_KEY = struct.pack(">i", 32)
_ARRAY = struct.pack(">7i4s", 32, 1, 0, 650, 1, 1, 8, b"\x02\x20\x01\x04")
_COPIED = struct.pack(">h", 2) + _KEY
_STAGED = struct.Struct(">hiq36s32s4sib")

_NOT_APART = "NOT EXISTS (SELECT FROM pg_temp.apart AS a WHERE a.line = s.line)"
_NOT_PRESENT = "NOT EXISTS (SELECT FROM pg_temp.apart AS a WHERE a.line = s.line AND a.present)"

_INSERT_ALL = f"INSERT INTO wgjit.peers ({_COLUMNS}) SELECT {_COLUMNS} FROM pg_temp.stage ORDER BY public_key"
_INSERT_REST = f"""
    INSERT INTO wgjit.peers ({_COLUMNS}) SELECT {_COLUMNS} FROM pg_temp.stage AS s WHERE {_NOT_APART}
    ORDER BY public_key"""
_INSERT_LABELS = f"""
    INSERT INTO wgjit.labels (public_key, key, value)
    SELECT s.public_key, l.key, l.value FROM pg_temp.stage_labels AS l JOIN pg_temp.stage AS s USING (line)
    WHERE {_NOT_APART} ORDER BY 1, 2"""

_FORGET_FREED = f"""
    DELETE FROM wgjit.freed WHERE ctid = ANY (ARRAY(
        SELECT f.ctid FROM (
            SELECT host(network(prefix))::inet AS first, host(broadcast(prefix))::inet AS last
            FROM (SELECT unnest(allowed_ips) AS prefix FROM pg_temp.stage AS s WHERE {_NOT_APART}) AS staged) AS r
        JOIN wgjit.freed AS f USING (first, last) FOR UPDATE OF f SKIP LOCKED))"""
"""As `pools.taken`. A range around a whole pool stays in `freed`, and `pools.allocate` checks it."""

_IS_SAME = " AND ".join(f"p.{column} IS NOT DISTINCT FROM s.{column}" for column in packing.PEER_COLUMNS[1:])
_ITS = "SELECT key, value FROM pg_temp.stage_labels WHERE line = s.line"
_HAS = "SELECT key, value FROM wgjit.labels WHERE public_key = s.public_key"
_RANGES = f"(SELECT line, unnest(allowed_ips) AS prefix FROM pg_temp.stage AS s WHERE {_NOT_PRESENT}) AS n"
_LAST = "set_masklen(broadcast(prefix)::inet, CASE family(prefix) WHEN 4 THEN 32 ELSE 128 END)"

_SINGLE_OUT = (
    f"""
    INSERT INTO pg_temp.apart SELECT line, true FROM pg_temp.stage AS s JOIN wgjit.peers AS p USING (public_key)
    WHERE {_IS_SAME} AND (NOT labelled
        OR NOT EXISTS ({_ITS} EXCEPT {_HAS}) AND NOT EXISTS ({_HAS} EXCEPT {_ITS}))""",
    f"""
    INSERT INTO pg_temp.apart SELECT line, false FROM pg_temp.stage AS s JOIN wgjit.peers AS p USING (public_key)
    WHERE {_NOT_PRESENT} ON CONFLICT DO NOTHING""",
    f"""
    INSERT INTO pg_temp.apart SELECT line, false FROM (
        SELECT line, count(*) OVER (PARTITION BY public_key) AS times FROM pg_temp.stage AS s WHERE {_NOT_PRESENT}
    ) AS keys WHERE times > 1 ON CONFLICT DO NOTHING""",
    f"""
    INSERT INTO pg_temp.apart SELECT line, false FROM pg_temp.stage AS s JOIN wgjit.peers AS p USING (name)
    WHERE {_NOT_PRESENT} ON CONFLICT DO NOTHING""",
    f"""
    INSERT INTO pg_temp.apart SELECT line, false FROM (
        SELECT line, count(*) OVER (PARTITION BY name) AS times FROM pg_temp.stage AS s
        WHERE name IS NOT NULL AND {_NOT_PRESENT}
    ) AS names WHERE times > 1 ON CONFLICT DO NOTHING""",
    f"""
    INSERT INTO pg_temp.apart SELECT DISTINCT line, false FROM {_RANGES} CROSS JOIN LATERAL (
        (SELECT prefix FROM wgjit.addresses WHERE prefix <= n.prefix ORDER BY prefix DESC LIMIT 1)
        UNION ALL
        (SELECT prefix FROM wgjit.addresses WHERE prefix > n.prefix ORDER BY prefix LIMIT 1)) AS o
    WHERE o.prefix && n.prefix ON CONFLICT DO NOTHING""",
    f"""
    INSERT INTO pg_temp.apart SELECT DISTINCT line, false FROM (
        SELECT line, prefix, lead(prefix) OVER (ORDER BY prefix) AS after,
               max({_LAST}) OVER (ORDER BY prefix ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS reached
        FROM {_RANGES}) AS ranges
    WHERE reached >= host(network(prefix))::inet OR after <<= prefix ON CONFLICT DO NOTHING""",
)
"""Each after the other, since each leaves out what was found present."""


class BulkLoad:
    """Peers on their way into a registry, a batch at a time. Any thread may call this, one at a time.

    `cache`: KiB of memory for each sort on the server. The line numbers of a batch ascend, and none comes twice.
    """

    def __init__(self, database: Database, by: Author, cache: int = CACHE) -> None:
        self._database = database
        self._by = by
        self._settings = f"SET LOCAL work_mem = '{cache}kB'; SET LOCAL idle_in_transaction_session_timeout = 0"
        self._plain = Spill()
        self._batch = contextlib.ExitStack()
        self._open: Db | None = None
        self._has_stage = False
        self.staged = 0
        """Peers in this batch so far."""

    def close(self) -> None:
        """Drop peers that are staged but not committed."""
        self._drop()

    def plain(self, lines: Sequence[int], records: Sequence[bytes], *, unlabelled: bool = False) -> None:
        """Stage plain peers: the records of `plain.pack_plain`, and the line of each.

        `unlabelled`: the source says that these peers have no labels. A registered peer with labels then counts as
        different.
        """
        if any(len(record) != PLAIN_SIZE for record in records):
            raise StoreError(f"registry {self._database.url}: a rule of the schema refuses this row (a plain record)")
        try:
            self._plain.add(lines, records, unlabelled=unlabelled)
        except StoreError:
            self._drop()
            raise
        self.staged += len(records)

    def peers(self, peers: Iterable[tuple[int, Peer]], said: Mapping[int, Mapping[str, str]] | None = None) -> None:
        """Stage any peers, each with its line. Raises InvalidValue for an invalid name, too many allowed IPs or labels.

        `said`: labels by line, for the peers whose labels the source states. Each label is valid.
        """
        said = said or {}
        for given in said.values():
            label_rules.check_count(len(given))
        rows: list[tuple[Any, ...]] = []
        for line, peer in peers:
            checks.check_peer(peer)
            rows.append((line, *peer_rows.columns(peer), line in said))
        pairs = [(row[0], key, value) for row in rows for key, value in said.get(row[0], {}).items()]
        with self._transaction() as db, db.cursor() as cursor:
            self._make_stage(db)
            with cursor.copy(_COPY_PEERS) as copy:
                for row in rows:
                    copy.write_row(row)
            if pairs:
                with cursor.copy(_COPY_LABELS) as copy:
                    for pair in pairs:
                        copy.write_row(pair)
        self.staged += len(rows)

    def commit(self, refused: Refused, source: str = "", how: Loading = PLAINLY) -> Loaded:
        """Register the staged peers in one transaction, and begin the next batch.

        `source`: where the peers were read from. Raises StoreBusy, StoreError, and what `refused` and `how.settled`
        raise. After an error no peer of this batch is registered.
        """
        if not self.staged:
            how.settled()
            return Loaded(0, 0, 0)
        with self._transaction() as db:
            loaded = self._insert_all(db) or self._sift(db, refused, how)
            how.settled()
            if loaded.added or loaded.updated:
                audit.write(db, self._by, [audit_records.imported(loaded, source)])
            db.execute("DISCARD PLANS")  # the triggers' plans are made for many rows; the next one may write one
        self._end().close()  # commits
        return loaded

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Db]:
        """The transaction of this batch, begun if there is none. After an error the batch is dropped."""
        try:
            if self._open is None:
                self._open = self._batch.enter_context(self._database.change(more=self._settings, long=True))
            yield self._open
        except BaseException as error:
            self._drop(error)
            raise

    def _end(self) -> contextlib.ExitStack:
        """Begin the next batch. Returns what ends the transaction of this one."""
        batch, self._batch, self._open = self._batch, contextlib.ExitStack(), None
        self.staged, self._has_stage = 0, False
        self._plain.clear()
        return batch

    def _drop(self, error: BaseException | None = None) -> None:
        """End the batch's transaction without a commit. Raises the StoreError for a psycopg.Error."""
        error = error or _Dropped()
        with contextlib.suppress(_Dropped):
            self._end().__exit__(type(error), error, error.__traceback__)

    def _make_stage(self, db: Db) -> None:
        if not self._has_stage:
            db.execute(_STAGE)
            self._has_stage = True

    def _insert_all(self, db: Db) -> Loaded | None:
        """Insert all rows. None if a rule is broken, and nothing is inserted."""
        sample = self._plain.sample()
        if db.execute("SELECT 1 FROM wgjit.peers WHERE public_key = ANY(%b) LIMIT 1", (sample,)).fetchone():
            return None  # most likely it was imported before
        try:
            with db.transaction():
                with db.cursor() as cursor, cursor.copy(_COPY_PLAIN) as copy:
                    copy.write(_HEADER)
                    for rows in self._plain.rows():
                        copy.write(b"".join([_COPIED + row[:32] + _ARRAY + row[33:37] for row in rows]))
                    copy.write(_TRAILER)
                if self._has_stage:
                    _insert(db, _INSERT_ALL)
        except (pg.UniqueViolation, pg.ExclusionViolation):
            return None
        if _has_freed(db):
            self._stage_plain(db)
            db.execute(_FORGET_FREED)
        return Loaded(self.staged, 0, 0)

    def _stage_plain(self, db: Db) -> None:
        """Have the plain rows in the stage, too."""
        self._make_stage(db)
        with db.cursor() as cursor, cursor.copy(_STAGE_PLAIN) as copy:
            copy.write(_HEADER)
            for rows in self._plain.rows():
                copy.write(b"".join([_staged_row(row) for row in rows]))
            copy.write(_TRAILER)

    def _sift(self, db: Db, refused: Refused, how: Loading) -> Loaded:
        """Insert all rows without a conflict, then the others one by one."""
        self._stage_plain(db)
        db.execute("CREATE INDEX ON pg_temp.stage (line); ANALYZE pg_temp.stage, pg_temp.stage_labels")
        for more in range(_TRIES, -1, -1):
            for statement in _SINGLE_OUT:
                db.execute(statement)
            try:
                with db.transaction():
                    _insert(db, _INSERT_REST)
                break
            except (pg.UniqueViolation, pg.ExclusionViolation):  # by another program, meanwhile
                if not more:
                    raise
                db.execute("DELETE FROM pg_temp.apart")
        if _has_freed(db):
            db.execute(_FORGET_FREED)
        row = db.execute("SELECT count(*), count(*) FILTER (WHERE present) FROM pg_temp.apart").fetchone()
        assert row is not None
        apart, present = row
        rows = Rows(db, self._by)
        peers = _singled_out(db)
        return again.settle_all(rows, peers, how, refused, added=self.staged - apart, present=present)


class _Dropped(Exception):
    """A batch is dropped."""


def _insert(db: Db, statement: str) -> None:
    db.execute(statement)
    db.execute(_INSERT_LABELS)


def _has_freed(db: Db) -> bool:
    return db.execute("SELECT 1 FROM wgjit.freed LIMIT 1").fetchone() is not None


def _staged_row(row: bytes) -> bytes:
    """A plain row as `_STAGE_PLAIN` takes it."""
    (line,) = LINE.unpack_from(row, PLAIN_SIZE)
    return _STAGED.pack(4, 8, line >> 1, _KEY + row[:32], _ARRAY, row[33:37], 1, line & 1)


def _singled_out(db: Db) -> Iterator[tuple[int, Peer, dict[str, str] | None]]:
    """Line, peer and stated labels of the rows in conflict, in the order of lines."""
    query = f"""
        SELECT line, labelled, {_COLUMNS} FROM pg_temp.stage AS s JOIN pg_temp.apart USING (line)
        WHERE NOT present AND line > %s ORDER BY line LIMIT 1000"""
    last = -(2**63)
    while rows := db.execute(query, (last,)).fetchall():
        for line, labelled, *row in rows:
            pairs = db.execute("SELECT key, value FROM pg_temp.stage_labels WHERE line = %s", (line,))
            yield line, packing.make_peer(*row), dict(pairs.fetchall()) if labelled else None
        last = rows[-1][0]

"""Two ways to keep addresses disjoint in PostgreSQL, beside each other: `./dev bench disjoint`.

trigger    the B-tree of the primary key, with the trigger and the lock of 0002_disjoint.sql: the schema itself
GiST       the same B-tree, and `EXCLUDE USING gist (prefix inet_ops WITH &&)`, without trigger and lock
GiST alone the exclusion constraint without the B-tree, which pools, pages and searches need for the order of addresses;
           measured with the smallest of --peers

Each has --peers single addresses, every second one of a range, in no order. The index of GiST is built behind them.
Then others are added: between them in no order, and behind them in order, as a pool gives them out. One statement adds
--rows, then one connection and eight at once add some, one a transaction. At last they add wide prefixes. CPU time is
that of the connections' server processes.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import psycopg
from psycopg import errors as pg

from bench.plain_peers import STRIDE
from bench.processes import Process
from bench.report import Report, add_option, check_above_zero
from bench.server import Server
from wgjit.database_url import DatabaseUrl
from wgjit.stores.postgresql.database import schema

WRITERS = 8
SHARE = 10
"""One a transaction, a tenth of --rows is added."""
MOST = 12_000_000
"""Addresses, every second one, below those of the wide prefixes."""

_EXCLUDE = "ALTER TABLE addresses ADD EXCLUDE USING gist (prefix inet_ops WITH &&)"


@dataclass(frozen=True)
class Way:
    """A table of addresses, and what keeps them disjoint."""

    name: str
    table: str
    make: str
    """Statement for an empty database, or for one with an empty registry."""
    finish: str
    """Statement once the table is filled."""


WAYS = (
    # The guard has only triggers write the table; here it is written without peers.
    Way("trigger", "wgjit.addresses", "DROP TRIGGER addresses_by_triggers ON wgjit.addresses", ""),
    Way(
        "GiST",
        "addresses",
        "CREATE TABLE addresses (prefix cidr NOT NULL PRIMARY KEY, public_key bytea NOT NULL)",
        _EXCLUDE,
    ),
    Way(
        "GiST alone", "addresses", "CREATE TABLE addresses (prefix cidr NOT NULL, public_key bytea NOT NULL)", _EXCLUDE
    ),
)


@dataclass(frozen=True)
class Cost:
    """What an addition cost."""

    cpu: float
    """Microseconds of the server's CPU time a row."""
    rate: float
    """Rows a second."""

    def __str__(self) -> str:
        return f"{self.cpu:,.1f} µs, {self.rate:,.0f}/s"


def between(peers: int) -> str:
    """An expression: the n-th address between those that are there, in no order."""
    return f"('10.0.0.0'::inet + (2 * (n * {STRIDE} % {peers}) + 1))::cidr"


def behind(peers: int) -> str:
    """An expression: the n-th address behind those that are there."""
    return f"('10.0.0.0'::inet + (2 * {peers}::bigint + n))::cidr"


WIDE = "set_masklen('12.0.0.0'::inet + 16 * n, 28)::cidr"
"""An expression: the n-th wide prefix."""

KEY = "sha256(int8send(n))"


class Table:
    """A table of one way on an open server, with `peers` addresses in it."""

    def __init__(self, way: Way, server: Server, url: str, peers: int) -> None:
        self._way, self._server, self._url, self._peers = way, server, url, peers
        self._next = 0

    def measure(self, rows: int) -> Iterator[tuple[str, str]]:
        """Lines of the report: what was done, and what it cost."""
        with self._server.shell(self._url) as shell:
            if self._way.table.startswith("wgjit."):
                schema.init(DatabaseUrl(self._url))
            shell.execute(self._way.make.encode())
            yield "fill, in no order", str(self._fill(shell))
            check_disjoint(shell, self._way.table)
            size = shell.execute(f"SELECT pg_total_relation_size('{self._way.table}')".encode()).fetchone()
            assert size is not None
            yield "size, bytes a row", f"{int(str(size[0])) / self._peers:,.0f}"
            for order, prefix in (("in no order", between(self._peers)), ("in order", behind(self._peers))):
                yield f"{rows:,} {order}, one statement", str(self._by_statement(shell, prefix, rows))
        for writers in (1, WRITERS):
            who = "one connection" if writers == 1 else f"{writers} connections"
            for order, prefix, share in (
                ("single, in no order", between(self._peers), SHARE),
                ("single, in order", behind(self._peers), SHARE),
                ("wide", WIDE, 2 * SHARE),
            ):
                each = max(1, rows // share // writers)
                yield f"{order}, one a transaction, {who}", str(self._one_by_one(prefix, writers, each))

    def _fill(self, shell: psycopg.Connection[tuple[object, ...]]) -> Cost:
        process, began = backend(shell), time.perf_counter()
        before = process.cpu()
        address = f"('10.0.0.0'::inet + 2 * (n * {STRIDE} % {self._peers}))::cidr"
        insert = f"INSERT INTO {self._way.table} (prefix, public_key) SELECT {address}, {KEY}"
        shell.execute(f"{insert} FROM generate_series(0::bigint, {self._peers - 1}) AS n".encode())
        if self._way.finish:
            shell.execute("SET maintenance_work_mem = '256MB'; SET max_parallel_maintenance_workers = 0")
            shell.execute(self._way.finish.encode())
        cost = self._cost(process.cpu() - before, time.perf_counter() - began, self._peers)
        shell.execute(f"VACUUM ANALYZE {self._way.table}".encode())
        shell.execute("CHECKPOINT")
        return cost

    def _by_statement(self, shell: psycopg.Connection[tuple[object, ...]], prefix: str, rows: int) -> Cost:
        process, began = backend(shell), time.perf_counter()
        before, first = process.cpu(), self._numbers(rows)
        insert = f"INSERT INTO {self._way.table} (prefix, public_key) SELECT {prefix}, {KEY}"
        shell.execute(f"{insert} FROM generate_series({first}::bigint, {first + rows - 1}) AS n".encode())
        return self._cost(process.cpu() - before, time.perf_counter() - began, rows)

    def _one_by_one(self, prefix: str, writers: int, each: int) -> Cost:
        """Rows by some connections, one a transaction."""
        insert = f"INSERT INTO {self._way.table} (prefix, public_key) SELECT {prefix}, {KEY}"
        statement = f"{insert} FROM (SELECT %s::bigint AS n) AS one".replace("% ", "%% ").encode()
        spent: list[float] = []
        start = threading.Barrier(writers + 1)

        def write(first: int) -> None:
            with self._server.shell(self._url) as shell:
                process = backend(shell)
                start.wait()
                before = process.cpu()
                for number in range(first, first + each):
                    shell.execute(statement, (number,), prepare=True)
                spent.append(process.cpu() - before)

        threads = [threading.Thread(target=write, args=(self._numbers(each),)) for _ in range(writers)]
        for thread in threads:
            thread.start()
        start.wait()
        began = time.perf_counter()
        for thread in threads:
            thread.join()
        if len(spent) != writers:
            sys.exit("bench disjoint: a connection failed")
        return self._cost(sum(spent), time.perf_counter() - began, writers * each)

    def _numbers(self, count: int) -> int:
        """The first of some numbers that no row has had."""
        first, self._next = self._next, self._next + count
        return first

    @staticmethod
    def _cost(cpu: float, seconds: float, rows: int) -> Cost:
        return Cost(1e6 * cpu / rows, rows / seconds)


def backend(shell: psycopg.Connection[tuple[object, ...]]) -> Process:
    """The server's process of a connection."""
    return Process(shell.info.backend_pid)


def check_disjoint(shell: psycopg.Connection[tuple[object, ...]], table: str) -> None:
    """End this process if the table takes what overlaps."""
    for prefix in ("10.0.0.0/32", "10.0.0.0/30", "8.0.0.0/5"):
        with contextlib.suppress(pg.UniqueViolation, pg.ExclusionViolation):
            shell.execute(f"INSERT INTO {table} (prefix, public_key) VALUES ('{prefix}', '')".encode())
            sys.exit(f"bench disjoint: {table} has taken {prefix}, which overlaps others")


def columns(peers: int, rows: int, ways: Sequence[Way], say: Callable[[str], None]) -> list[list[tuple[str, str]]]:
    """The lines of each way, each on a server of its own."""
    measured = []
    for way in ways:
        with Server() as server, server.database(empty=True) as url:
            lines = []
            for what, cost in Table(way, server, url, peers).measure(rows):
                say(f"{peers:,}, {way.name}: {what}: {cost}")
                lines.append((what, cost))
            measured.append(lines)
    return measured


def progress(text: str) -> None:
    """Say what was just measured."""
    print(text, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench.disjoint", description="Ways to keep addresses disjoint.")
    parser.add_argument("--peers", type=int, nargs="+", default=[1_000_000], metavar="N", help="addresses in the table")
    parser.add_argument("--rows", type=int, default=20_000, metavar="N", help="addresses added by one statement")
    add_option(parser)
    options = parser.parse_args(arguments)
    check_above_zero(parser, options, "rows")
    if not 10 * options.rows <= min(options.peers) <= max(options.peers) <= MOST:
        parser.error(f"--peers: must be ten times --rows to {MOST:,}")
    report = Report("disjoint", options.write)
    sizes = sorted(set(options.peers))
    ways = {peers: WAYS if peers == sizes[0] else WAYS[:2] for peers in sizes}
    measured = {peers: columns(peers, options.rows, ways[peers], progress) for peers in sizes}
    report.head(arguments)
    report.say("In each cell: the server's CPU time a row, and rows a second.")
    for peers in sizes:
        rows = [(same[0][0], *(cost for _, cost in same)) for same in zip(*measured[peers], strict=True)]
        report.table((f"{peers:,} addresses", *(way.name for way in ways[peers])), rows)
    report.finish()
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""psycopg beside asyncpg: `python -m bench.drivers --asyncpg PYTHON`, which is a Python that has asyncpg.

asyncpg is no dependency of wgjit, so it is measured in an environment of its own, by this very file. Both talk to the
same server with the same registry in it, by one connection, and prepare nothing, as behind pgbouncer in transaction
mode. CPU time is that of the client, each the least of some rounds, since other programs only add to it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

PEERS = 100_000
ROUNDS = 10

LOOKUP = """
    SELECT p.allowed_ips, p.preshared_key, p.keepalive, p.enabled, p.expires_at, p.name, p.idle_timeout,
           c.timestamp, c.gateway, c.endpoint, c.proven_at, c.proven
    FROM wgjit.peers AS p LEFT JOIN wgjit.claims AS c ON c.public_key = p.public_key WHERE p.public_key = {}"""
PAGE = "SELECT public_key, allowed_ips, keepalive, enabled, name FROM wgjit.peers ORDER BY public_key LIMIT 100"
OUT = "SELECT public_key, allowed_ips FROM wgjit.peers"
MADE = "CREATE TEMP TABLE copied (public_key bytea, allowed_ips cidr[])"

Figures = dict[str, tuple[float, float]]
"""By what was done: microseconds of the client's CPU time, and microseconds in all."""


def least(times: int, action: Callable[[], object], rounds: int = ROUNDS) -> tuple[float, float]:
    """CPU time and time of one of `times` calls, each the least of some rounds."""
    cpu, wall = [], []
    for _ in range(rounds):
        began, used = time.perf_counter(), time.process_time()
        for _ in range(times):
            action()
        cpu.append(1e6 * (time.process_time() - used) / times)
        wall.append(1e6 * (time.perf_counter() - began) / times)
    return min(cpu), min(wall)


def parts(data: bytes) -> Iterator[bytes]:
    """Data in parts of the size that a COPY sends at once."""
    for start in range(0, len(data), 1 << 18):
        yield data[start : start + (1 << 18)]


def with_psycopg(url: str) -> Figures:
    """As the registry uses it: with its own loaders for prefixes."""
    from wgjit.database_url import DatabaseUrl
    from wgjit.stores.postgresql.database import schema

    db = schema.connect(DatabaseUrl(url))
    (key,) = db.execute("SELECT public_key FROM wgjit.peers OFFSET 777 LIMIT 1").fetchone() or (b"",)

    def copy_out() -> bytes:
        with db.cursor().copy(f"COPY ({OUT}) TO STDOUT (FORMAT binary)") as copy:
            return b"".join(copy)

    def copy_in(data: bytes) -> None:
        with db.cursor().copy("COPY pg_temp.copied FROM STDIN (FORMAT binary)") as copy:
            for part in parts(data):
                copy.write(part)

    figures = {
        "lookup": least(200, lambda: db.execute(LOOKUP.format("%s"), (key,)).fetchone()),
        "page of 100": least(50, lambda: db.execute(PAGE).fetchall()),
    }
    db.execute(MADE)
    data = copy_out()
    figures |= {
        "COPY in, a row": tuple(each / PEERS for each in least(1, lambda: copy_in(data), 4)),
        "COPY out, a row": tuple(each / PEERS for each in least(1, copy_out, 4)),
    }
    db.close()
    return figures


def with_asyncpg(url: str) -> Figures:
    """From synchronous code, as the registry would have to: a loop runs for each call."""
    import asyncpg

    loop = asyncio.new_event_loop()

    def run(what: Awaitable[object]) -> object:
        return loop.run_until_complete(what)

    db = run(asyncpg.connect(url, statement_cache_size=0))
    key = run(db.fetchval("SELECT public_key FROM wgjit.peers OFFSET 777 LIMIT 1"))

    async def many(times: int, query: str, *parameters: object) -> None:
        for _ in range(times):
            await db.fetch(query, *parameters)

    def copy_out() -> bytes:
        found: list[bytes] = []

        async def take(part: bytes) -> None:
            found.append(part)

        run(db.copy_from_query(OUT, output=take, format="binary"))
        return b"".join(found)

    def copy_in(data: bytes) -> None:
        async def source() -> object:
            for part in parts(data):
                yield part

        run(db.copy_to_table("copied", source=source(), format="binary"))

    figures = {
        "lookup": least(200, lambda: run(db.fetchrow(LOOKUP.format("$1"), key))),
        "page of 100": least(50, lambda: run(db.fetch(PAGE))),
        "lookup, inside of the loop": tuple(
            each / 200 for each in least(1, lambda: run(many(200, LOOKUP.format("$1"), key)))
        ),
    }
    run(db.execute(MADE))
    data = copy_out()
    figures |= {
        "COPY in, a row": tuple(each / PEERS for each in least(1, lambda: copy_in(data), 4)),
        "COPY out, a row": tuple(each / PEERS for each in least(1, copy_out, 4)),
    }
    run(db.close())
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.drivers", description="Two drivers for PostgreSQL.")
    parser.add_argument("--asyncpg", metavar="PYTHON", help="a Python that has asyncpg")
    parser.add_argument("--url", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.url:
        print(json.dumps(with_asyncpg(options.url)))
        return 0
    if not options.asyncpg:
        parser.error("--asyncpg: give a Python that has asyncpg, such as /tmp/venv/bin/python")
    import contextlib

    from bench.plain_peers import address, public_key
    from bench.server import Server
    from lab.registry import LabPostgres
    from wgjit.database_url import DatabaseUrl
    from wgjit.model import Peer, parse_allowed_ip

    with Server() as server, server.database() as url:
        with contextlib.closing(LabPostgres(DatabaseUrl(url))) as registry:
            registry.fill(Peer(public_key(n), (parse_allowed_ip(address(n, PEERS)),)) for n in range(PEERS))
        for _ in range(2):
            ours = with_psycopg(url)
            command = [options.asyncpg, str(Path(__file__)), "--url", url]
            theirs = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            for what in theirs:
                for name, figures in (("psycopg", ours), ("asyncpg", theirs)):
                    if what in figures:
                        cpu, wall = figures[what]
                        print(f"{what}: {name}: CPU {cpu:.2f} µs, in all {wall:.2f} µs")
    return 0


if __name__ == "__main__":
    sys.exit(main())

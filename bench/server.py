"""A PostgreSQL server for benchmarks: it loses nothing, is set up as an operator sets one up, and is reached over TCP.

with Server() as server, server.database() as url:
    before = server.cpu()
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import psycopg

from bench.processor import Cpu, parse_process
from lab.postgresql import Cluster
from wgjit.database_url import DatabaseUrl
from wgjit.stores.postgresql.database import schema

SETTINGS = {
    "shared_buffers": "2GB",
    "effective_cache_size": "8GB",
    "maintenance_work_mem": "256MB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "15min",
    "wal_compression": "lz4",
    "random_page_cost": "1.1",
}
"""For a machine with an SSD and some memory. The others are as PostgreSQL has them, so it syncs at each commit."""


class Server:
    """A running server, ended and deleted at the end of the block. `settings`: lines of postgresql.conf besides."""

    def __init__(self, settings: dict[str, str] | None = None) -> None:
        # An address of its own out of loopback's 16 million, since other servers may have the port at 127.0.0.1.
        pid = os.getpid()
        address = f"127.{64 + (pid >> 16) % 128}.{pid >> 8 & 255}.{pid & 255}"
        self._cluster = Cluster(SETTINGS | (settings or {}), durable=True, address=address)

    def __enter__(self) -> Server:
        self._cluster.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._cluster.__exit__()

    @contextlib.contextmanager
    def database(self, *, empty: bool = False) -> Iterator[str]:
        """The URL, by TCP, of a new database with an empty registry, or with nothing. It is dropped at the end."""
        with self._cluster.database() as name:
            url = self._cluster.network_url(name)
            if not empty:
                schema.init(DatabaseUrl(url))
            yield url

    def shell(self, url: str) -> psycopg.Connection[tuple[object, ...]]:
        """A connection in autocommit mode, as another program has it."""
        return self._cluster.shell(url)

    def cpu(self) -> Cpu:
        """What all processes of the server have had so far, also those that have ended."""
        first = self._cluster.pid
        total = parse_process(Path(f"/proc/{first}/stat").read_text(), children=True)
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):  # it has just ended
                stat = path.read_text()
                if int(stat.rpartition(")")[2].split()[1]) == first:
                    total += parse_process(stat)
        return total

    @property
    def version(self) -> str:
        """As PostgreSQL says it."""
        with self._cluster.shell() as shell:
            row = shell.execute("SHOW server_version").fetchone()
        assert row is not None
        return str(row[0])

    def __str__(self) -> str:
        settings = ", ".join(f"{name} = {value}" for name, value in SETTINGS.items())
        return f"PostgreSQL {self.version} on this machine by loopback TCP; fsync, synchronous_commit on; {settings}"

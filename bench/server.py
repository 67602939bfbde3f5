"""A PostgreSQL server for benchmarks: it loses nothing, is set up as an operator sets one up, and is reached over TCP.

with Server() as server, server.database() as url:
    before = server.cpu()
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from bench.processor import Cpu, parse_process
from lab.postgresql import ACCOUNT, Cluster
from wgjit.stores.postgresql.database import schema
from wgjit.stores.postgresql.database.url import DatabaseUrl

SETTINGS = {
    "shared_buffers": "2GB",
    "effective_cache_size": "8GB",
    "maintenance_work_mem": "256MB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "15min",
    "wal_compression": "lz4",
    "random_page_cost": "1.1",
}
"""For a machine with an SSD and some memory. All others are Debian's, with fsync and synchronous_commit on."""


class Server:
    """A running server, ended and deleted at the end of the block."""

    def __init__(self) -> None:
        # An address of its own out of loopback's 16 million, since other servers may have the port at 127.0.0.1.
        pid = os.getpid()
        self.address = f"127.{64 + (pid >> 16) % 128}.{pid >> 8 & 255}.{pid & 255}"
        durable = {"listen_addresses": self.address, "synchronous_commit": "on"}
        self._cluster = Cluster(SETTINGS | durable, durable=True)

    def __enter__(self) -> Server:
        self._cluster.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._cluster.__exit__()

    @contextlib.contextmanager
    def database(self) -> Iterator[DatabaseUrl]:
        """A new database with an empty registry, by TCP. It is dropped at the end."""
        with self._cluster.database() as name:
            url = DatabaseUrl(f"postgresql://{ACCOUNT}@{self.address}/{name}")
            schema.init(url)
            yield url

    def cpu(self) -> Cpu:
        """What all processes of the server have had so far, also those that have ended."""
        first = int((self._cluster.data / "postmaster.pid").read_text().split()[0])
        total = parse_process(Path(f"/proc/{first}/stat").read_text(), children=True)
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):  # it has just ended
                stat = path.read_text()
                if int(stat.rpartition(")")[2].split()[1]) == first:
                    total += parse_process(stat)
        return total

    @property
    def said(self) -> str:
        """The settings, for a report."""
        settings = ", ".join(f"{name} = {value}" for name, value in SETTINGS.items())
        return f"fsync and synchronous_commit are on; {settings}"

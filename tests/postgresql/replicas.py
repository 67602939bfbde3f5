"""Replicas of a registry for tests, each with its follower."""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg

from wgjit.model import PublicKey
from wgjit.stores.replica.messages import Description, Terms
from wgjit.stores.replica.store import ReplicaStore

PATIENCE = 60.0
"""Seconds after which a test that waits gives up. Nothing is asserted of how long something takes."""


def describe(name: str = "gw1", epoch: int = 1_700_000_000_000, number: int = 200) -> Description:
    return Description(name, epoch, PublicKey(number.to_bytes(4, "big") * 8), "wg0", "0.0.test", "192.0.2.7")


def until(fits: Callable[[], Any], what: str = "", seconds: float = PATIENCE) -> Any:
    """Wait for something that has no event."""
    end = time.monotonic() + seconds
    while not (found := fits()):
        assert time.monotonic() < end, what or "waited in vain"
        time.sleep(0.01)
    return found


class Gateways:
    """Makes replicas, and closes them at the end."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder
        self._stack = contextlib.ExitStack()

    def make(self, name: str = "gw1", *, start: bool = True, path: Path | None = None, **more: Any) -> ReplicaStore:
        """A replica with its follower, complete."""
        description = describe(name, **{key: more.pop(key) for key in ("epoch", "number") if key in more})
        terms = Terms(more.pop("url", self.url), description, **{"poll": 0.05} | more)
        store = ReplicaStore(path or self.folder / f"{name}.db", terms)
        self._stack.callback(store.close)
        if start:
            store.fleet.start(PATIENCE)
            assert store.fleet.wait_for(lambda state: bool(state.get("complete")), PATIENCE), store.figures()
        return store

    def close(self) -> None:
        self._stack.close()


@contextlib.contextmanager
def gateways(url: str, folder: Path) -> Iterator[Gateways]:
    made = Gateways(url, folder)
    try:
        yield made
    finally:
        made.close()


def _digest(rows: Any) -> tuple[int, str]:
    count, digest = 0, hashlib.sha256()
    for row in rows:
        digest.update(repr(tuple(bytes(v) if isinstance(v, (bytes, memoryview)) else v for v in row)).encode())
        count += 1
    return count, digest.hexdigest()


_PEERS = "allowed_ips, preshared_key, keepalive, {}, expires_at, name, idle_timeout"


def of_record(url: str) -> dict[str, tuple[int, str]]:
    """What a replica has to be like."""
    columns = _PEERS.format("enabled::int").replace("allowed_ips", "wgjit.packed(allowed_ips)", 1)
    with psycopg.connect(url) as db:
        return {
            "peers": _digest(db.execute(f"SELECT public_key, {columns} FROM wgjit.peers ORDER BY 1")),
            "addresses": _digest(
                db.execute("SELECT DISTINCT wgjit.packed(ARRAY[prefix]), public_key FROM wgjit.addresses ORDER BY 1")
            ),
            "claims": _digest(
                db.execute(
                    "SELECT public_key, timestamp, gateway, endpoint, proven_at, proven FROM wgjit.claims ORDER BY 1"
                )
            ),
            "holdings": _digest(
                db.execute(
                    "SELECT public_key, timestamp, takeovers, gateway, epoch, endpoint, since, until, before "
                    "FROM wgjit.holdings ORDER BY 1"
                )
            ),
            "removed": _digest(db.execute("SELECT public_key FROM wgjit.removed ORDER BY 1")),
        }


def of_replica(path: Path) -> dict[str, tuple[int, str]]:
    """As `of_record`."""
    from wgjit.stores import packing

    with contextlib.closing(sqlite3.connect(path)) as db:
        ranges = db.execute("SELECT first, last, public_key FROM addresses")
        prefixes = sorted((packing.pack_allowed_ips([packing.unpack_range(a, b)]), key) for a, b, key in ranges)
        return {
            "peers": _digest(db.execute(f"SELECT public_key, {_PEERS.format('enabled')} FROM peers ORDER BY 1")),
            "addresses": _digest(prefixes),
            "claims": _digest(
                db.execute("SELECT public_key, timestamp, gateway, endpoint, proven_at, proven FROM claims ORDER BY 1")
            ),
            "holdings": _digest(
                db.execute(
                    "SELECT public_key, timestamp, takeovers, gateway, epoch, endpoint, since, until, before "
                    "FROM holdings ORDER BY 1"
                )
            ),
            "removed": _digest(db.execute("SELECT public_key FROM removed ORDER BY 1")),
        }

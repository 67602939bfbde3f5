"""Replicas of a registry for tests, each with its follower."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg

from tests.contracts.store import key
from wgjit.model import Endpoint, Holding, PublicKey, Tai64n
from wgjit.stores import packing
from wgjit.stores.replica.messages import Description, Terms
from wgjit.stores.replica.store import ReplicaStore

PATIENCE = 120.0
"""Seconds after which a test that waits gives up. Nothing is asserted of how long something takes."""

EPOCH = 1_700_000_000_000


def describe(name: str = "gw1", epoch: int = EPOCH, number: int = 200, service: str | None = None) -> Description:
    key = PublicKey(number.to_bytes(4, "big") * 8)
    return Description(name, epoch, key, "wg0", "0.0.test", "192.0.2.7", service)


def holding(number: int, seconds: float, gateway: str = "gw1", takeovers: int = 0, **more: Any) -> Holding:
    stamp, endpoint = Tai64n.from_unix(seconds), Endpoint.parse("192.0.2.1:5000")
    return Holding(
        key(number), stamp, takeovers, gateway, **{"epoch": EPOCH, "endpoint": endpoint, "since": seconds} | more
    )


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

    def make(self, name: str = "gw1", *, start: bool = True, wait: bool = True, **more: Any) -> ReplicaStore:
        """A replica with its follower. `wait`: until it is whole."""
        path = more.pop("path", self.folder / f"{name}.db")
        description = describe(
            name, **{each: more.pop(each) for each in ("epoch", "number", "service") if each in more}
        )
        terms = Terms(more.pop("url", self.url), description, **{"poll": 0.05} | more)
        store = ReplicaStore(path, terms)
        self._stack.callback(store.close)
        if start:
            store.fleet.start(PATIENCE if wait else 0.0)
        if start and wait:
            whole(store)
        return store

    def close(self) -> None:
        self._stack.close()


def whole(store: ReplicaStore) -> None:
    """Wait until a replica is whole, and nothing is copied."""
    fits = store.fleet.wait_for(lambda s: bool(s.get("complete")) and s.get("stage") == "following", PATIENCE)
    assert fits, store.figures()


@contextlib.contextmanager
def gateways(url: str, folder: Path) -> Iterator[Gateways]:
    made = Gateways(url, folder)
    try:
        yield made
    finally:
        made.close()


Contents = dict[str, list[tuple[Any, ...]]]

_PEERS = "public_key, {packed}, preshared_key, keepalive, {enabled}, expires_at, name, idle_timeout"
_CLAIMS = "public_key, timestamp, gateway, endpoint, proven_at, proven"
_HOLDINGS = f"public_key, {packing.holding_columns()}"


def of_record(url: str) -> Contents:
    """What a replica has to be like."""
    peers = _PEERS.format(packed="wgjit.packed(allowed_ips)", enabled="enabled::int")
    with psycopg.connect(url) as db:
        db.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")

        def read(what: str, table: str) -> list[tuple[Any, ...]]:
            return db.execute(f"SELECT {what} FROM wgjit.{table} ORDER BY 1".encode()).fetchall()

        return {
            "peers": read(peers, "peers"),
            "addresses": read("wgjit.packed(ARRAY[prefix]), public_key", "addresses"),
            "claims": read(_CLAIMS, "claims"),
            "holdings": read(_HOLDINGS, "holdings"),
            "removed": read("public_key", "removed"),
            "count": read("coalesce(sum(peers), 0)::int", "tallies"),
            "triggers": [(16,)],
        }


def of_replica(path: Path) -> Contents:
    """As `of_record`. The triggers of the schema have to be there, too."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("BEGIN")
        ranges = db.execute("SELECT first, last, public_key FROM addresses")
        prefixes = sorted((packing.pack_allowed_ips([packing.unpack_range(a, b)]), owner) for a, b, owner in ranges)
        peers = _PEERS.format(packed="allowed_ips", enabled="enabled")
        (triggers,) = db.execute("SELECT count(*) FROM sqlite_master WHERE type = 'trigger'").fetchone()
        return {
            "peers": db.execute(f"SELECT {peers} FROM peers ORDER BY 1").fetchall(),
            "addresses": prefixes,
            "claims": db.execute(f"SELECT {_CLAIMS} FROM claims ORDER BY 1").fetchall(),
            "holdings": db.execute(f"SELECT {_HOLDINGS} FROM holdings ORDER BY 1").fetchall(),
            "removed": db.execute("SELECT public_key FROM removed ORDER BY 1").fetchall(),
            "count": db.execute("SELECT count FROM totals WHERE what = 'peers'").fetchall(),
            "triggers": [(triggers,)],
        }


def difference(store: ReplicaStore, url: str) -> str:
    """What a replica and the registry of record do not have in common."""
    here, there = of_replica(store.path), of_record(url)
    return "\n".join(
        f"{table}: {sign} {row}"
        for table in here
        for sign, rows in (
            ("here", set(here[table]) - set(there[table])),
            ("there", set(there[table]) - set(here[table])),
        )
        for row in sorted(rows, key=repr)[:5]
    )


def equal(store: ReplicaStore, url: str, seconds: float = PATIENCE) -> None:
    """Wait until a replica is like the registry of record."""
    end = time.monotonic() + seconds
    while difference(store, url):
        assert time.monotonic() < end, f"{difference(store, url)}\n{store.figures()}"
        time.sleep(0.02)

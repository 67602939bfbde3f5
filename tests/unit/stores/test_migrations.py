"""Files that an older wgjit made, with that one's own SQL, come to today's schema whole."""

import contextlib
import dataclasses
import sqlite3
from collections.abc import Iterable
from pathlib import Path

import pytest

from lab.registry import LabRegistry
from tests.contracts.store import FULL, claim, key, peer
from wgjit.errors import AddressConflict, StoreError
from wgjit.model import NEVER, ChangeKind, Peer, Removed
from wgjit.stores import packing
from wgjit.stores.sqlite.file import schema

PLAIN = 100_000
OLD_FULL = dataclasses.replace(FULL, public_key=key(1 << 30), idle_timeout=None)


def version_1(path: Path, peers: Iterable[Peer]) -> None:
    """A file as the first schema had it, written past today's code but for the packing of addresses."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("BEGIN")
        for statement in schema._statements(schema.migrations()[0]):
            db.execute(statement)
        db.execute("PRAGMA user_version = 1")
        for each in peers:
            allowed_ips, psk, *others = packing.peer_row(each)[1:7]
            db.execute("INSERT INTO peers VALUES (?, ?, ?, ?, ?, ?, ?)", (each.public_key, allowed_ips, psk, *others))
            for prefix in each.allowed_ips:
                db.execute("INSERT INTO addresses VALUES (?, ?, ?)", (*packing.pack_range(prefix), each.public_key))
        db.execute("COMMIT")


def address(number: int) -> str:
    return f"11.{number >> 16}.{number >> 8 & 255}.{number & 255}/32"


def test_a_file_of_the_first_schema_keeps_everything(path: Path) -> None:
    plain = [peer(number, address(number)) for number in range(PLAIN)]
    version_1(path, [*plain, OLD_FULL])
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("UPDATE peers SET enabled = 0 WHERE public_key = ?", (key(3),))
        db.execute(
            "INSERT INTO claims VALUES (?, ?, 'gw1', ?, ?)",
            (key(5), claim(5, 7.0).timestamp, packing.pack_endpoint(claim(5, 7.0).endpoint), claim(5, 7.0).proven_at),
        )
    before = path.stat().st_size

    with pytest.raises(StoreError, match="older schema; migrate it with `wgjit registry migrate"):
        LabRegistry(path, read_only=True)
    with contextlib.closing(LabRegistry(path, create=False)) as registry:
        wanted = [*plain, OLD_FULL]
        wanted[3] = dataclasses.replace(wanted[3], enabled=False)
        assert list(registry.peers.every()) == wanted
        assert registry.peers.count() == len(wanted)
        found = registry.lookup(key(5))
        assert found is not None
        assert found.claim == claim(5, 7.0)
        assert [(c.sequence, c.kind, c.public_key) for c in registry.changes(0)] == [(1, ChangeKind.UPDATED, key(3))]
        with pytest.raises(AddressConflict):
            registry.add([peer(PLAIN + 1, address(7))])
        registry.change(str(key(9)), lambda old: dataclasses.replace(old, idle_timeout=NEVER))
        assert registry.find(str(key(9))).is_pinned
        assert registry.last_change() == 2
    assert path.stat().st_size <= before + 31 * 4096  # a page a new table or index, and the schema's own; no peer grew


def test_a_file_of_an_older_schema_remembers_whom_its_log_says_to_be_removed(path: Path) -> None:
    """As a gateway that started on it did; and from then on it is somebody."""
    version_1(path, [peer(number, address(number)) for number in range(4)])
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        for number in (1, 2):
            db.execute("DELETE FROM peers WHERE public_key = ?", (key(number),))
        db.execute("INSERT INTO peers (public_key) VALUES (?)", (key(2),))
    with contextlib.closing(LabRegistry(path)) as registry:
        assert [registry.former(key(number)) for number in range(4)] == [None, Removed(key(1)), None, None]
        assert len(registry.identity()) > 16
        registry.save_claims([claim(3, 9.0)])
        registry.remove(key(3))
        assert registry.former(key(3)) == Removed(key(3), claim(3, 9.0))


def test_a_plain_peer_takes_at_most_a_byte_more_than_under_the_first_schema(path: Path, tmp_path: Path) -> None:
    count = 20_000
    version_1(path, (peer(number, address(number)) for number in range(count)))
    today = tmp_path / "today.db"
    with contextlib.closing(LabRegistry(today)) as registry:
        registry.add(peer(number, address(number)) for number in range(count))

    def payload(file: Path) -> int:
        """Bytes of the table's pages without what is free on them."""
        with contextlib.closing(sqlite3.connect(file)) as db:
            (size,) = db.execute("SELECT sum(payload) FROM dbstat WHERE name = 'peers'").fetchone()
        return int(size)

    assert payload(path) < payload(today) <= payload(path) + count

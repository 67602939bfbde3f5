"""The addresses of a copy, which are sorted aside and then moved into the replica."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from tests.contracts.store import peer
from wgjit.stores import packing
from wgjit.stores.replica.follower.copy.addresses import Addresses
from wgjit.stores.sqlite.file import schema


def filled(db: sqlite3.Connection, numbers: range) -> None:
    """Put peers into the file with their rows alone, as a copy does."""
    marks = ", ".join("?" * len(packing.PEER_COLUMNS))
    rows = [packing.peer_row(peer(number, f"10.9.0.{number}/32")) for number in numbers]
    db.executemany(f"INSERT INTO peers ({packing.columns()}) VALUES ({marks})", rows)
    db.execute("DELETE FROM addresses")


def move(addresses: Addresses, db: sqlite3.Connection, peers: int) -> list[bytes]:
    addresses.reached(None, peers)
    addresses.wait(60.0)
    assert addresses.is_sorted
    addresses.attach(db)
    while addresses.move(db, set()):
        addresses.moved()
    addresses.moved()
    return [first for (first,) in db.execute("SELECT first FROM addresses ORDER BY first")]


def test_a_file_that_cannot_be_let_go_at_once_disturbs_no_later_copy(tmp_path: Path) -> None:
    path = tmp_path / "replica.db"
    schema.prepare(path, create=True, read_only=False)
    with contextlib.closing(schema.connect(path, read_only=False, timeout=5.0)) as db:
        filled(db, range(1, 4))
        addresses = Addresses(path)
        assert len(move(addresses, db, 3)) == 3
        held = db.execute("SELECT rowid FROM aside.run0")
        held.fetchone()
        addresses.close(db)
        assert [each.name for each in tmp_path.glob("*-addresses")] == []
        held.close()

        filled(db, range(4, 9))
        others = Addresses(path)
        assert len(move(others, db, 8)) == 8
        others.close(db)
        assert "aside" not in [name for _, name, _ in db.execute("PRAGMA database_list")]

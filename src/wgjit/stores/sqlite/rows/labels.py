"""Labels of peers. In a table of their own, so a plain peer takes no byte more.

Functions on an open connection; the caller's transaction decides when it counts. No label is a change for a gateway.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence

from wgjit.model import PublicKey, refuse_key
from wgjit.wire.key_text import holds_key


def read(db: sqlite3.Connection, keys: Sequence[PublicKey]) -> dict[PublicKey, dict[str, str]]:
    """The labels of these peers, in the order of their keys; a peer without is left out."""
    return read_all(db, keys)[0]


def read_all(
    db: sqlite3.Connection, keys: Sequence[PublicKey]
) -> tuple[dict[PublicKey, dict[str, str]], set[PublicKey]]:
    """As `read`; and who has one that is left out, since a key stands in it that an older wgjit took for a label."""
    found: dict[PublicKey, dict[str, str]] = {}
    withheld = set[PublicKey]()
    for start in range(0, len(keys), 500):  # SQLite's oldest limit is 999 parameters
        some = keys[start : start + 500]
        marks = ",".join("?" * len(some))
        rows = db.execute(f"SELECT public_key, key, value FROM labels WHERE public_key IN ({marks})", some)
        for public_key, key, value in rows:
            if holds_key(key) or holds_key(value):
                withheld.add(PublicKey(public_key))
            else:
                found.setdefault(PublicKey(public_key), {})[key] = value
    return found, withheld


def sizes(db: sqlite3.Connection, keys: Sequence[PublicKey]) -> dict[bytes, int]:
    """How many bytes of JSON the labels of these peers come to, without reading them; a peer without is left out."""
    found: dict[bytes, int] = {}
    for start in range(0, len(keys), 500):
        some = keys[start : start + 500]
        marks = ",".join("?" * len(some))
        # A character of two to four bytes is written as 6 or 12; `"": "", ` is 8.
        rows = db.execute(
            "SELECT public_key, sum(5 * length(CAST(value AS BLOB)) - 4 * length(value) + length(key) + 8) FROM labels "
            f"WHERE public_key IN ({marks}) GROUP BY public_key",
            some,
        )
        found |= {key: int(size) for key, size in rows}
    return found


def write(db: sqlite3.Connection, peer: PublicKey, add: Mapping[str, str], remove: Iterable[str] = ()) -> None:
    """Take labels from a peer and give it others, in the place of those with the same keys. Raises InvalidValue.

    A label with a key in it that it still has goes, too: nobody sees it, so nobody could take it away.
    """
    for key, value in add.items():
        refuse_key(key, "label", "labels")
        refuse_key(value, f"label {key}", "labels")
    old = db.execute("SELECT key, value FROM labels WHERE public_key = ?", (peer,)).fetchall()
    remove = [*remove, *(key for key, value in old if holds_key(key) or holds_key(value))]
    db.executemany("DELETE FROM labels WHERE public_key = ? AND key = ?", [(peer, key) for key in remove])
    db.executemany(
        "INSERT INTO labels (public_key, key, value) VALUES (?, ?, ?) "
        "ON CONFLICT (public_key, key) DO UPDATE SET value = excluded.value",
        [(peer, key, value) for key, value in add.items()],
    )

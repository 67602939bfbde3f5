"""Labels of peers. They have a table of their own, so a plain peer takes no more space.

The functions work on an open connection, and the caller commits the transaction. Labels do not concern gateways, so a
new label is no change in the change log.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence

from wgjit.model import PublicKey
from wgjit.stores import label_rules


def read(db: sqlite3.Connection, keys: Sequence[PublicKey]) -> dict[PublicKey, dict[str, str]]:
    """The labels of these peers by key. A peer without labels is left out."""
    return read_all(db, keys)[0]


def read_all(
    db: sqlite3.Connection, keys: Sequence[PublicKey]
) -> tuple[dict[PublicKey, dict[str, str]], set[PublicKey]]:
    """As `read`, and the peers with a label that is left out because an older wgjit accepted a key in it."""
    return label_rules.shown(row for some in _rounds(keys) for row in _labels(db, some))


def _labels(db: sqlite3.Connection, keys: Sequence[PublicKey]) -> sqlite3.Cursor:
    marks = ",".join("?" * len(keys))
    return db.execute(f"SELECT public_key, key, value FROM labels WHERE public_key IN ({marks})", keys)


def _rounds(keys: Sequence[PublicKey]) -> Iterator[Sequence[PublicKey]]:
    """The keys in parts, since SQLite's oldest limit is 999 parameters."""
    return (keys[start : start + 500] for start in range(0, len(keys), 500))


def sizes(db: sqlite3.Connection, keys: Sequence[PublicKey]) -> dict[bytes, int]:
    """Bytes of JSON of these peers' labels, found without reading the labels. A peer without labels is left out."""
    found: dict[bytes, int] = {}
    for some in _rounds(keys):
        marks = ",".join("?" * len(some))
        # JSON writes a character of two to four bytes as 6 or 12 bytes; `"": "", ` is 8.
        rows = db.execute(
            "SELECT public_key, sum(5 * length(CAST(value AS BLOB)) - 4 * length(value) + length(key) + 8) FROM labels "
            f"WHERE public_key IN ({marks}) GROUP BY public_key",
            some,
        )
        found |= {key: int(size) for key, size in rows}
    return found


def write(db: sqlite3.Connection, peer: PublicKey, add: Mapping[str, str], remove: Iterable[str] = ()) -> None:
    """Remove labels from a peer and add others, which replace labels with the same key. Raises InvalidValue.

    A label of the peer with a key in it is removed, too. Such a label is never shown, so no person could remove it.
    """
    label_rules.refuse_keys(add)
    old = db.execute("SELECT key, value FROM labels WHERE public_key = ?", (peer,)).fetchall()
    remove = [*remove, *(key for key, value in old if label_rules.is_withheld(key, value))]
    db.executemany("DELETE FROM labels WHERE public_key = ? AND key = ?", [(peer, key) for key in remove])
    db.executemany(
        "INSERT INTO labels (public_key, key, value) VALUES (?, ?, ?) "
        "ON CONFLICT (public_key, key) DO UPDATE SET value = excluded.value",
        [(peer, key, value) for key, value in add.items()],
    )

"""Labels: `team=infra`, at most one value a key and peer. In a table of their own, so a plain peer takes no byte more.

Functions on an open connection; the caller's transaction decides when it counts. No label is a change for a gateway.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Mapping, Sequence

from wgjit.errors import InvalidValue
from wgjit.model import PublicKey, refuse_key
from wgjit.wire.key_text import holds_key, quoted

KEY_LENGTH = 63
"""Greatest length of a label's key, characters."""
VALUE_LENGTH = 200
"""Greatest length of a label's value, characters."""
MOST_LABELS = 64
"""Labels of a peer: a page of peers has to hold them."""

_KEY = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._/-]{{0,{KEY_LENGTH - 1}}}")


def parse_label(text: str) -> tuple[str, str]:
    """Key and value of `team=infra`. Raises InvalidValue."""
    key, equals, value = text.partition("=")
    if not equals:
        raise InvalidValue(f"label {quoted(text, VALUE_LENGTH)}: write KEY=VALUE, such as team=infra")
    check(key, value)
    return key, value


def check(key: str, value: str) -> None:
    """Raise InvalidValue for what cannot be a label."""
    check_key(key)
    refuse_key(key, "label")
    if not value or len(value) > VALUE_LENGTH or not value.isprintable() or value != value.strip():
        raise InvalidValue(
            f"label {key}: its value must be 1 to {VALUE_LENGTH} printable characters, no space at either end"
        )
    refuse_key(value, f"label {key}")


def check_key(key: str) -> None:
    """Raise InvalidValue for what cannot be a label's key, also of one that is to be taken away."""
    if not _KEY.fullmatch(key):
        raise InvalidValue(
            f"label {quoted(key, KEY_LENGTH)}: its key must be 1 to {KEY_LENGTH} letters, digits, '.', '_', '/' or "
            "'-', a letter or digit first"
        )


def check_count(count: int) -> None:
    """Raise InvalidValue for more labels than a peer may have."""
    if count > MOST_LABELS:
        raise InvalidValue(f"labels: {count} are too many; a peer has {MOST_LABELS} at most")


def parse_labels(texts: Iterable[str]) -> dict[str, str]:
    """Several labels by key. Raises InvalidValue, also for a key that is given two values."""
    found: dict[str, str] = {}
    for text in texts:
        key, value = parse_label(text)
        if found.setdefault(key, value) != value:
            raise InvalidValue(f"label {key}: given twice; a peer has one value of it")
    check_count(len(found))
    return found


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
        refuse_key(key, "label")
        refuse_key(value, f"label {key}")
    old = db.execute("SELECT key, value FROM labels WHERE public_key = ?", (peer,)).fetchall()
    remove = [*remove, *(key for key, value in old if holds_key(key) or holds_key(value))]
    db.executemany("DELETE FROM labels WHERE public_key = ? AND key = ?", [(peer, key) for key in remove])
    db.executemany(
        "INSERT INTO labels (public_key, key, value) VALUES (?, ?, ?) "
        "ON CONFLICT (public_key, key) DO UPDATE SET value = excluded.value",
        [(peer, key, value) for key, value in add.items()],
    )

"""Labels of peers. They do not concern gateways, so a new label is no change in the change log."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from wgjit.model import PublicKey
from wgjit.stores import label_rules
from wgjit.stores.postgresql.database.schema import Db


def read(db: Db, keys: Sequence[PublicKey]) -> dict[PublicKey, dict[str, str]]:
    """The labels of these peers by key. A peer without labels is left out."""
    return read_all(db, keys)[0]


def read_all(db: Db, keys: Sequence[PublicKey]) -> tuple[dict[PublicKey, dict[str, str]], set[PublicKey]]:
    """As `read`, and the peers with a label that is left out because another program put a key into it."""
    query = "SELECT public_key, key, value FROM wgjit.labels WHERE public_key = ANY(%b) ORDER BY key"
    return label_rules.shown(db.execute(query, (list(keys),)))


def size(key: str, value: str) -> int:
    """Bytes of JSON of a label, as `sizes` counts them."""
    return 5 * len(value.encode()) - 4 * len(value) + len(key) + 8


def sizes(db: Db, keys: Sequence[PublicKey]) -> dict[bytes, int]:
    """Bytes of JSON of these peers' labels, found without reading the labels. A peer without labels is left out."""
    # JSON writes a character of two to four bytes as 6 or 12 bytes; `"": "", ` is 8.
    rows = db.execute(
        "SELECT public_key, sum(5 * octet_length(value) - 4 * length(value) + length(key) + 8) FROM wgjit.labels "
        "WHERE public_key = ANY(%b) GROUP BY public_key",
        (list(keys),),
    )
    return {key: int(size) for key, size in rows}


def write(db: Db, peer: PublicKey, add: Mapping[str, str], remove: Iterable[str] = ()) -> None:
    """Remove labels from a peer and add others, which replace labels with the same key. Raises InvalidValue.

    A label of the peer with a key in it is removed, too. Such a label is never shown, so no person could remove it.
    """
    label_rules.refuse_keys(add)
    old = db.execute("SELECT key, value FROM wgjit.labels WHERE public_key = %s", (peer,)).fetchall()
    gone = {*remove, *(key for key, value in old if label_rules.is_withheld(key, value))} & {key for key, _ in old}
    if gone:
        db.execute("DELETE FROM wgjit.labels WHERE public_key = %s AND key = ANY(%s)", (peer, sorted(gone)))
    add_new(db, peer, add)


def add_new(db: Db, peer: PublicKey, add: Mapping[str, str]) -> None:
    """Add labels, which replace labels with the same key."""
    if add:
        db.execute(
            "INSERT INTO wgjit.labels (public_key, key, value) SELECT %s, * FROM unnest(%s::text[], %s::text[]) "
            "ON CONFLICT (public_key, key) DO UPDATE SET value = excluded.value",
            (peer, list(add), list(add.values())),
        )

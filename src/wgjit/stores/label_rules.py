"""The rules for labels such as `team=infra`. A peer has one value for each key at most."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from wgjit.errors import InvalidValue
from wgjit.model import PublicKey, refuse_key
from wgjit.wire.key_text import holds_key, quoted

KEY_LENGTH = 63
"""Greatest length of a label's key, characters."""
VALUE_LENGTH = 200
"""Greatest length of a label's value, characters."""
MOST_LABELS = 64
"""Greatest number of labels of a peer. A page of peers has to hold them."""

_KEY = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._/-]{{0,{KEY_LENGTH - 1}}}")


def parse_label(text: str) -> tuple[str, str]:
    """Key and value of `team=infra`. Raises InvalidValue."""
    key, equals, value = text.partition("=")
    if not equals:
        raise InvalidValue(f"label {quoted(text, VALUE_LENGTH)}: write KEY=VALUE, such as team=infra", field="labels")
    check(key, value)
    return key, value


def check(key: str, value: str) -> None:
    """Raise InvalidValue for an invalid label."""
    check_key(key)
    refuse_key(key, "label", "labels")
    if not value or len(value) > VALUE_LENGTH or not value.isprintable() or value != value.strip():
        raise InvalidValue(
            f"label {key}: its value must be 1 to {VALUE_LENGTH} printable characters, no space at either end",
            field="labels",
        )
    refuse_key(value, f"label {key}", "labels")


def refuse_keys(labels: Mapping[str, str]) -> None:
    """Raise InvalidValue for a label with a WireGuard key in it."""
    for key, value in labels.items():
        refuse_key(key, "label", "labels")
        refuse_key(value, f"label {key}", "labels")


def shown(rows: Iterable[tuple[bytes, str, str]]) -> tuple[dict[PublicKey, dict[str, str]], set[PublicKey]]:
    """Labels by peer, and the peers with a label that is left out because it has a WireGuard key in it.

    `rows`: public key, label's key, label's value. An older wgjit or another program may have written such a label.
    """
    found: dict[PublicKey, dict[str, str]] = {}
    withheld = set[PublicKey]()
    for public_key, key, value in rows:
        if is_withheld(key, value):
            withheld.add(PublicKey(public_key))
        else:
            found.setdefault(PublicKey(public_key), {})[key] = value
    return found, withheld


def is_withheld(key: str, value: str) -> bool:
    """Whether a label is never shown, because it has a WireGuard key in it."""
    return holds_key(key) or holds_key(value)


def check_key(key: str) -> None:
    """Raise InvalidValue for an invalid key of a label. This applies to a label that is to be removed, too."""
    if not _KEY.fullmatch(key):
        raise InvalidValue(
            f"label {quoted(key, KEY_LENGTH)}: its key must be 1 to {KEY_LENGTH} letters, digits, '.', '_', '/' or "
            "'-', a letter or digit first",
            field="labels",
        )


def check_count(count: int) -> None:
    """Raise InvalidValue for more labels than a peer may have."""
    if count > MOST_LABELS:
        raise InvalidValue(f"labels: {count} are too many; a peer has {MOST_LABELS} at most", field="labels")


def parse_labels(texts: Iterable[str]) -> dict[str, str]:
    """Several labels by key. Raises InvalidValue, also for a key with two values, and for too many labels."""
    found: dict[str, str] = {}
    for text in texts:
        key, value = parse_label(text)
        if found.setdefault(key, value) != value:
            raise InvalidValue(f"label {key}: given twice; a peer has one value of it", field="labels")
    check_count(len(found))
    return found

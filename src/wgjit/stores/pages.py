"""The size of a page of peers. A page ends early, with a cursor, where its JSON would be too large."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

from wgjit.errors import InvalidValue
from wgjit.model import Peer, PublicKey
from wgjit.stores import checks
from wgjit.stores.entries import Entry
from wgjit.wire.key_text import quoted

PAGE_SIZE = 1 << 20
"""About the greatest size of a page, bytes of JSON. The page ends before the peer that would exceed it."""

PEER_SIZE = 400
"""Bytes of JSON of a peer without labels and allowed IPs."""

PREFIX_FACTOR = 4
"""Bytes of JSON for a packed byte of allowed IPs: 6 bytes become `"255.255.255.255/32", `."""

BEYOND_TEXT = "\U0010ffff"
"""The end of all names with a prefix is the prefix with this character behind it."""

_ROUND = 200
"""Peers whose rows are read before their sizes are added up."""

_Row = TypeVar("_Row")


def fill(
    rows: Iterator[_Row],
    limit: int,
    weigh: Callable[[Sequence[_Row]], Sequence[int]],
    read: Callable[[Sequence[_Row]], list[Entry]],
) -> tuple[list[Entry], bool]:
    """The first `limit` rows as entries, and whether these are all. Fewer at `PAGE_SIZE`, but one at least.

    Rows are read a round at a time. `weigh` returns the bytes of JSON of each row of a round, found without reading its
    labels, because other programs may have registered peers with any number of labels. `read` makes the entries.
    """
    entries: list[Entry] = []
    left = PAGE_SIZE
    while some := list(islice(rows, _ROUND)):
        for fitting, weight in enumerate(weigh(some)):
            if len(entries) + fitting >= limit or (weight > left and (entries or fitting)):
                return entries + read(some[:fitting]), False
            left -= weight
        entries += read(some)
    return entries, True


def hidden_fields(peer: Peer, name: str | None, *, labels: bool) -> tuple[str, ...]:
    """The fields of a peer that are not shown, because another program put a key into them.

    `name`: the name in its row, which the peer is without in that case. `labels`: some of its labels are not shown.
    """
    return (*(("name",) if peer.name is None and name is not None else ()), *(("labels",) if labels else ()))


def parse_cursor(after: str, *, with_expiry: bool) -> tuple[PublicKey, int | None]:
    """The key, and the expiry if the order has it, of a cursor by key. Raises InvalidValue: of another filter."""
    expiry, _, text = after.rpartition(":")
    key = checks.parse_key(text)
    if key is None or with_expiry != bool(expiry):
        raise _another_cursor(after)
    if not with_expiry:
        return key, None
    try:
        moment = int(expiry)
        if not -(2**63) <= moment < 2**63:
            raise ValueError
    except ValueError:
        raise _another_cursor(after) from None
    return key, moment


def _another_cursor(after: str) -> InvalidValue:
    text = f"after {quoted(after)}: give what the page before ended with, and the same filters"
    return InvalidValue(text, field="after")

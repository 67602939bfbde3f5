"""A peer of an import that is registered already, or whose name is taken: what it becomes, or why it is refused.

| registered with             | stated names           | guessed names              | with `update`                |
| --------------------------- | ---------------------- | -------------------------- | ---------------------------- |
| the same values             | present                | present                    | present                      |
| another name, else the same | refused                | present, the name is told  | the name is merged; a guess  |
|                             |                        |                            | only if there is none        |
| other labels, else the same | refused                | refused                    | labels are added             |
| other values                | refused                | refused                    | refused, if they are no      |
|                             |                        |                            | defaults                     |
| nothing; the name is taken  | refused                | registered without a name  | the same, or refused         |
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import Protocol

from wgjit.errors import InvalidValue, PeerExists, PeerRefused, StoreError
from wgjit.model import Peer, PublicKey
from wgjit.stores import checks
from wgjit.stores.entries import Entry, Loaded, Loading
from wgjit.wire.key_text import quoted

Refused = Callable[[int, StoreError], None]
"""Gets the line of a peer that is refused, and the error. If it raises, nothing of the batch is registered."""

_VALUES = ("allowed_ips", "preshared_key", "keepalive", "enabled", "expires_at", "idle_timeout")


class Outcome(StrEnum):
    """What became of a peer of an import."""

    ADDED = "added"
    PRESENT = "present"
    UPDATED = "updated"


class Rows(Protocol):
    """The rows of a registry, inside the transaction of a batch. A change that raises an error changes nothing."""

    def registered(self, key: PublicKey) -> Entry | None:
        """The peer of this key, None if there is none."""

    def insert(self, peer: Peer, labels: Mapping[str, str]) -> None:
        """Register a peer. Raises PeerExists, AddressConflict."""

    def replace(self, before: Entry, after: Entry) -> None:
        """Change a peer's name and labels. Raises PeerExists (the name), InvalidValue (too many labels)."""

    def first_line(self, error: PeerRefused, line: int) -> int | None:
        """The line above `line` of the peer that is in the way. None if that peer is not in this batch."""


def settle_all(
    rows: Rows,
    peers: Iterable[tuple[int, Peer, Mapping[str, str] | None]],
    how: Loading,
    refused: Refused,
    *,
    added: int,
    present: int,
) -> Loaded:
    """Register or merge peers one by one, each with its line and its labels, if the file states them.

    `added` and `present`: of the batch's other peers. Raises what `refused` raises.
    """
    counts = Counter({Outcome.ADDED: added, Outcome.PRESENT: present})
    refusals = 0
    for line, peer, said in peers:
        try:
            counts[settle(rows, line, peer, said, how)] += 1
        except PeerRefused as error:
            refusals += 1
            refused(line, _beside(error, rows.first_line(error, line)))
        except InvalidValue as error:
            refusals += 1
            refused(line, StoreError(error.text, field=error.field))
    return Loaded(counts[Outcome.ADDED], counts[Outcome.PRESENT], refusals, counts[Outcome.UPDATED])


def settle(rows: Rows, line: int, peer: Peer, said: Mapping[str, str] | None, how: Loading) -> Outcome:
    """Register one peer, or merge it into what is there. `said`: its labels, if the file states them.

    Raises PeerExists, AddressConflict, InvalidValue.
    """
    before = rows.registered(peer.public_key)
    if before is not None:
        return _merge(rows, line, before, peer, said, how)
    try:
        rows.insert(peer, said or {})
    except PeerExists as error:
        if not how.guessed or error.field != "name":
            raise
        how.told(line, _left_out(peer, error))
        rows.insert(dataclasses.replace(peer, name=None), said or {})
    return Outcome.ADDED


def _merge(rows: Rows, line: int, before: Entry, peer: Peer, said: Mapping[str, str] | None, how: Loading) -> Outcome:
    old = before.peer
    if not how.update:
        if (dataclasses.replace(peer, name=old.name) if how.guessed else peer) != old or (
            said is not None and dict(said) != dict(before.labels)
        ):
            raise _exists(peer, old)
        if peer.name is not None and peer.name != old.name:
            kept = f"with the name {quoted(old.name)}" if old.name else "without one; --update gives it this one"
            how.told(line, f"name {quoted(peer.name)}: left out; {peer.public_key} is registered already {kept}")
        return Outcome.PRESENT
    if others := _differing(peer, old):
        raise PeerExists(
            f"public key {peer.public_key}: registered already as {checks.label(old)} with other values "
            f"({', '.join(others)}); an update merges names and labels alone",
            peer.public_key,
            field=others[0],
            other=peer.public_key,
        )
    keeps = peer.name is None or (how.guessed and old.name is not None)
    after = Entry(old if keeps else dataclasses.replace(old, name=peer.name), {**before.labels, **(said or {})})
    if keeps and peer.name is not None and peer.name != old.name:
        how.told(line, f"name {quoted(peer.name)}: left out; {checks.label(old)} has a name already")
    try:
        return _changed(rows, before, after)
    except PeerExists as error:
        if not how.guessed:
            raise
        how.told(line, _left_out(peer, error))
        return _changed(rows, before, Entry(old, after.labels))


def _changed(rows: Rows, before: Entry, after: Entry) -> Outcome:
    if after.peer == before.peer and dict(after.labels) == dict(before.labels):
        return Outcome.PRESENT
    rows.replace(before, after)
    return Outcome.UPDATED


def _exists(peer: Peer, old: Peer) -> PeerExists:
    error = checks.key_exists(peer, old)
    if not _differing(peer, old):
        error.advice = "with --update an import merges its name and labels into what is there"
    return error


def _differing(peer: Peer, old: Peer) -> list[str]:
    """The fields that the file gives another value than is registered. A default may be what the file does not say."""
    default = Peer(peer.public_key)
    values = {name: (getattr(peer, name), getattr(old, name)) for name in _VALUES}
    values["allowed_ips"] = (set(peer.allowed_ips), set(old.allowed_ips))
    return [
        name.replace("_", " ")
        for name, (new, registered) in values.items()
        if new != registered and new not in (getattr(default, name), set())
    ]


def _left_out(peer: Peer, error: PeerRefused) -> str:
    assert error.other is not None
    return f"name {quoted(peer.name or '')}: left out; it is taken by peer {PublicKey(error.other)}"


def _beside(error: PeerRefused, first: int | None) -> PeerRefused:
    """The error of a refused peer, with the line in the same file where the peer stands that is in its way."""
    if first is not None:
        error.text += f"; that one is in line {first}"
        error.args = (error.text,)
    return error

"""What the audit log says of a change, whatever keeps the log.

`details` holds:

| verb                  | entries     | details                                                                        |
| --------------------- | ----------- | ------------------------------------------------------------------------------ |
| add, adopt, remove    | one a peer  | each field that is not its default: [before, after], null on the missing side  |
| set, enable, disable  | one         | each field that changed: [before, after]                                       |
| rotate                | one         | `public_key`: [before, after]; both keys find it                               |
| claim-reset           | one         | `claim`: [what was forgotten, null]                                            |
| import                | one a batch | `added`, `present`, `refused`, `source`, and `updated` if there are any        |
| token-create, -revoke | one         | `id`, and at its creation `scope`, `expires_at`, `rate`                        |
| audit-prune           | one a batch | `before`, `removed`                                                            |
| gateway-forget        | one         | `instance`, `seen_at`, `started_at`                                            |

Fields have the names of an export, and plain values: Unix seconds, texts. A preshared key appears as
`has_preshared_key`, true or false; a preshared key that was replaced by another reads [true, true]. No entry holds a
secret: a text with a key in it, other than under `public_key`, is not written, and is not shown if an older wgjit wrote
it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from wgjit.model import Claim, Peer, PublicKey
from wgjit.stores.entries import AuditEntry, Author, Entry, GatewayEntry, Loaded, Token, Verb
from wgjit.stores.peer_json import to_fields
from wgjit.wire.key_text import shown, without_keys

ENTRY_SIZE = 1000
"""About the greatest size of an entry without details, bytes of JSON."""

PRUNED = 100_000
"""Entries deleted per transaction."""

_ACTOR_LENGTH = 200
"""Greatest length of an actor, characters. Other people chose a part of it, so it needs a bound."""


class Record(NamedTuple):
    """An entry that is to be written."""

    verb: Verb
    details: Mapping[str, Any]
    public_key: PublicKey | None = None
    old_key: PublicKey | None = None
    name: str | None = None

    def columns(self, by: Author) -> tuple[str, str, PublicKey | None, PublicKey | None, str | None, str]:
        """Actor, verb, key, old key, name and details, as the log's table has them."""
        return (
            without_keys(by.actor)[:_ACTOR_LENGTH],
            self.verb.value,
            self.public_key,
            self.old_key,
            None if self.name is None else shown(self.name),
            json.dumps(_without_keys(self.details)),
        )


def registered(verb: Verb, entry: Entry) -> Record:
    """A new peer."""
    details = {name: [None, value] for name, value in _said(entry).items()}
    return Record(verb, details, entry.peer.public_key, name=entry.peer.name)


def removed(key: PublicKey, entry: Entry | None) -> Record:
    """A peer that was removed; `entry` is None if its row could not be read."""
    if entry is None:
        return Record(Verb.REMOVE, {"damaged": True}, key)
    details = {name: [value, None] for name, value in _said(entry).items()}
    return Record(Verb.REMOVE, details, key, name=entry.peer.name)


def amended(before: Entry, after: Entry) -> Record | None:
    """What changed in a peer. None if nothing changed."""
    old, new = _fields(before), _fields(after)
    details = {name: [old[name], value] for name, value in new.items() if value != old[name]}
    if before.peer.preshared_key != after.peer.preshared_key:
        details["has_preshared_key"] = [old["has_preshared_key"], new["has_preshared_key"]]
    if not details:
        return None
    verb = Verb.SET
    if details.keys() == {"enabled"}:
        verb = Verb.ENABLE if after.peer.enabled else Verb.DISABLE
    return Record(verb, details, after.peer.public_key, name=after.peer.name)


def rotated(old: PublicKey, peer: Peer) -> Record:
    """A peer with a new key."""
    new = peer.public_key
    return Record(Verb.ROTATE, {"public_key": [str(old), str(new)]}, new, old, peer.name)


def claim_reset(name: str | None, key: PublicKey, claim: Claim | None) -> Record:
    """A claim that was reset; `claim` is None for a removed key that had no claim."""
    forgotten = claim and {
        "timestamp": str(claim.timestamp),
        "gateway": claim.gateway,
        "endpoint": str(claim.endpoint),
        "proven_at": claim.proven_at,
    }
    return Record(Verb.CLAIM_RESET, {"claim": [forgotten, None]}, key, name=name)


def imported(loaded: Loaded, source: str) -> Record:
    """A batch of an import."""
    counts = {name: count for name, count in dataclasses.asdict(loaded).items() if name != "updated" or count}
    return Record(Verb.IMPORT, counts | {"source": source})


def token_created(token: Token) -> Record:
    """A new token."""
    details = {"id": token.id, "scope": token.scope, "expires_at": token.expires_at, "rate": token.rate}
    return Record(Verb.TOKEN_CREATE, details, name=token.name)


def token_revoked(token: Token) -> Record:
    """A token that is revoked."""
    return Record(Verb.TOKEN_REVOKE, {"id": token.id}, name=token.name)


def pruned(before: float, count: int) -> Record:
    """Entries that were deleted."""
    return Record(Verb.AUDIT_PRUNE, {"before": before, "removed": count})


def gateway_forgotten(gateway: GatewayEntry) -> Record:
    """A gateway that was forgotten."""
    details = {"instance": gateway.instance.hex(), "seen_at": gateway.seen_at, "started_at": gateway.started_at}
    return Record(Verb.GATEWAY_FORGET, details, name=gateway.name)


def entry(
    number: int,
    at: float,
    actor: str,
    verb: str,
    key: bytes | None,
    old: bytes | None,
    name: str | None,
    details: str,
) -> AuditEntry:
    """The entry of a row."""
    try:
        read = json.loads(details)
    except ValueError:
        read = None
    if not isinstance(read, dict):  # another program wrote it; the rest of the log can still be read
        read = {"damaged": True}
    key_, old_ = (None if raw is None else PublicKey(raw) for raw in (key, old))
    name = None if name is None else shown(name)
    return AuditEntry(number, at, without_keys(actor), verb, key_, old_, name, _without_keys(read))


def _without_keys(details: Any) -> Any:
    """The details without keys in their texts, except under `public_key`."""
    match details:
        case str():
            return without_keys(details)
        case list():
            return [_without_keys(each) for each in details]
        case Mapping():
            return {
                without_keys(name): value if name == "public_key" else _without_keys(value)
                for name, value in details.items()
            }
    return details


def _said(entry: Entry) -> dict[str, Any]:
    """The fields that differ from their defaults."""
    default = _fields(Entry(Peer(entry.peer.public_key)))
    return {name: value for name, value in _fields(entry).items() if value != default[name]}


def _fields(entry: Entry) -> dict[str, Any]:
    """The fields of an export, without the key, which has a column of its own. `expires_at` is in Unix seconds."""
    fields = to_fields(entry) | {"expires_at": entry.peer.expires_at}
    del fields["public_key"]
    return fields

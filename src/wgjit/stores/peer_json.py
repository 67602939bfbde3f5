"""A peer's fields, as an export writes them and an import reads them. JSON Lines and CSV use the same names.

| field             | JSON                                       | CSV                 | absent or empty       |
| ----------------- | ------------------------------------------ | ------------------- | --------------------- |
| public_key        | base64                                     | the same            | refused               |
| name              | text or null                               | text                | no name               |
| allowed_ips       | list of prefixes                           | with commas between | none                  |
| preshared_key     | base64 or null                             | base64              | none                  |
| has_preshared_key | true, false                                | the same            | what the key says     |
| keepalive         | seconds                                    | the same            | 0, off                |
| enabled           | true, false                                | the same            | true                  |
| expires_at        | RFC 3339, `@SECONDS`, number of seconds    | the same            | never                 |
| idle_timeout      | seconds, 0 is never                        | the same            | the gateway's default |
| labels            | object of texts                            | key=value, as cells | see below             |

An export without secrets has `has_preshared_key: true` for a peer with a preshared key. Reading such a peer is an
error, because the peer would come back without its preshared key.

`labels` in CSV is a line of CSV inside a cell: `team=infra,env=prod`, with quotes around a label that has a comma. If
the field or column is absent, the labels are not stated. If it is empty, the peer has no labels.
"""

from __future__ import annotations

import json
import re
from typing import Any

from wgjit.errors import InvalidValue
from wgjit.model import Claim, Holding, Peer, PresharedKey, PublicKey, parse_allowed_ip
from wgjit.stores import label_rules
from wgjit.stores.checks import check_allowed_ips, check_name
from wgjit.stores.entries import Entry
from wgjit.times import parse_expiry, show_moment
from wgjit.wire.key_text import quoted

Labels = dict[str, str] | None
"""A peer's labels; None if the source does not state them."""

FIELDS = (
    "public_key",
    "name",
    "allowed_ips",
    "preshared_key",
    "has_preshared_key",
    "keepalive",
    "enabled",
    "expires_at",
    "idle_timeout",
    "labels",
)

_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "public_key": ((str,), "a text"),
    "name": ((str, type(None)), "a text or null"),
    "allowed_ips": ((list,), "a list of texts"),
    "preshared_key": ((str, type(None)), "a text or null"),
    "has_preshared_key": ((bool,), "true or false"),
    "keepalive": ((int,), "a number of seconds"),
    "enabled": ((bool,), "true or false"),
    "expires_at": ((str, int, type(None)), "a text such as 2027-01-31T12:00:00Z, Unix seconds, or null"),
    "idle_timeout": ((int, type(None)), "a number of seconds or null"),
    "labels": ((dict,), 'an object of texts, such as {"team": "infra"}'),
}

NUMBERS = tuple(name for name, (types, _) in _TYPES.items() if int in types and str not in types)
"""The fields whose value is a number of seconds and never a text."""

_SECONDS = range(-(2**63), 2**63)
"""The range of the registry's column."""


def to_fields(entry: Entry, *, preshared_keys: bool = False) -> dict[str, Any]:
    """A peer as a JSON object. With `preshared_keys` the object holds the preshared key itself, a secret."""
    peer = entry.peer
    fields = {
        "public_key": str(peer.public_key),
        "name": peer.name,
        "allowed_ips": [str(prefix) for prefix in peer.allowed_ips],
        "has_preshared_key": peer.preshared_key is not None,
        "keepalive": peer.keepalive,
        "enabled": peer.enabled,
        "expires_at": _moment(peer.expires_at),
        "idle_timeout": peer.idle_timeout,
        "labels": dict(entry.labels),
    }
    if preshared_keys:
        fields["preshared_key"] = peer.preshared_key.reveal_base64() if peer.preshared_key else None
    return fields


def claim_fields(claim: Claim | None) -> dict[str, Any] | None:
    """A claim as a JSON object; None if there is none."""
    if claim is None:
        return None
    return {
        "timestamp": str(claim.timestamp),
        "gateway": claim.gateway,
        "endpoint": str(claim.endpoint),
        "proven_at": show_moment(claim.proven_at),
        "inferred": claim.proven is not None,
    }


def holding_fields(holding: Holding | None) -> dict[str, Any] | None:
    """Who holds a peer, as a JSON object; None if no gateway of a fleet has ever held it."""
    if holding is None:
        return None
    return {
        "gateway": holding.gateway,
        "since": show_moment(holding.since),
        "until": show_moment(holding.until),
        "endpoint": str(holding.endpoint),
        "before": holding.before,
        "timestamp": str(holding.timestamp),
        "takeovers": holding.takeovers,
    }


def from_fields(fields: Any) -> tuple[Peer, Labels]:
    """The peer of a JSON object, and its labels.

    Raises InvalidValue, which names the field. The error never repeats a preshared key.
    """
    if not isinstance(fields, dict):
        raise InvalidValue('not an object; write {"public_key": ..., "allowed_ips": [...]}')
    for name, value in fields.items():
        if name not in _TYPES:
            raise InvalidValue(f"field {quoted(name, 40)}: unknown; the fields are {', '.join(FIELDS)}")
        types, wanted = _TYPES[name]
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            raise InvalidValue(f"field {name!r}: write {wanted}", field=name)
    if "public_key" not in fields:
        raise InvalidValue("field 'public_key' is missing", field="public_key")
    preshared_key = fields.get("preshared_key")
    if fields.get("has_preshared_key", preshared_key is not None) != (preshared_key is not None):
        raise InvalidValue(
            "field 'has_preshared_key': does not agree with 'preshared_key'; export it with its preshared keys, "
            "or leave it out to register the peer as it stands here",
            field="has_preshared_key",
        )
    if not all(isinstance(prefix, str) for prefix in fields.get("allowed_ips", ())):
        raise InvalidValue("field 'allowed_ips': write a list of texts", field="allowed_ips")
    name = fields.get("name")
    check_name(name)
    label_rules.check_count(len(fields.get("labels", {})))
    for key, value in fields.get("labels", {}).items():
        if not isinstance(value, str):
            raise InvalidValue(f"field 'labels': write {_TYPES['labels'][1]}", field="labels")
        label_rules.check(key, value)
    peer = Peer(
        PublicKey.parse(fields["public_key"]),
        tuple(map(parse_allowed_ip, fields.get("allowed_ips", ()))),
        None if preshared_key is None else PresharedKey.parse(preshared_key),
        fields.get("keepalive", 0),
        fields.get("enabled", True),
        parse_moment(fields.get("expires_at")),
        name,
        fields.get("idle_timeout"),
    )
    check_allowed_ips(peer.allowed_ips)
    return peer, fields.get("labels")


def from_json(text: str) -> tuple[Peer, Labels]:
    """The peer of a line of JSON, and its labels. Raises InvalidValue."""
    try:
        fields = json.loads(text, object_pairs_hook=_once)
    except InvalidValue:
        raise
    except (ValueError, RecursionError):  # also raised for a number with thousands of digits
        raise InvalidValue("not JSON; write one object a line") from None
    return from_fields(fields)


def _moment(seconds: int | None) -> str | None:
    """The moment in a form that `parse_moment` reads back to the second, also if a calendar cannot write it."""
    shown = show_moment(seconds)
    if shown is None or seconds is None or re.match(r"[1-9]\d{3}-", shown):
        return shown
    return f"@{seconds}"


def parse_moment(value: str | int | None) -> int | None:
    """Unix seconds of `expires_at`, None for never. Raises InvalidValue."""
    if isinstance(value, str):
        text = value
        if value.startswith("+"):
            raise InvalidValue(
                f"field 'expires_at': {quoted(value, 40)} depends on when it is read; write a date or time",
                field="expires_at",
            )
        match = re.fullmatch(r"@(-?[0-9]{1,19})", value)
        try:
            value = int(match[1]) if match else parse_expiry(value, 0.0)
        except InvalidValue:
            raise InvalidValue(
                f"field 'expires_at': {quoted(text, 40)} is no moment; write 2027-01-31 or 2027-01-31T12:00:00Z",
                field="expires_at",
            ) from None
    if value is not None and value not in _SECONDS:
        raise InvalidValue("field 'expires_at': too large a number", field="expires_at")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise InvalidValue("a field is there twice")
    return fields

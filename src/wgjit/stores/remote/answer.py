"""The meaning of an answer of a remote registry. Pure. docs/REMOTE.md describes the answers.

"No such peer" ends a session, but any web server answers 404 for an address that it does not know. So a 404 counts only
if it says what is missing: a JSON object whose `type` ends in `no-such-peer` (RFC 9457), or whose `public_key` is the
key that was asked for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from wgjit.errors import InvalidValue, StoreError, StoreThrottled, StoreUnreachable
from wgjit.model import Peer, PublicKey
from wgjit.stores.peer_json import FIELDS, from_fields
from wgjit.wire.key_text import holds_key, quoted

MOST = 65_536
"""Greatest size of an answer, bytes."""

MOST_ETAG = 256
"""Greatest length of an ETag that is sent back, characters. A service might refuse a longer one in a request."""

_NEEDED = [name for name in FIELDS if name != "labels"]
"""The fields of a peer that a gateway needs. A service may send more."""


@dataclass(frozen=True, slots=True)
class Found:
    """The service knows the peer."""

    peer: Peer
    etag: str | None
    max_age: float | None
    """Seconds for which the service wants the answer used, as `max_age` reads them; None if it does not say."""


@dataclass(frozen=True, slots=True)
class Unchanged:
    """The peer is as it was (304)."""

    max_age: float | None


@dataclass(frozen=True, slots=True)
class Absent:
    """The service knows no such peer."""


Answer = Found | Unchanged | Absent


def read_answer(status: int, headers: Mapping[str, str], body: bytes, key: PublicKey, now: float) -> Answer:
    """The meaning of an HTTP answer to the question for `key`. `now` in Unix seconds.

    Raises StoreError if the answer for this peer cannot be used, StoreUnreachable if it is no answer of a registry,
    StoreThrottled if the service wants fewer requests. No error repeats the body, since the body may hold a preshared
    key.
    """
    if (coding := headers.get("content-encoding", "identity").strip().lower()) not in ("identity", ""):
        raise StoreUnreachable(
            f"store.url: the service answers in Content-Encoding {quoted(coding, 40)}, and was asked not to; "
            "turn compression off for it"
        )
    match status:
        case 200:
            return Found(_peer(headers, body, key), etag(headers), max_age(headers))
        case 304:
            return Unchanged(max_age(headers))
        case 404 if _names_the_peer(body, key):
            return Absent()
        case 404:
            raise StoreUnreachable(
                "store.url: the answer 404 does not say that there is no such peer, so the address may be wrong; "
                "docs/REMOTE.md tells what a service answers"
            )
        case 401 | 403:
            raise StoreUnreachable(f"store.token_file: the service refuses us (status {status}); give a valid token")
        case 429:
            raise StoreThrottled("store.url: the service wants fewer requests (status 429)", retry_after(headers, now))
        case _ if 300 <= status < 400:
            raise StoreUnreachable(f"store.url: the service sends us elsewhere (status {status}); give its own address")
    raise StoreUnreachable(f"store.url: the service answers with status {status}", retry_after(headers, now))


def _peer(headers: Mapping[str, str], body: bytes, key: PublicKey) -> Peer:
    who = f"store.url: the service's answer for peer {key}"
    if _media_type(headers) != "application/json":
        raise StoreUnreachable(f"store.url: an answer 200 is not application/json but {quoted(_media_type(headers))}")
    fields = _object(body)
    if fields is None:
        raise StoreError(f"{who}: not a JSON object")
    fields = {name: fields[name] for name in _NEEDED if name in fields}
    if isinstance(name := fields.get("name"), str) and holds_key(name):
        del fields["name"]  # only people use the name, so its peer may connect without it
    if fields.get("has_preshared_key") is True and fields.get("preshared_key") is None:
        raise StoreError(
            f"{who}: field 'preshared_key' is not there, and 'has_preshared_key' says that there is one; "
            "give a token that may read preshared keys"
        )
    try:
        peer, _ = from_fields(fields)
    except InvalidValue as error:
        raise StoreError(f"{who}: {error}") from None
    if peer.public_key != key:
        raise StoreError(f"{who}: field 'public_key': is another's, {peer.public_key}")
    return peer


def _names_the_peer(body: bytes, key: PublicKey) -> bool:
    fields = _object(body)
    if fields is None:
        return False
    kind = fields.get("type")
    return fields.get("public_key") == str(key) or (
        isinstance(kind, str) and re.search(r"(?:^|[/:#])no-such-peer$", kind) is not None
    )


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) else None


def _media_type(headers: Mapping[str, str]) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def max_age(headers: Mapping[str, str]) -> float | None:
    """Seconds of Cache-Control (RFC 9111); 0 for no-cache and no-store, None if it has no age that can be read.

    This is the service's wish. `cached_answer.lives` decides.
    """
    directives = [word.strip().lower() for word in headers.get("cache-control", "").split(",")]
    if "no-cache" in directives or "no-store" in directives:
        return 0.0
    for directive in directives:
        if match := re.fullmatch(r'max-age="?([0-9]{1,10})"?', directive):
            return float(match[1])
    return None


def etag(headers: Mapping[str, str]) -> str | None:
    """The ETag, if it has the form of one (RFC 9110, 8.8.3) and is short enough to be sent back."""
    text = headers.get("etag", "").strip()
    return text if len(text) <= MOST_ETAG and re.fullmatch(r'(?:W/)?"[!#-~]*"', text) else None


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds of Retry-After (RFC 9110, 10.2.3), written as seconds or as a date; None if it is absent or malformed."""
    text = headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,10}", text):
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, TypeError, OverflowError):
        return None

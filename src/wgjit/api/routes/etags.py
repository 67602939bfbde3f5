"""ETags of peers. A tag is strong. It covers a peer's registered values and labels, but not its claim or state."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Callable

from wgjit.api.problems import Kind, Problem
from wgjit.stores.entries import Entry
from wgjit.stores.peer_json import to_fields

_SALT = secrets.token_bytes(32)
"""A salt of this process, so that nobody can use an ETag to guess a preshared key that a person chose."""

_WITH_SECRET = "-s"
"""The end of the tag of an answer that shows the preshared key, since that answer is a different representation."""


def tag(entry: Entry, *, with_secret: bool = False) -> str:
    """The ETag with its quotes. A peer with a preshared key gets another tag when the API restarts."""
    digest = hashlib.sha256(json.dumps(to_fields(entry), sort_keys=True).encode())
    if entry.peer.preshared_key is not None:
        digest.update(hmac.digest(_SALT, entry.peer.preshared_key.reveal(), "sha256"))
    return f'"{digest.hexdigest()[:32]}{_WITH_SECRET if with_secret else ""}"'


def fits(header: str, current: str, *, weakly: bool = False) -> bool:
    """Whether a list of tags, or `*`, matches the current tag (RFC 9110, 13.1). `weakly`: as If-None-Match compares."""
    given = [text.strip() for text in header.split(",")]
    if weakly:
        given = [text.removeprefix("W/") for text in given]
    return "*" in given or current in given


def check(if_match: str | None) -> Callable[[Entry], None]:
    """A check that raises Problem if a peer's ETag does not match. It runs in the transaction that changes the peer."""

    def unchanged(entry: Entry) -> None:
        if if_match is None:
            return
        current = tag(entry)
        if not fits(if_match.replace(_WITH_SECRET + '"', '"'), current):
            raise Problem(Kind.CHANGED, "the peer was changed since; read it again", headers={"ETag": current})

    return unchanged

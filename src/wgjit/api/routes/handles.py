"""A peer in a path: its key as base64url, or any handle that the registry knows and that has no `/` in it."""

from __future__ import annotations

import base64
import re

from wgjit.api.problems import Kind, Problem
from wgjit.errors import InvalidValue, NoSuchPeer
from wgjit.model import Claim, PublicKey, Registration
from wgjit.stores.base import Registry
from wgjit.wire.key_text import quoted

_KEY = r"[A-Za-z0-9_-]{43}=?"


def to_path(key: PublicKey) -> str:
    """A key as a segment of a path: base64url without padding."""
    return base64.urlsafe_b64encode(key).decode().rstrip("=")


def to_segment(text: str) -> str:
    """A segment that has a `/` in it: a key becomes base64url, anything else what no peer is called by."""
    try:
        return to_path(PublicKey.parse(text))
    except InvalidValue:
        return text.replace("/", "%2F")


def find(registry: Registry, segment: str) -> Registration:
    """The peer that a segment means. Raises Problem, AmbiguousHandle, StoreError.

    What is a whole key means that key alone: who asks for a peer by its key must not be given one that is named so.
    """
    if (key := _key(segment)) is not None:
        found = registry.lookup(key)
        if found is None:
            raise no_such_peer(segment)
        return found
    try:
        return registry.peers.registration(segment)
    except NoSuchPeer:
        raise no_such_peer(segment) from None


def claim_of(registry: Registry, segment: str) -> tuple[PublicKey, Claim | None]:
    """Whose claim a segment means, a removed peer's too by its key. Raises Problem, AmbiguousHandle, StoreError."""
    try:
        found = find(registry, segment)
    except Problem:
        key = _key(segment)
        if key is None or (removed := registry.former(key)) is None:
            raise
        return key, removed.claim
    return found.peer.public_key, found.claim


def _key(segment: str) -> PublicKey | None:
    if re.fullmatch(_KEY, segment):
        return PublicKey(base64.urlsafe_b64decode(segment[:43] + "="))
    return None


def no_such_peer(handle: str) -> Problem:
    """The problem of a handle that nobody has."""
    who = "peer of this public key" if re.fullmatch(_KEY, handle) else f"peer {quoted(handle)}"
    return Problem(Kind.NO_SUCH_PEER, f"no {who} is registered")

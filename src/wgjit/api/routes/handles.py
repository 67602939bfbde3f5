"""Finds the peer that a path names: by its key as base64url, or by any handle of the registry."""

from __future__ import annotations

import base64
import re

from wgjit.api.problems import Kind, Problem
from wgjit.errors import InvalidValue, NoSuchPeer
from wgjit.model import Claim, PublicKey, Registration
from wgjit.stores.base import Registry
from wgjit.wire.key_text import quoted

_KEY = r"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]=?"


def to_path(key: PublicKey) -> str:
    """A key as a segment of a path: base64url without padding."""
    return base64.urlsafe_b64encode(key).decode().rstrip("=")


def find(registry: Registry, segment: str) -> Registration:
    """The peer that a segment means. Raises Problem, AmbiguousHandle, StoreError.

    A segment that is a whole key means only that key. A request for a key must not get a peer whose name looks like it.
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
    """The key and claim that a segment means. A removed peer is found by its whole key.

    Raises Problem, AmbiguousHandle, StoreError.
    """
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
    try:
        return PublicKey.parse(segment)  # percent-encoded base64
    except InvalidValue:
        return None


def no_such_peer(handle: str) -> Problem:
    """The problem for a handle that no peer has."""
    who = f"peer {quoted(handle)}" if _key(handle) is None else "peer of this public key"
    return Problem(Kind.NO_SUCH_PEER, f"no {who} is registered")

"""A peer in a path: its key as base64url, or any handle that the registry knows and that has no `/` in it."""

from __future__ import annotations

import base64
import re

from wgjit.api.problems import Kind, Problem
from wgjit.errors import InvalidValue, NoSuchPeer
from wgjit.model import PublicKey, Registration
from wgjit.stores.managed import ManagedRegistry
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


def find(registry: ManagedRegistry, segment: str) -> Registration:
    """The peer that a segment means. Raises Problem, AmbiguousHandle, StoreError.

    What is a whole key means that key alone: who asks for a peer by its key must not be given one that is named so.
    """
    if re.fullmatch(_KEY, segment):
        found = registry.lookup(PublicKey(base64.urlsafe_b64decode(segment[:43] + "=")))
        if found is None:
            raise no_such_peer(segment)
        return found
    try:
        return registry.registration(segment)
    except NoSuchPeer:
        raise no_such_peer(segment) from None


def no_such_peer(handle: str) -> Problem:
    """The problem of a handle that nobody has."""
    who = "peer of this public key" if re.fullmatch(_KEY, handle) else f"peer {quoted(handle)}"
    return Problem(Kind.NO_SUCH_PEER, f"no {who} is registered")

"""A peer as the registry commands show it to people. Never a preshared key. For programs: management/fields."""

from __future__ import annotations

from wgjit.cli.registry_file import printable
from wgjit.model import Peer
from wgjit.stores.listing import Entry, State


def row(entry: Entry, now: float) -> str:
    """A line of a list."""
    peer = entry.peer
    addresses = ",".join(map(str, peer.allowed_ips)) or "-"
    line = f"{peer.public_key}  {state(peer, now):<8}  {printable(peer.name):<20}  {addresses}"
    return f"{line}  {show_labels(entry, ' ')}" if entry.labels else line


def show_labels(entry: Entry, between: str) -> str:
    """`team=infra`, and the next."""
    return between.join(printable(f"{key}={value}") for key, value in entry.labels.items())


def state(peer: Peer, now: float) -> State:
    """Whether it may connect at `now`, Unix seconds."""
    if not peer.enabled:
        return State.DISABLED
    return State.EXPIRED if peer.expires_at is not None and peer.expires_at <= now else State.ENABLED

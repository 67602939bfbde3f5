"""A peer as the registry commands show it to people. Never a preshared key. For programs: management/fields."""

from __future__ import annotations

from wgjit.management.fields import state
from wgjit.stores.checks import printable
from wgjit.stores.listing import Entry


def row(entry: Entry, now: float) -> str:
    """A line of a list."""
    peer = entry.peer
    addresses = ",".join(map(str, peer.allowed_ips)) or "-"
    line = f"{peer.public_key}  {state(peer, now):<8}  {printable(peer.name):<20}  {addresses}"
    return f"{line}  {show_labels(entry, ' ')}" if entry.labels else line


def show_labels(entry: Entry, between: str) -> str:
    """`team=infra`, and the next."""
    return between.join(printable(f"{key}={value}") for key, value in entry.labels.items())

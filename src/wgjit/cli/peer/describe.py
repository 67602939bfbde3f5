"""A peer as the registry commands show it to people. Never a preshared key. For programs: stores/peer_json."""

from __future__ import annotations

import sys

from wgjit.stores.checks import printable
from wgjit.stores.entries import Entry
from wgjit.wire.key_text import WITHHELD


def row(entry: Entry, now: float) -> str:
    """A line of a list."""
    peer = entry.peer
    addresses = ",".join(map(str, peer.allowed_ips)) or "-"
    line = f"{peer.public_key}  {peer.standing(now):<8}  {show_name(entry):<20}  {addresses}"
    shown = show_labels(entry, " ")
    return f"{line}  {shown}" if shown else line


def show_name(entry: Entry) -> str:
    """Its name, `-` if it has none."""
    return WITHHELD if "name" in entry.withheld else printable(entry.peer.name)


def show_labels(entry: Entry, between: str) -> str:
    """`team=infra`, and the next."""
    shown = [printable(f"{key}={value}") for key, value in entry.labels.items()]
    return between.join([*shown, WITHHELD] if "labels" in entry.withheld else shown)


class Withheld:
    """Counts peers of whose name or labels something is withheld, and says at the end what to do about it."""

    def __init__(self) -> None:
        self._count = 0

    def seen(self, entry: Entry) -> None:
        """Count a peer, if it is one of them."""
        self._count += bool(entry.withheld)

    def tell(self) -> None:
        """Say it on standard error, if there is one."""
        if self._count:
            peers = "peer has" if self._count == 1 else "peers have"
            print(
                f"wgjit: {self._count} {peers} a name or label with a key in it, which is not shown; give another "
                "name: wgjit peer set KEY --name NAME, which takes such labels away, too",
                file=sys.stderr,
            )

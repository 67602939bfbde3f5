"""A peer as text for people, never with its preshared key. For programs, see stores/peer_json."""

from __future__ import annotations

import sys

from wgjit.stores.checks import printable
from wgjit.stores.entries import Entry
from wgjit.wire.key_text import WITHHELD


def row(entry: Entry, now: float) -> str:
    """A peer as a line of a list. `now` is in Unix seconds."""
    peer = entry.peer
    addresses = ",".join(map(str, peer.allowed_ips)) or "-"
    line = f"{peer.public_key}  {peer.standing(now):<8}  {show_name(entry):<20}  {addresses}"
    shown = show_labels(entry, " ")
    return f"{line}  {shown}" if shown else line


def show_name(entry: Entry) -> str:
    """The peer's name, `-` if it has none."""
    return WITHHELD if "name" in entry.withheld else printable(entry.peer.name)


def show_labels(entry: Entry, between: str) -> str:
    """The peer's labels, such as `team=infra`, with `between` between them."""
    shown = [printable(f"{key}={value}") for key, value in entry.labels.items()]
    return between.join([*shown, WITHHELD] if "labels" in entry.withheld else shown)


class Withheld:
    """Counts peers whose name or labels are withheld because a key is in them, and says at the end what to do."""

    def __init__(self) -> None:
        self._count = 0

    def seen(self, entry: Entry) -> None:
        """Count a peer if something of it is withheld."""
        self._count += bool(entry.withheld)

    def tell(self) -> None:
        """Say on standard error how many peers were counted, if any."""
        if self._count:
            peers = "peer has" if self._count == 1 else "peers have"
            print(
                f"wgjit: {self._count} {peers} a name or label with a key in it, which is not shown; give another "
                "name: wgjit peer set KEY --name NAME, which takes such labels away, too",
                file=sys.stderr,
            )

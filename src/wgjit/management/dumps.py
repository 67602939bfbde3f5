"""Reads the lines of `wg show IF dump` and `wg show all dump`: four cells about an interface, eight about a peer.

`wg show all dump` has the interface's name in front, so peers of several interfaces may stand in one dump. A registry
is one interface's: the reader takes the peers of the interface that was asked for, or refuses the dump. `awg`,
AmneziaWG's `wg`, writes more cells about an interface, which are passed over.
"""

from __future__ import annotations

import re
from collections import Counter

from wgjit.errors import InvalidValue
from wgjit.management.wg_config import read_keepalive, read_prefixes
from wgjit.model import Peer, PresharedKey, PublicKey
from wgjit.stores.checks import check_allowed_ips
from wgjit.wire.key_text import quoted

_KEY_OR_NONE = re.compile(r"\(none\)|[A-Za-z0-9+/]{43}=")


class SeveralInterfaces(InvalidValue):
    """A dump has peers of several interfaces, and none of them was asked for."""


class Dump:
    """The interfaces of one dump. `asked`: the interface whose peers are wanted, None for the only one."""

    def __init__(self, asked: str | None = None) -> None:
        self._asked = asked
        self._first: str | None = None
        self.left_out: Counter[str] = Counter()
        """How many peers of other interfaces were passed over."""

    def plain_prefix(self, block: bytes) -> bytes:
        """What stands before the key of the peers that are wanted, as far as it is known from a block's first line."""
        name = self._asked or self._first
        if name is None:
            cells = block[: block.find(b"\n")].split(b"\t")
            name = cells[0].decode("utf-8", "replace") if len(cells) in (5, 9) else None
        elif block[: block.find(b"\n")].count(b"\t") in (3, 7):
            name = None
        return b"" if name is None else name.encode() + b"\t"

    def saw(self, prefix: bytes) -> None:
        """Peers behind this prefix were taken by somebody else."""
        if prefix:
            self._first = self._first or prefix[:-1].decode("utf-8", "replace")

    def line(self, text: str) -> tuple[Peer, None] | None:
        """The peer of a line. None for a line about an interface, and for a peer of another interface.

        Raises SeveralInterfaces; InvalidValue, which shows no key.
        """
        cells = text.split("\t")
        if not text or _is_interface(cells):
            return None
        if len(cells) not in (8, 9):
            raise InvalidValue("not a line of `wg show IF dump`: 4 (interface) or 8 (peer) cells, with a tab between")
        if len(cells) == 9 and not self._is_wanted(cells[0]):
            return None
        key, preshared_key, _, prefixes, *_, keepalive = cells[-8:]
        peer = Peer(
            PublicKey.parse(key),
            () if prefixes == "(none)" else read_prefixes(prefixes),
            None if preshared_key == "(none)" else PresharedKey.parse(preshared_key),
            read_keepalive(keepalive),
        )
        check_allowed_ips(peer.allowed_ips)
        return peer, None

    def _is_wanted(self, interface: str) -> bool:
        if self._asked is not None:
            if interface != self._asked:
                self.left_out[interface] += 1
            return interface == self._asked
        self._first = self._first or interface
        if interface != self._first:
            raise SeveralInterfaces(
                f"the dump has peers of several interfaces, {quoted(self._first, 15)} and {quoted(interface, 15)}; "
                "say whose peers are wanted with --interface NAME"
            )
        return True


def _is_interface(cells: list[str]) -> bool:
    """Whether a line is about an interface: (its name,) private key, public key, port, mark; `awg` has more cells."""
    if len(cells) in (4, 5):
        return True
    return (
        len(cells) > 10
        and any(
            _KEY_OR_NONE.fullmatch(cells[at])
            and _KEY_OR_NONE.fullmatch(cells[at + 1])
            and cells[at + 2].isascii()
            and cells[at + 2].isdigit()
            for at in (0, 1)
        )
        and bool(re.fullmatch(r"off|0x[0-9a-f]+", cells[-1]))
    )

"""What the text of a handle may mean: the beginning of a key, an address. There is no database here."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence

from wgjit.errors import AmbiguousHandle, InvalidValue
from wgjit.model import AllowedIP, PublicKey, parse_allowed_ip
from wgjit.wire.key_text import quoted

LEAST_PREFIX = 4
"""Least number of a key's first characters that may stand for the key."""

LIKE_A_KEY = 6
"""Least number of characters of a name that is taken for the beginning of a key, too. A shorter one begins somebody's
key by chance: among a million keys, one in 17 names of four letters does."""

CANDIDATES = 5
"""Peers that an error about an ambiguous handle names."""


def key_range(prefix: str) -> tuple[bytes, bytes] | None:
    """The least and the greatest key whose base64 form begins so; None if no key can begin so."""
    if not re.fullmatch(rf"[A-Za-z0-9+/]{{{LEAST_PREFIX},43}}", prefix):
        return None
    low, high = (base64.b64decode(prefix.ljust(43, fill) + "=") for fill in "A/")
    if not base64.b64encode(low).decode().startswith(prefix):
        return None  # the 43rd character has bits behind the key's 256: no key is written so
    return low, high


def address(text: str) -> AllowedIP | None:
    """The prefix that a text spells; None if it spells none."""
    try:
        return parse_allowed_ip(text)
    except InvalidValue:
        return None


def only(handle: str, found: Sequence[tuple[bytes, str | None]]) -> bytes | None:
    """The key of the one peer whose key begins so; None if there is none.

    `found`: key and name of `CANDIDATES + 1` such peers at most. Raises AmbiguousHandle.
    """
    if len(found) > 1:
        names = [f"{PublicKey(key)}{f' ({quoted(name)})' if name else ''}" for key, name in found[:CANDIDATES]]
        more = ", and more" if len(found) > CANDIDATES else ""
        raise AmbiguousHandle(f"handle {quoted(handle)}: write more of the key; it begins {', '.join(names)}{more}")
    return found[0][0] if found else None


def unmistakable(handle: str, named: bytes, meant: Sequence[tuple[bytes, str]]) -> bytes:
    """The key of the peer with this name, unless the handle also means another peer.

    `meant`: keys that the handle may mean otherwise, and how. Raises AmbiguousHandle.
    """
    for key, how in meant:
        if key != named:
            raise AmbiguousHandle(
                f"handle {quoted(handle)}: is the name of peer {PublicKey(named)}, and {how} peer {PublicKey(key)}; "
                "write the whole key of the one that you mean"
            )
    return named

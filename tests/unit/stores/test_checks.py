"""How a peer is named to people: whatever another program wrote as its name, a terminal obeys none of it."""

from __future__ import annotations

import pytest

from wgjit.model import Peer, PublicKey
from wgjit.stores.checks import label, printable

KEY = PublicKey(bytes(range(32)))


def test_a_peer_is_told_by_name_and_key() -> None:
    assert label(Peer(KEY, (), name="alice")) == f"alice ({KEY})"
    assert label(Peer(KEY, ())) == str(KEY)


@pytest.mark.parametrize("name", ["\x1b]0;title\x07", "a\rb", "a\nb", "\x9b2J", "a\u202eb", "\ud800", "\x00"])
def test_no_control_character_reaches_a_terminal(name: str) -> None:
    assert label(Peer(KEY, (), name=name)).isprintable()
    assert printable(name).isprintable()
    assert printable(name) == repr(name)


def test_what_is_printable_stays_as_it_is() -> None:
    assert printable("Zoë's téléphone 📱") == "Zoë's téléphone 📱"
    assert printable(None) == "-"

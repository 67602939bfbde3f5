"""A peer's values as options give them."""

from __future__ import annotations

import pytest

from wgjit.cli.peer.values import _parse_idle_time, show_idle_time
from wgjit.errors import InvalidValue
from wgjit.model import NEVER, Peer, PublicKey

KEY = PublicKey(bytes(range(32)))


@pytest.mark.parametrize(
    ("text", "seconds", "shown"),
    [
        ("default", None, "default"),
        ("never", NEVER, "never (pinned)"),
        ("180s", 180, "3m"),
        ("30m", 1800, "30m"),
        ("90m", 5400, "90m"),
        ("14d", 1209600, "2w"),
    ],
)
def test_idle_timeouts(text: str, seconds: int | None, shown: str) -> None:
    assert _parse_idle_time(text) == seconds
    assert show_idle_time(Peer(KEY, idle_timeout=seconds)) == shown


@pytest.mark.parametrize("text", ["", "0", "0s", "0m", "forever", "Never", "none"])
def test_never_is_a_word_and_no_number(text: str) -> None:
    with pytest.raises(InvalidValue, match="idle-timeout"):
        _parse_idle_time(text)

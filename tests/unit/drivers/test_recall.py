"""What the last dump told is given again, and what it did not tell is forgotten."""

from __future__ import annotations

import pytest

from wgjit.drivers.wireguard.recall import Recall


def test_the_same_bytes_are_the_same_object_in_the_next_dump() -> None:
    recall: Recall[list[bytes]] = Recall()
    recall.begin()
    first = recall.get(b"a", lambda raw: [raw])
    assert recall.get(b"a", lambda raw: [raw]) is first
    recall.begin()
    assert recall.get(b"a", lambda raw: [raw]) is first
    assert recall.get(b"a", lambda raw: [raw]) is first


def test_what_a_dump_did_not_tell_is_forgotten() -> None:
    recall: Recall[list[bytes]] = Recall()
    recall.begin()
    first = recall.get(b"a", lambda raw: [raw])
    recall.begin()
    recall.begin()
    assert recall.get(b"a", lambda raw: [raw]) is not first


def test_a_reader_that_raises_leaves_nothing() -> None:
    recall: Recall[int] = Recall()
    recall.begin()
    with pytest.raises(ValueError, match="invalid literal"):
        recall.get(b"x", int)
    assert recall.get(b"7", int) == 7

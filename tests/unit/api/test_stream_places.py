"""How many event streams there are for whom, as docs/API.md says it: in numbers, not in the code's own constants."""

from __future__ import annotations

import asyncio
import re
from contextlib import ExitStack
from pathlib import Path

import pytest

from wgjit.api.caller import Caller
from wgjit.api.problems import Problem
from wgjit.api.routes.streams import Streams
from wgjit.stores.entries import Author, Scope

PAGE = Path(__file__).parents[3] / "docs" / "API.md"


def caller(name: str, scope: Scope = Scope.READ, is_local: bool = False) -> Caller:
    return Caller(Author(name), scope, is_local=is_local)


def taken(streams: Streams, stack: ExitStack, who: Caller) -> int:
    """How many streams this caller gets until it is refused; they stay open."""
    for number in range(1000):
        try:
            stack.enter_context(streams.open(who, asyncio.Event()))
        except Problem:
            return number
    raise AssertionError("there is no limit")


@pytest.mark.parametrize(
    ("who", "places"),
    [
        (caller("reader"), 32),
        (caller("writer", Scope.WRITE), 32),
        (caller("admin", Scope.ADMIN), 32),
        (caller("root", Scope.ADMIN, is_local=True), 32),
        (caller("gateway", Scope.GATEWAY), 128),
    ],
    ids=lambda value: value.author.actor if isinstance(value, Caller) else str(value),
)
def test_each_caller_has_its_share(who: Caller, places: int) -> None:
    streams = Streams()
    with ExitStack() as stack:
        assert taken(streams, stack, who) == places
        assert streams.quota.total == places
    with ExitStack() as stack:
        assert taken(streams, stack, who) == places, "its places are not free again"
    assert streams.quota.total == 0


def test_some_are_kept_for_gateways_and_the_unix_socket_and_there_is_an_end() -> None:
    streams = Streams()
    with ExitStack() as stack:
        assert [taken(streams, stack, caller(f"reader {number}")) for number in range(6)] == [32] * 4 + [0] * 2
        assert taken(streams, stack, caller("root", Scope.ADMIN, is_local=True)) == 32
        gateways = [taken(streams, stack, caller(f"gateway {number}", Scope.GATEWAY)) for number in range(2)]
        assert gateways == [96, 0]
        assert streams.quota.total == 256


def test_the_page_has_these_numbers() -> None:
    pattern = r"^\| streams \| (\d+), of which (\d+) .*? \| (\d+); a `gateway` token (\d+) \|"
    row = re.search(pattern, PAGE.read_text(), re.MULTILINE)
    assert row is not None
    assert row.groups() == ("256", "128", "32", "128")

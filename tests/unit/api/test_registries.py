"""The registries of the API's threads: kept for a while, and not asked while their database hangs."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest

from wgjit.api import registries
from wgjit.api.registries import PROBE, SLOW, Registries
from wgjit.errors import NoSuchPeer, StoreError, StoreUnreachable
from wgjit.stores.opening import Where


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Opened:
    """Stands for a registry; counts how many are open."""

    count = 0

    def __init__(self, *_: Any, **__: Any) -> None:
        Opened.count += 1

    def close(self) -> None:
        Opened.count -= 1


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def some(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> Registries:
    Opened.count = 0
    monkeypatch.setattr(registries, "open_registry", Opened)
    return Registries(Where.of_file(Path("/nowhere")), clock=clock)


def fail(some: Registries, clock: Clock, took: float, error: StoreError) -> None:
    def ask() -> None:
        with some.use():
            clock.now += took
            raise error

    with pytest.raises(type(error)):
        ask()


def is_refused(some: Registries, text: str) -> bool:
    with pytest.raises(StoreUnreachable, match=text), some.use():
        raise AssertionError("nobody is let in")
    return True


def test_few_are_kept_and_none_for_ever(some: Registries, clock: Clock) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(some.use())
        assert Opened.count == 20
    assert Opened.count == 8
    clock.now += 301
    with some.use():
        pass
    assert Opened.count == 1
    some.close()
    assert Opened.count == 0


def test_after_one_has_waited_in_vain_the_others_do_not(some: Registries, clock: Clock) -> None:
    fail(some, clock, 10.0, StoreUnreachable("hangs"))
    before = clock.now
    assert all(is_refused(some, "hangs") for _ in range(5))
    clock.now = before + PROBE
    with some.use():  # one tries, and the others do not meanwhile
        assert is_refused(some, "hangs")
    with some.use(), some.use():  # it was answered
        pass


def test_a_probe_that_fails_however_quickly_keeps_it_so(some: Registries, clock: Clock) -> None:
    fail(some, clock, 10.0, StoreUnreachable("hangs"))
    clock.now += PROBE
    fail(some, clock, 0.01, StoreUnreachable("refused"))
    assert is_refused(some, "refused")


@pytest.mark.parametrize(
    ("took", "error"),
    [
        (SLOW / 2, StoreUnreachable("refused")),  # the next one may find it there again, and loses no time
        (10.0, StoreError("a rule of the schema refuses this row")),
        (10.0, NoSuchPeer("no such peer")),
    ],
)
def test_what_fails_otherwise_keeps_nobody_out(some: Registries, clock: Clock, took: float, error: StoreError) -> None:
    fail(some, clock, took, error)
    with some.use():
        pass


def test_an_answer_of_any_kind_lets_the_others_in_again(some: Registries, clock: Clock) -> None:
    fail(some, clock, 10.0, StoreUnreachable("hangs"))
    clock.now += PROBE
    fail(some, clock, 0.01, NoSuchPeer("no such peer"))
    with some.use():
        pass

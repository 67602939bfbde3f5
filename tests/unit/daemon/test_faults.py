"""Faults are counted each, and told once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from tests.unit.daemon.conftest import Clock
from wgjit.daemon import faults
from wgjit.daemon.faults import CALM, QUIET, Faults
from wgjit.daemon.metrics import Metrics
from wgjit.errors import StoreError


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(faults, "time", clock)
    return clock


@pytest.fixture
def log() -> Iterator[list[str]]:
    with capture_logs() as lines:
        yield lines  # type: ignore[misc]


def events(lines: list[str]) -> list[str]:
    return [line["event"] for line in lines]  # type: ignore[index]


def test_a_fault_of_every_packet_is_told_once_and_counted_each_time(clock: Clock, log: list[str]) -> None:
    metrics = Metrics()
    broken = Faults(metrics)
    for _ in range(1000):
        broken.occurred("store", StoreError("damaged"))
        clock.now += 0.01
    assert events(log) == ["fault"]
    assert metrics.faults == {"store": 1000}


def test_a_fault_that_comes_and_goes_with_each_packet_is_told_once(clock: Clock, log: list[str]) -> None:
    broken = Faults(Metrics())
    for _ in range(1000):
        broken.occurred("store", StoreError("damaged"))
        clock.now += 0.01
        broken.passed("store")
    assert events(log) == ["fault"]


def test_a_fault_that_goes_on_is_told_again_after_a_while(clock: Clock, log: list[str]) -> None:
    broken = Faults(Metrics())
    broken.occurred("store", StoreError("damaged"))
    clock.now += QUIET
    broken.occurred("store", StoreError("damaged"))
    assert events(log) == ["fault", "fault"]


def test_its_end_is_told_once_and_the_next_one_at_once(clock: Clock, log: list[str]) -> None:
    broken = Faults(Metrics())
    broken.passed("store")
    broken.occurred("store", StoreError("damaged"))
    clock.now += CALM
    broken.passed("store")
    broken.passed("store")
    broken.occurred("store", StoreError("disk full"))
    assert events(log) == ["fault", "fault passed", "fault"]


def test_parts_fail_apart(clock: Clock, log: list[str]) -> None:
    broken = Faults(Metrics())
    broken.occurred("store", StoreError("damaged"))
    broken.occurred("device", ValueError("a bug"))
    assert events(log) == ["fault", "bug"]


def test_a_fault_that_goes_on_is_told_once_in_each_while(clock: Clock, log: list[str]) -> None:
    some = Faults(Metrics())
    for _ in range(5 * int(QUIET)):
        some.occurred("store", StoreError("broken"))
        clock.now += 1.0
    assert events(log) == ["fault"] * 5


def test_what_failed_lately_is_the_last_error_and_only_for_so_long(clock: Clock, log: list[str]) -> None:
    some = Faults(Metrics())
    assert some.lately("store", 10.0) is None
    some.occurred("store", StoreError("first"))
    some.occurred("store", StoreError("second"))
    clock.now += 10.0
    assert some.lately("store", 10.0) == "second"
    assert some.lately("device", 10.0) is None
    clock.now += 0.5
    assert some.lately("store", 10.0) is None


def test_a_mistake_of_ours_is_told_without_the_keys_in_its_error(clock: Clock, log: list[str]) -> None:
    key = "hW9v0pXH3i0z1Yw9m2kq4sT6uV8xZaBcDeFgHiJkLm0="
    some = Faults(Metrics())
    some.occurred("core", KeyError(f"peer {key}"))
    assert events(log) == ["bug"]
    assert key[:20] not in str(log)
    assert "KeyError" in str(log)
    assert key[:20] not in str(some.lately("core", 10.0))

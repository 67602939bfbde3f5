"""The storm bench's own judgement, and how it reads CPU times."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import pytest

from bench.load.client import Connect
from bench.load.result import summarize
from bench.processor import Cpu, of_machine, of_process, parse_machine, parse_process
from bench.storm import BEFORE, HEAD, JIT, Run, drawing, last_up, main, missed, order, ratios, row

TICK = 1 / os.sysconf("SC_CLK_TCK")


def run(gateway: str, times: list[float | None], *, retried: int = 0, status: dict[str, Any] | None = None) -> Run:
    """Clients up after these times, None is lost; so many of the first ones at their second try."""
    connects = [
        Connect(100.0, sent=100.0, up=None if time is None else 100.0 + time, attempts=2 if number < retried else 1)
        for number, time in enumerate(times)
    ]
    result = summarize(
        len(times), connects, began=100.0, seconds=9.0, cpu=(0.1, 0.1), unsent=0, verified=True
    )  # fmt: skip
    daemon = Cpu(0.2, 0.1) if gateway == JIT else None
    return Run(gateway, result, Cpu(0.1, 0.1), daemon, None, Cpu(1.0, 0.5), status)


def evenly(gateway: str, last: float, count: int = 100) -> Run:
    return run(gateway, [last * (number + 1) / count for number in range(count)])


def test_shares_are_of_all_clients_the_lost_ones_too() -> None:
    storm = run(JIT, [1.0, 2.0, 3.0, None], retried=2)
    assert [storm.until(share) for share in (0.25, 0.5, 0.75, 1.0)] == [1.0, 2.0, 3.0, None]
    assert (storm.result.up, storm.result.lost, storm.result.retries, storm.result.at_once) == (3, 1, 2, 1)
    assert run(JIT, [None, None]).until(0.5) is None


def test_what_is_left_is_neither_generator_nor_daemon() -> None:
    storm = evenly(JIT, 1.0)
    assert (storm.rest.user, storm.rest.system) == (pytest.approx(0.7), pytest.approx(0.3))
    assert evenly(BEFORE, 1.0).rest.user == pytest.approx(0.9)


def test_a_row_has_all_columns_whoever_was_lost() -> None:
    told = row(evenly(JIT, 2.0))
    assert len(told) == len(HEAD)
    assert told[:7] == ("100", JIT, "2.00", "1.00", "1.80", "1.98", "50")
    assert told[-3:] == ("2,000 + 1,000", "7,000 + 3,000", "1,000 + 1,000")
    nobody = row(run(BEFORE, [None] * 4))
    assert len(nobody) == len(HEAD)
    assert nobody[2:7] == ("-",) * 5
    assert nobody[10] == "4"


def test_wireguard_go_is_told_by_its_own_process() -> None:
    assert row(replace(evenly(JIT, 2.0), userspace=Cpu(0.05, 0.01)))[-2] == "500 + 100"


def test_each_is_first_as_often_as_the_other() -> None:
    assert list(order(2)) == [BEFORE, JIT, JIT, BEFORE]


def good() -> dict[int, list[Run]]:
    return {100: [evenly(BEFORE, 4.0), evenly(JIT, 6.0), evenly(JIT, 5.9), evenly(BEFORE, 4.0)]}


def test_a_storm_that_went_well_misses_nothing() -> None:
    assert missed(good()) == []
    assert "5.95 s to 4.00 s, 1.49" in ratios(good())


def test_too_long_is_a_miss_of_the_largest_storm_alone() -> None:
    long = {10: [evenly(BEFORE, 1.0, 10), evenly(JIT, 9.0, 10)]}
    assert missed(long) == [f"10 clients: 9.00 times the wall time of {BEFORE}, limit 1.5"]
    assert missed(long | good()) == []


@pytest.mark.parametrize("gateway", [BEFORE, JIT])
def test_a_lost_client_is_a_miss(gateway: str) -> None:
    storms = good()
    storms[100].append(run(gateway, [1.0] * 99 + [None]))
    assert f"100 clients, {gateway}: 1 lost" in missed(storms)
    assert any("not all came up" in line for line in missed(storms))
    assert last_up(storms[100], gateway) is None


def test_a_fault_of_the_daemons_is_a_miss() -> None:
    storms = good()
    storms[100].append(run(JIT, [1.0] * 100, status={"faults": {"device": 1}}))
    assert missed(storms) == [f"100 clients, {JIT}: faults {{'device': 1}}"]


def test_the_drawing_names_both() -> None:
    svg = drawing(100, good()[100], "wireguard-go")
    assert BEFORE in svg
    assert JIT in svg


@pytest.mark.parametrize("words", [["--clients", "0"], ["--rounds", "0"], ["--spread", "-1"], ["--patience", "nan"]])
def test_a_mistake_is_named(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--backend", "go", *words])
    assert ended.value.code == 2
    assert f"error: {words[0]}" in capsys.readouterr().err


def test_a_process_is_read_whatever_its_name() -> None:
    line = "7 (a) b (c) R 1 2 3 4 5 6 7 8 9 10 150 50 999 999 20 0"
    assert parse_process(line) == Cpu(150 * TICK, 50 * TICK)


def test_the_machine_does_not_count_idling() -> None:
    assert parse_machine("cpu  10 1 20 9999 999 3 4 77 0 0\ncpu0 1 1 1\n") == Cpu(11 * TICK, 27 * TICK)


def test_what_this_process_burns_is_seen() -> None:
    before, machine = of_process(os.getpid()), of_machine()
    while (spent := of_process(os.getpid()) - before).total < 0.1:
        pass
    assert spent.total == pytest.approx(0.1, abs=0.05)
    assert (of_machine() - machine).total >= 0.05

"""The evict bench's own judgement, and its clients."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Network
from math import isnan

import pytest

from bench import machines
from bench.evict import ENOUGH, EVICTING, NONE, REMOVING, Outcome, Round, _percentile, main, rows
from bench.machines import Machines, Newcomer, arrive, knock
from wgjit.model import PrivateKey, PublicKey
from wgjit.wire.messages import Initiation, parse_initiation
from wgjit.wire.noise import Initiator

KEY = PublicKey(bytes(31) + b"\1")


def newcomer(sent: float, seconds: float | None = 0.002) -> Newcomer:
    return Newcomer(KEY, sent, seconds, 0.0003)


def test_newcomers_are_told_apart_by_what_went_on_when_they_knocked() -> None:
    sent = [0.0, 9.9, 10.0, 11.5, 12.0, 12.1, 13.0, 13.1]
    left = [(9.0, 0), (11.0, 0), (11.9, 0), (12.05, 3), (12.5, 3), (13.0, 5), (13.5, 5)]
    parts = Round([newcomer(moment) for moment in sent], 10.0, left).parts()
    assert {name: [each.sent for each in newcomers] for name, newcomers in parts.items()} == {
        NONE: [0.0, 9.9, 13.1],
        EVICTING: [10.0, 11.5, 12.0, 12.1, 13.0],
        REMOVING: [12.0, 13.0],
    }


def test_rounds_add_up() -> None:
    outcome = Outcome()
    for _ in range(2):
        outcome.add(Round([newcomer(9.0), newcomer(10.5)], 10.0, [(9.0, 0), (10.4, 0), (10.6, 100), (10.7, 100)]))
    assert (outcome.evicted, len(outcome.parts[NONE]), len(outcome.parts[REMOVING])) == (200, 2, 2)
    assert outcome.removing == pytest.approx(0.4)
    assert outcome.taken == pytest.approx(1.2)


def good() -> Outcome:
    return Outcome({name: [newcomer(float(n)) for n in range(ENOUGH)] for name in (NONE, EVICTING, REMOVING)}, 5000)


def test_a_bench_that_went_well_misses_nothing() -> None:
    assert good().missed() == []
    assert next(rows(good())) == (NONE, "100", "0", *["2.00"] * 3, "1.00", *["0.30"] * 3)


@pytest.mark.parametrize("name", [NONE, EVICTING, REMOVING])
def test_a_lost_newcomer_is_a_miss_whenever_it_came(name: str) -> None:
    outcome = good()
    outcome.parts[name].append(newcomer(1.0, None))
    (missed,) = outcome.missed()
    assert missed.startswith(f"{name}: 1 of 101 newcomers were lost")


@pytest.mark.parametrize("name", [EVICTING, REMOVING])
def test_a_slow_99th_percentile_is_a_miss(name: str) -> None:
    outcome = good()
    outcome.parts[name][:2] = [newcomer(1.0, 0.0041)] * 2
    (missed,) = outcome.missed()
    assert missed.startswith(f"{name}: p99 2.05 times")


@pytest.mark.parametrize("name", [NONE, EVICTING])
def test_too_few_newcomers_are_a_miss(name: str) -> None:
    outcome = good()
    outcome.parts[name].pop()
    assert outcome.missed() == [f"{name}: 99 newcomers tell no 99th percentile: more --rounds"]


def test_peers_may_leave_too_fast_for_many_to_meet_it() -> None:
    outcome = good()
    outcome.parts[REMOVING] = []
    assert outcome.missed() == []
    assert list(rows(outcome))[2][1:4] == ("0", "0", "-")


def test_a_fault_is_a_miss() -> None:
    assert replace(good(), faults={"device": 1}).missed() == ["faults {'device': 1}"]


def test_a_percentile_is_a_value_that_was_measured() -> None:
    assert _percentile([float(n) for n in range(1, 101)], 0.99) == 99.0
    assert _percentile([3.0, 1.0, 2.0], 0.99) == 3.0
    assert _percentile([1.0], 0.5) == 1.0
    assert isnan(_percentile([], 0.99))


@pytest.mark.parametrize("name", ["residents", "rate", "rounds"])
def test_nothing_to_measure_is_refused(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([f"--{name}", "0"])
    assert f"--{name} 0" in capsys.readouterr().err


# --- the clients ----------------------------------------------------------------------------------------------


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A server that never answers, on this machine, all of whose loopback network the clients have."""
    monkeypatch.setattr(machines, "CLIENTS", IPv4Network("127.1.0.0/16"))
    monkeypatch.setattr(machines, "LOST", 0.02)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.setblocking(False)
        yield server


def clients(server: socket.socket, count: int) -> Machines:
    gateway = PrivateKey.generate().public()
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    return Machines(sock, server.getsockname(), [Initiator(PrivateKey.generate(), gateway) for _ in range(count)])


def test_every_client_knocks_once_from_an_address_of_its_own(server: socket.socket) -> None:
    with clients(server, 3) as made:
        assert len(arrive(made, 1e6, threading.Event())) == 3
    came = [server.recvfrom(2048) for _ in range(3)]
    with pytest.raises(BlockingIOError):
        server.recv(2048)
    assert [source for _, (source, _) in came] == ["127.1.0.1", "127.1.0.2", "127.1.0.3"]
    knocks = [parse_initiation(message) for message, _ in came]
    assert [knock.sender for knock in knocks if isinstance(knock, Initiation)] == [0, 1, 2]


def test_who_gets_no_answer_is_lost(server: socket.socket) -> None:
    class AfterTen(threading.Event):
        asked = 0

        def is_set(self) -> bool:
            self.asked += 1
            return self.asked > 10

    with clients(server, 1000) as made:
        arrived = arrive(made, 1000.0, AfterTen())
        assert len(arrived) == 10
        assert {newcomer.seconds for newcomer in arrived} == {None}
        with pytest.raises(RuntimeError, match="32 residents got no response"):
            knock(made)

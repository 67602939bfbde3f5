"""The model of docs/SCALING.md adds up, and follows the daemon's own rule of when to look."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.model import Costs, Demand, most_residents, needs
from bench.scaling import model_rows, unit_rows
from wgjit.core.residents.idleness import Idleness
from wgjit.core.residents.residency import Resident
from wgjit.core.settings import Settings
from wgjit.model import Peer, PublicKey

COSTS = Costs(
    idle=0.01, rekey=200e-6, connect=1e-3, wake=0.0, look=40e-6, handshake=150e-6,
    base=50 << 20, resident=2000, peer=1800,
)  # fmt: skip


def test_what_happens_adds_up() -> None:
    what = needs(COSTS, Demand(10_000, rekeys=100, connects=50))
    # A look takes 0.4 s, and is followed by 50 times as long without one.
    assert what.look_seconds == pytest.approx(0.4)
    assert what.looks == pytest.approx(0.4 / 20.4)
    assert what.daemon == pytest.approx(0.01 + 100 * 200e-6 + 50 * 1e-3 + what.looks)
    assert what.wireguard == pytest.approx(150 * 150e-6)
    assert what.daemon_memory == (50 << 20) + 10_000 * 2000
    assert what.kernel_memory == 10_000 * 1800


def test_who_is_asleep_has_to_wake_up() -> None:
    demand = Demand(10_000, rekeys=100, connects=50)
    awake = needs(COSTS, demand).daemon
    share = needs(replace(COSTS, wake=500e-6), demand).daemon
    assert share == pytest.approx(awake + 150 * (1 - share) * 500e-6)
    busy = Demand(10_000, rekeys=6000, connects=0)
    assert needs(replace(COSTS, wake=500e-6), busy).daemon == needs(COSTS, busy).daemon > 1, "never asleep"


def test_without_newcomers_looks_are_rarer() -> None:
    assert needs(COSTS, Demand(10_000, 0, 0)).looks == pytest.approx(0.4 / 30.4)


@pytest.mark.parametrize(("residents", "pause"), [(1_000, 15.0), (10_000, 20.0), (50_000, 100.0), (1_000_000, 120.0)])
@pytest.mark.parametrize("connects", [0.0, 1.0])
def test_the_pause_between_looks_is_the_daemons(residents: int, pause: float, connects: float) -> None:
    took = residents * COSTS.look
    idleness = Idleness(Settings())
    if connects:  # somebody who came in the moment in which the look ended
        key = PublicKey(bytes(31) + b"\1")
        resident = Resident(Peer(key, ()), 1000.0)
        resident.last_knock = 1000.0
        idleness.installed(key, resident)
    idleness.looked(took, 1000.0)
    expected = pause if connects else max(pause, 30.0)
    assert idleness.next_look() == pytest.approx(1000.0 + expected)
    assert needs(COSTS, Demand(residents, 0, connects)).looks == pytest.approx(took / (expected + took))


def test_residents_that_stay_an_hour_rekey_thirty_times() -> None:
    demand = Demand.of(3600, stay=3600)
    assert (demand.rekeys, demand.connects) == (30, 1)


def test_the_most_residents_are_those_that_just_fit() -> None:
    most = most_residents(COSTS, 3600, 0.5)
    assert needs(COSTS, Demand.of(most, 3600)).daemon <= 0.5 < needs(COSTS, Demand.of(most + 1, 3600)).daemon
    assert most_residents(replace(COSTS, idle=0.6), 3600, 0.5) == 0


def test_the_tables_have_all_of_it() -> None:
    assert [row[0] for row in model_rows(COSTS)] == ["10,000", "100,000", "500,000", "1,000,000"]
    assert ("a resident's rekey, daemon", "200.0 µs") in unit_rows(COSTS)
    assert ("an installed peer, wireguard-go", "1,800 bytes") in unit_rows(COSTS)

"""A gateway's needs beyond this machine: unit costs, a model made of them, and measurements that check the model.

Unit costs are measured one by one, with few residents: a daemon at rest; peers that connect; the same peers again,
which is a rekey to a gateway; all of these at once, so that the daemon does not sleep in between; residents that only
wait. Then the daemon starts again with five times as many residents and gets mixtures of these loads. Its CPU time is
compared with the prediction of bench/model.py.

It runs on this machine's own kernel, with wireguard-go. User-Mode Linux counts CPU time in ticks of 10 ms, which is too
coarse: a process that worked 1 ms a hundred times per second got 0.03 s by that count, but used 0.8 s.

Ends with status 1 if a client is lost or the model is wrong by more than a third.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence

from bench.load.client import Identity
from bench.load.identities import registration
from bench.load.site import Site
from bench.meter import Meter, Taken
from bench.model import Costs, Demand, Needs, most_residents, needs
from bench.processes import Process
from bench.report import ROOT, Report, add_option, check_above_zero
from lab.gateway import Gateway
from lab.netns import Lab
from lab.registry import LabRegistry

PAGE = ROOT / "docs" / "SCALING.md"
RUSH = 3000.0
"""Rekeys per second that leave the daemon no time to sleep."""
SETTLE = 3.0
"""Seconds for what a change brings with it: checkpoints, first looks."""
REST = 20.0
"""Seconds of a daemon at rest."""
LOOKS = 62.0
"""Seconds in which two looks begin."""
GROWTH = 5
"""The model is checked with so many times the residents that the unit costs were taken with."""
TOLERANCE = 1 / 3
"""What the model may be wrong by, of what was measured."""
SIZES = (10_000, 100_000, 500_000, 1_000_000)
STAY = 3600.0
"""Seconds that a peer stays, for the tables of the page."""


class Bench:
    """One run."""

    def __init__(self, lab: Lab, residents: int, rate: float, seconds: float) -> None:
        self.site = Site(lab, "go")
        assert self.site.server.pid is not None  # wireguard-go is a process
        self.wireguard = Process(self.site.server.pid)
        self.rate, self.seconds = rate, seconds
        self.few = residents
        count = int(GROWTH * residents + 3 * rate * seconds)
        self.identities = self.site.identities(count)
        self.path = lab.folder / "scaling.db"
        registry = LabRegistry(self.path)
        registry.add(map(registration, self.identities))
        registry.close()
        self._next = GROWTH * residents
        self.lost = 0

    def newcomers(self, count: int) -> list[Identity]:
        """So many who never knocked."""
        self._next += count
        return self.identities[self._next - count : self._next]

    def gateway(self) -> Gateway:
        return Gateway(self.site.gateway, self.site.server.name, store=self.path, delivery="hold")

    def meter(self, gateway: Gateway) -> Meter:
        return Meter(Process(gateway.process.pid), self.wireguard)

    def drive(self, meter: Meter, groups: Sequence[tuple[Sequence[Identity], float]]) -> Taken:
        """Let each group connect at its rate, at once with the others."""
        identities = [identity for group, _ in groups for identity in group]
        starts = [number / rate for group, rate in groups for number in range(len(group))]
        with self.site.load(identities) as load:
            load.prepare()
            with meter.taking() as taken:
                result = load.run(starts)
        self.lost += result.lost
        return taken()

    def costs(self) -> Costs:
        """The unit costs."""
        before = self.wireguard.memory()
        self.site.install(self.identities[: self.few])
        peer = self.wireguard.memory() - before  # now, for later it has memory left from others
        self.site.server.clear()
        with self.gateway() as gateway:
            meter = self.meter(gateway)
            time.sleep(SETTLE)
            with meter.taking() as resting:
                time.sleep(REST)
            rest = resting()
            newcomers = self.newcomers(int(self.rate * self.seconds))
            connecting = self.drive(meter, [(newcomers, self.rate)])
            rekeying = self.drive(meter, [(newcomers, self.rate)])
            seen = decided(gateway)
            rushing = self.drive(meter, [(newcomers, RUSH)])
            seen = decided(gateway) - seen
        base = self._memory_of_none()
        self.site.install(self.identities[: self.few])
        with self.gateway() as gateway:
            meter = self.meter(gateway)
            time.sleep(SETTLE)
            memory = Process(gateway.process.pid).memory()
            with meter.taking() as looking:
                time.sleep(LOOKS)
            looks = looking()

        def each(taken: Taken, knocks: int) -> float:
            return (taken.daemon - rest.share * taken.seconds) / knocks

        rekey = each(rushing, seen)
        wake = (each(rekeying, len(newcomers)) - rekey) / (1 - rekeying.share)
        others = rest.wireguard / rest.seconds
        return Costs(
            idle=rest.share,
            rekey=rekey,
            connect=each(connecting, len(newcomers)) - (1 - connecting.share) * wake,
            wake=wake,
            look=max(0.0, looks.daemon - rest.share * looks.seconds) / 2 / self.few,
            handshake=(rekeying.wireguard - others * rekeying.seconds) / len(newcomers),
            base=base,
            resident=(memory - base) / self.few,
            peer=peer / self.few,
        )

    def _memory_of_none(self) -> int:
        """Of a daemon that has just started on an empty interface."""
        self.site.server.clear()
        with self.gateway() as gateway:
            time.sleep(SETTLE)
            return Process(gateway.process.pid).memory()

    def check(self, costs: Costs) -> Iterator[tuple[str, Demand, Taken, int, Needs]]:
        """Two points that the unit costs know nothing of."""
        crowd = self.identities[: GROWTH * self.few]
        self.site.install(crowd)
        with self.gateway() as gateway:
            meter = self.meter(gateway)
            time.sleep(SETTLE)
            for what, rekeys, connects in (("rekeys", 1.5 * self.rate, 0.0), ("both", self.rate / 2, self.rate / 2)):
                groups = [(crowd[: int(rekeys * self.seconds)], rekeys)]
                if connects:
                    groups.append((self.newcomers(int(connects * self.seconds)), connects))
                taken = self.drive(meter, groups)
                really = self.seconds / taken.seconds
                demand = Demand(len(crowd), rekeys * really, connects * really)
                yield what, demand, taken, Process(gateway.process.pid).memory(), needs(costs, demand)


def decided(gateway: Gateway) -> int:
    """Initiations on which the daemon has decided so far."""
    return sum(gateway.status()["decisions"].values())


def micro(seconds: float) -> str:
    return f"{seconds * 1e6:,.1f} µs"


def unit_rows(costs: Costs) -> list[tuple[str, str]]:
    """The table of unit costs."""
    return [
        ("daemon at rest, of one CPU", f"{costs.idle:.2%}"),
        ("a resident's rekey, daemon", micro(costs.rekey)),
        ("a connect with its install, daemon", micro(costs.connect)),
        ("either of them if it was asleep, more", micro(costs.wake)),
        ("a resident in a look, daemon", micro(costs.look)),
        ("a handshake, wireguard-go", micro(costs.handshake)),
        ("daemon without residents", f"{costs.base / 2**20:,.1f} MiB"),
        ("a resident, daemon", f"{costs.resident:,.0f} bytes"),
        ("an installed peer, wireguard-go", f"{costs.peer:,.0f} bytes"),
    ]


def model_rows(costs: Costs) -> Iterator[tuple[str, ...]]:
    """The table of what gateways would need."""
    for residents in SIZES:
        demand = Demand.of(residents, STAY)
        what = needs(costs, demand)
        yield (
            f"{residents:,}",
            f"{demand.rekeys:,.0f}",
            f"{demand.connects:,.0f}",
            f"{what.daemon:.2f}",
            f"{what.looks:.2f}",
            f"{what.wireguard:.2f}",
            f"{what.daemon_memory / 2**20:,.0f} MiB",
            f"{what.kernel_memory / 2**20:,.0f} MiB",
            f"{what.look_seconds:,.1f} s",
        )


CHECK_HEAD = (
    "residents", "rekeys/s", "connects/s", "daemon, model", "measured", "off by", "MiB, model", "measured",
)  # fmt: skip
MODEL_HEAD = (
    "residents", "rekeys/s", "connects/s", "daemon, CPUs", "of it looks", "wireguard-go, CPUs", "daemon",
    "wireguard-go", "a look",
)  # fmt: skip


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="./dev bench scaling", description=__doc__.partition("\n")[0])
    parser.add_argument("--residents", type=int, default=2000, help="for the unit costs (default 2000)")
    parser.add_argument("--rate", type=float, default=100.0, help="handshakes per second (default 100)")
    parser.add_argument("--seconds", type=float, default=30.0, help="of each load (default 30)")
    add_option(parser)
    options = parser.parse_args(words)
    check_above_zero(parser, options, "residents", "rate", "seconds")
    if 1.5 * options.rate * options.seconds > GROWTH * options.residents:
        parser.error("--residents: too few for so many rekeys; give more, or a lower --rate or --seconds")
    report = Report("scaling", options.write, page=PAGE)
    report.head(words)
    missed = run(report, options)
    return report.conclude(missed)


def run(report: Report, options: argparse.Namespace) -> list[str]:
    """Measure and tell; gives what was missed."""
    missed = []
    with Lab() as lab:
        bench = Bench(lab, options.residents, options.rate, options.seconds)
        try:
            costs = bench.costs()
            report.say(f"Unit costs, {options.rate:g} handshakes a second:")
            report.table(("what", "cost"), unit_rows(costs))
            report.say("The model beside what was measured:")
            rows = []
            for what, demand, taken, memory, said in bench.check(costs):
                wrong = said.daemon / taken.share - 1
                if abs(wrong) > TOLERANCE:
                    missed.append(f"{what}: the model says {said.daemon:.1%} of a CPU, measured {taken.share:.1%}")
                rows.append((
                    f"{demand.residents:,}", f"{demand.rekeys:.0f}", f"{demand.connects:.0f}",
                    f"{said.daemon:.1%}", f"{taken.share:.1%}", f"{wrong:+.0%}",
                    f"{said.daemon_memory / 2**20:.1f}", f"{memory / 2**20:.1f}",
                ))  # fmt: skip
            report.table(CHECK_HEAD, rows)
            report.say(f"Past this machine, all in use, each staying {STAY / 60:.0f} minutes on average:")
            report.table(MODEL_HEAD, model_rows(costs))
            report.say(
                f"One daemon is at a whole CPU with {most_residents(costs, STAY, 1.0):,} residents, "
                f"at half of one with {most_residents(costs, STAY, 0.5):,}."
            )
            if bench.lost:
                missed.append(f"{bench.lost} clients were lost")
        finally:
            bench.site.server.clear()
    return missed


if __name__ == "__main__":
    sys.exit(main())

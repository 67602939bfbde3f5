"""A gateway in steady use: residents rekey, newcomers connect, and the daemon's CPU time and memory are measured.

    residents come up, evenly over one rekey's time │ minute 1 │ minute 2 │ ...
                          not measured              │ residents rekey every 120 s, newcomers connect and stay

The clients are those of `load`: thousands of addresses and the real protocol. A connect or rekey counts when an echo's
reply through the new session opens. Clients begin at their time, whatever happened to earlier clients, and retry as the
kernel's client does. Newcomers do not rekey: they are residents until they are idle. A newcomer reuses the address and
port of an earlier one, so that the number of sockets stays bounded.

CPU is user and system time of the daemon's process, without the kernel's work in interrupts. On User-Mode Linux all
processes share one CPU, so latencies include the clients' own work.

Goals: the daemon takes at most 5 % of a core over the whole time. Its memory grows by at most a tenth plus the cost of
the newcomers, each costing as much as a first resident did (measured while they came up, or 1 KiB). Nothing is lost.

`./dev bench steady` runs in a guest that has kernel WireGuard, and with `--backend go` on this kernel with
wireguard-go.
"""

from __future__ import annotations

import argparse
import math
import sys
import threading
import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from bench.load.client import Connect
from bench.load.identities import registration
from bench.load.result import Spread
from bench.load.site import Site
from bench.plot import lines
from bench.processes import Process
from bench.report import Report, add_option, check_above_zero, section_for
from lab.gateway import Gateway
from lab.netns import Lab
from lab.registry import LabRegistry

REKEY_EVERY = 120.0
"""Seconds: REKEY_AFTER_TIME of WireGuard's clients."""
PLACE_AGAIN = 110.0
"""Seconds after which a newcomer's socket is another's: whoever had it is up or lost by then (REKEY_ATTEMPT_TIME), and
has sent the keepalive that follows its data."""
LIMIT_CPU = 0.05
"""Of one core, over the whole time."""
LIMIT_GROWTH = 0.1
"""Of the memory at the beginning, beyond what newcomers cost."""
LEAST_COST = 1024
"""Bytes that a resident may cost, also where the first ones seemed to cost less."""
MIB = 1 << 20


@dataclass(frozen=True)
class Sample:
    """The daemon at a moment."""

    moment: float
    """Monotonic seconds."""
    cpu: float
    """Seconds so far."""
    rss: int


class Watch:
    """Samples a process each second. A context manager."""

    def __init__(self, pid: int) -> None:
        self.samples: list[Sample] = []
        self._process = Process(pid)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._sample()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(1.0):
            self._sample()

    def _sample(self) -> None:
        self.samples.append(Sample(time.monotonic(), self._process.cpu(), self._process.memory()))


@dataclass
class Minute:
    """A minute, or all of them."""

    name: str
    cpu: float
    """Share of one core."""
    rss: int
    """Bytes at its end."""
    connects: list[Connect] = field(default_factory=list)
    rekeys: list[Connect] = field(default_factory=list)

    @property
    def lost(self) -> tuple[int, int]:
        """Connects and rekeys that never came up."""
        return _lost(self.connects), _lost(self.rekeys)


@dataclass
class Outcome:
    """What was seen."""

    before: int
    """The daemon's memory when it was ready, bytes."""
    start: int
    """The same when the first residents were up."""
    residents: int
    minutes: list[Minute]
    whole: Minute
    status: dict[str, Any]

    def cost(self) -> float:
        """Bytes that a resident costs."""
        return max(LEAST_COST, (self.start - self.before) / self.residents)

    def limit(self) -> float:
        """Bytes that the daemon may have in the end."""
        return self.start * (1 + LIMIT_GROWTH) + len(self.whole.connects) * self.cost()

    def missed(self) -> list[str]:
        """The goals that were not reached."""
        found = []
        if self.whole.cpu > LIMIT_CPU:
            found.append(f"CPU: {self.whole.cpu:.1%} of a core, limit {LIMIT_CPU:.0%}")
        if self.whole.rss > self.limit():
            found.append(f"memory: {self.whole.rss / MIB:.1f} MiB, limit {self.limit() / MIB:.1f}")
        for name, lost in zip(("connects", "rekeys"), self.whole.lost, strict=True):
            if lost:
                found.append(f"{lost} {name} were lost")
        if not self.whole.connects or not self.whole.rekeys:
            found.append("no connects or no rekeys were tried")
        if self.status["faults"]:
            found.append(f"faults {self.status['faults']}")
        return found


def _lost(connects: Sequence[Connect]) -> int:
    return sum(connect.up is None for connect in connects)


def sample_at(samples: Sequence[Sample], moment: float) -> Sample:
    """The first sample from this moment on, or the last there is."""
    return samples[min(bisect_left(samples, moment, key=lambda sample: sample.moment), len(samples) - 1)]


def part(name: str, samples: Sequence[Sample], connects: Sequence[Connect], begin: float, end: float) -> Minute:
    """What there was from `begin` to `end`, monotonic seconds."""
    first, last = sample_at(samples, begin), sample_at(samples, end)
    within = [connect for connect in connects if begin <= connect.intended < end]
    return Minute(
        name,
        (last.cpu - first.cpu) / (last.moment - first.moment),
        last.rss,
        [connect for connect in within if connect.is_first],
        [connect for connect in within if not connect.is_first],
    )


def starts(residents: int, rate: float, minutes: int) -> list[float]:
    """When each client begins, in seconds: residents evenly over a rekey's time, then newcomers."""
    newcomers = round(rate * minutes * 60)
    return [
        *(REKEY_EVERY * number / residents for number in range(residents)),
        *(REKEY_EVERY + number / rate for number in range(newcomers)),
    ]


def places(residents: int, rate: float, clients: int) -> list[int]:
    """Each client's socket, by number: residents have their own, newcomers take turns."""
    turn = math.ceil(rate * PLACE_AGAIN)
    return [number if number < residents else residents + (number - residents) % turn for number in range(clients)]


def play(site: Site, residents: int, rate: float, minutes: int) -> Outcome:
    """Bring the residents up, then measure."""
    begins = starts(residents, rate, minutes)
    identities = site.identities(len(begins))
    store = site.lab.folder / "steady.db"
    registry = LabRegistry(store)
    registry.add(map(registration, identities))
    registry.close()
    with (
        Gateway(site.gateway, site.server.name, store=store) as gateway,
        site.load(identities, places=places(residents, rate, len(begins))) as load,
        Watch(gateway.process.pid) as watch,
    ):
        before = watch.samples[0].rss
        load.run(begins, rekey_every=REKEY_EVERY, rekeying=residents, seconds=REKEY_EVERY + 60 * minutes)
        status = gateway.status()
        if status["faults"]:
            print("".join(gateway.log.read_text().splitlines(keepends=True)[-20:]), file=sys.stderr)
    zero = load.connects[0].intended + REKEY_EVERY

    def between(name: str, begin: int, end: int) -> Minute:
        return part(name, watch.samples, load.connects, zero + 60 * begin, zero + 60 * end)

    each = [between(str(number + 1), number, number + 1) for number in range(minutes)]
    start = sample_at(watch.samples, zero).rss
    return Outcome(before, start, residents, each, between("all", 0, minutes), status)


HEAD = (
    "minute", "CPU of a core", "RSS at its end, MiB", "connects", "lost", "retried", "p50 ms", "p99 ms",
    "rekeys", "lost", "retried", "p50 ms", "p99 ms",
)  # fmt: skip


def rows(outcome: Outcome) -> Iterator[tuple[str, ...]]:
    """The lines of the table."""
    for minute in (*outcome.minutes, outcome.whole):
        cells = [minute.name, f"{minute.cpu:.1%}", f"{minute.rss / MIB:.1f}"]
        for connects in (minute.connects, minute.rekeys):
            times = Spread.of(connect.up - connect.intended for connect in connects if connect.up is not None)
            retried = sum(connect.attempts > 1 for connect in connects)
            cells += [f"{len(connects):,}", str(_lost(connects)), str(retried)]
            cells += ["-" if value is None else f"{value * 1e3:.1f}" for value in (times.p50, times.p99)]
        yield tuple(cells)


def plot(outcome: Outcome) -> str:
    """CPU and memory over the minutes, each in a unit that suits the other."""
    series = {
        "CPU, % of a core": [(float(n), minute.cpu * 100) for n, minute in enumerate(outcome.minutes, 1)],
        "RSS, 10 MiB": [
            (0.0, outcome.start / MIB / 10),
            *((float(n), minute.rss / MIB / 10) for n, minute in enumerate(outcome.minutes, 1)),
        ],
    }
    return lines("What the daemon takes", series, "minutes", "% of a core; 10 MiB")


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="./dev bench steady", description=__doc__.partition("\n")[0])
    parser.add_argument("--backend", choices=["auto", "kernel", "go"], default="auto")
    parser.add_argument("--residents", type=int, default=10_000, help="that rekey (default 10000)")
    parser.add_argument("--rate", type=float, default=50.0, help="newcomers per second (default 50)")
    parser.add_argument("--minutes", type=int, default=10)
    add_option(parser)
    options = parser.parse_args(words)
    check_above_zero(parser, options, "residents", "rate", "minutes")
    section = section_for("steady", options.backend)
    report = Report("steady", options.write, section=section)
    report.head(words)
    with Lab() as lab:
        site = Site(lab, options.backend)
        report.say(
            f"{site.server.backend} WireGuard; {options.residents:,} residents rekey every {REKEY_EVERY:g} s, "
            f"{options.rate:g} newcomers a second."
        )
        try:
            outcome = play(site, options.residents, options.rate, options.minutes)
        finally:
            site.server.clear()
    report.table(HEAD, rows(outcome))
    report.say(
        f"Memory of the daemon: {outcome.before / MIB:.1f} MiB when ready, {outcome.start / MIB:.1f} with the first "
        f"{outcome.residents:,} residents, {outcome.whole.rss / MIB:.1f} at the end, limit {outcome.limit() / MIB:.1f} "
        f"({outcome.cost():,.0f} bytes a resident); {outcome.status['residents']:,} residents in the end."
    )
    wrong = outcome.missed()
    report.say("\n".join(f"MISSED {line}" for line in wrong) or "all goals reached")
    report.plot(section, plot(outcome), "CPU and memory of the daemon over the minutes")
    report.finish()
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

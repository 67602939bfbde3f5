"""A storm: thousands of clients connect at once, to an empty gateway and to a gateway with all peers installed.

    round 1:  pre-installed │ wgjit        round 2:  wgjit │ pre-installed        ...

Each run has a new site: namespaces, a WireGuard interface without sessions, new keys. "wgjit" is the real daemon with
hold, with all peers in its registry and none installed. "pre-installed" is WireGuard alone, with all peers set
beforehand. The clients are those of bench/load/, each with its own address. All begin at the same moment (or within
--spread), and their first initiations are made beforehand. A client without an answer retries as the kernel's client
does, 5 to 5.33 s after its last try. A client is up when it has had an ICMP echo's reply through its session.

From 512 queued handshakes on, WireGuard is "under load" (MAX_QUEUED_INCOMING_HANDSHAKES / 8; wireguard-go:
UnderLoadQueueSize 128) and answers with cookies instead. A client takes the cookie and retries 5 s later. This happens
in a storm with or without wgjit, so wall times come in steps of 5 s.

CPU time per connect: for the daemon and for wireguard-go it is the time of their processes. The generator's time
includes the kernel's work on a packet in the sender's time. In a guest, "the rest" is all other work of its CPU, above
all kernel WireGuard.

Goals, for the largest number of clients: no client is lost, and the last client is up within 1.5 times the time with
all peers pre-installed (medians of the rounds).

`./dev bench storm` runs in a guest that has kernel WireGuard, `./dev bench storm --backend go` here with wireguard-go.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from math import ceil
from statistics import median
from typing import Any, Final

from bench import plot
from bench.load.identities import registration
from bench.load.result import Result
from bench.load.site import Site
from bench.processor import Cpu, of_machine, of_process
from bench.report import Report, add_option, section_for
from lab.gateway import Gateway
from lab.netns import Lab
from lab.registry import LabRegistry
from lab.wireguard import Backend, kernel_has_wireguard

LIMIT_RATIO: Final = 1.5
"""What the wall time of the largest storm may be, as a ratio to that of all pre-installed."""
PREPARED: Final = 2
"""Initiations of each client that are made beforehand; further tries are made when they are due."""
MOST_GO: Final = 65_536
"""Peers that fit into one wireguard-go."""

BEFORE, JIT = "pre-installed", "wgjit"


@dataclass(frozen=True)
class Run:
    """One storm on one gateway."""

    gateway: str
    """BEFORE or JIT."""
    result: Result
    generator: Cpu
    daemon: Cpu | None
    """wgjit's."""
    userspace: Cpu | None
    """wireguard-go's."""
    machine: Cpu
    """All that the machine did meanwhile."""
    status: dict[str, Any] | None = field(default=None, repr=False)
    """The daemon's own word, afterwards."""

    def until(self, share: float) -> float | None:
        """Seconds until this share of all clients was up; None if so many never were."""
        ordered, wanted = sorted(self.result.up_times), ceil(share * self.result.clients)
        return ordered[wanted - 1] if 1 <= wanted <= len(ordered) else None

    @property
    def rest(self) -> Cpu:
        """What neither generator nor daemon nor wireguard-go did."""
        own = self.generator + (self.daemon or Cpu()) + (self.userspace or Cpu())
        return self.machine - own

    def per_connect(self, cpu: Cpu | None) -> str:
        """Microseconds of user and system time for each connect that came up."""
        if cpu is None or not self.result.up:
            return "-"
        return " + ".join(f"{seconds / self.result.up * 1e6:,.0f}" for seconds in (cpu.user, cpu.system))


def _spent(pid: int | None, before: Cpu | None = None) -> Cpu | None:
    """What a process, if there is one, has had since."""
    return None if pid is None else of_process(pid) - (before or Cpu())


def play(gateway: str, backend: Backend, count: int, spread: float, patience: float) -> Run:
    """One run, on a site of its own. Raises what the lab raises."""
    with Lab() as lab:
        site = Site(lab, backend)
        identities = site.identities(count)
        daemon: Gateway | None = None
        if gateway == JIT:
            path = lab.folder / "storm.db"
            registry = LabRegistry(path)
            registry.add([registration(each) for each in identities])
            registry.close()
            daemon = Gateway(site.gateway, site.server.name, store=path, delivery="hold")
        else:
            site.install(identities)
        try:
            with daemon or nullcontext(), site.load(identities) as load:
                load.prepare(PREPARED)
                processes = (daemon.process.pid if daemon else None, site.server.pid)
                before = [_spent(pid) for pid in processes]
                machine, own = of_machine(), of_process(os.getpid())
                result = load.run([spread * number / count for number in range(count)], patience=patience)
                generator, machine = of_process(os.getpid()) - own, of_machine() - machine
                ours, userspace = (_spent(pid, was) for pid, was in zip(processes, before, strict=True))
                status = daemon.status() if daemon else None
        finally:
            site.server.clear()
    return Run(gateway, result, generator, ours, userspace, machine, status)


def order(rounds: int) -> Iterator[str]:
    """Whose turn it is: both in each round, and each of them first as often as the other."""
    for number in range(rounds):
        yield from (BEFORE, JIT) if number % 2 == 0 else (JIT, BEFORE)


HEAD = (
    "clients", "gateway", "last one up s", "50 % s", "90 % s", "99 % s", "connects/s", "retries", "up without one",
    "cookies", "lost", "CPU µs a connect, user + system: daemon", "WireGuard", "generator",
)  # fmt: skip


def row(run: Run) -> tuple[str, ...]:
    """One line of the table."""
    result = run.result
    times = [result.last_up, *(run.until(share) for share in (0.5, 0.9, 0.99))]
    return (
        f"{result.clients:,}",
        run.gateway,
        *("-" if seconds is None else f"{seconds:.2f}" for seconds in times),
        f"{result.connects_per_second:,.0f}" if result.connects_per_second else "-",
        *(f"{number:,}" for number in (result.retries, result.at_once, result.cookies, result.lost)),
        run.per_connect(run.daemon),
        run.per_connect(run.userspace or run.rest),
        run.per_connect(run.generator),
    )


def last_up(runs: Sequence[Run], gateway: str) -> float | None:
    """The median of the time until the last one was up; None if somebody never was."""
    times = [run.until(1.0) for run in runs if run.gateway == gateway]
    return None if not times or None in times else median(time for time in times if time is not None)


def missed(storms: dict[int, list[Run]]) -> list[str]:
    """The goals that were not reached; `storms` by their number of clients."""
    told = [
        f"{count:,} clients, {run.gateway}: {run.result.lost:,} lost"
        for count, runs in storms.items()
        for run in runs
        if run.result.lost
    ]
    told += [
        f"{count:,} clients, {run.gateway}: faults {run.status['faults']}"
        for count, runs in storms.items()
        for run in runs
        if run.status and run.status["faults"]
    ]
    most = max(storms)
    jit, before = last_up(storms[most], JIT), last_up(storms[most], BEFORE)
    if jit is None or before is None:
        told.append(f"{most:,} clients: no wall time to compare, as not all came up")
    elif jit > LIMIT_RATIO * before:
        told.append(f"{most:,} clients: {jit / before:.2f} times the wall time of {BEFORE}, limit {LIMIT_RATIO:g}")
    return told


def ratios(storms: dict[int, list[Run]]) -> str:
    """The wall times side by side."""
    parts = []
    for count, runs in storms.items():
        jit, before = last_up(runs, JIT), last_up(runs, BEFORE)
        shown = "not all up" if jit is None or before is None else f"{jit:.2f} s to {before:.2f} s, {jit / before:.2f}"
        parts.append(f"{count:,} clients {shown}")
    return f"Last one up, {JIT} to {BEFORE}, median of the rounds: {'; '.join(parts)}."


def drawing(count: int, runs: Sequence[Run], backend: str) -> str:
    """Share of the clients up over time, the first round of each."""
    series = {
        name: [(time, number / count * 100) for time, number in plot.cumulative(run.result.up_times)]
        for name in (BEFORE, JIT)
        for run in [next(run for run in runs if run.gateway == name)]
        if run.result.up_times
    }
    title = f"{count:,} clients at once, {backend}"
    return plot.lines(title, series, "seconds", "% up")


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="./dev bench storm", description=__doc__.partition("\n")[0])
    parser.add_argument("--backend", choices=["auto", "kernel", "go"], default="auto")
    parser.add_argument("--clients", type=int, nargs="+", default=[1000, 10_000], help="default 1000 10000")
    parser.add_argument("--rounds", type=int, default=2, help="runs of each gateway for each number (default 2)")
    parser.add_argument("--spread", type=float, default=0.0, help="seconds over which they begin (default 0: at once)")
    parser.add_argument("--patience", type=float, default=90.0, help="seconds until a client gives up (default 90)")
    add_option(parser)
    options = parser.parse_args(words)
    for name, low in (("rounds", 1), ("spread", 0), ("patience", 1)):
        if not getattr(options, name) >= low:
            parser.error(f"--{name} {getattr(options, name)}: must be at least {low}")
    backend = options.backend if options.backend != "auto" else "kernel" if kernel_has_wireguard() else "go"
    for count in options.clients:
        if not 1 <= count <= MOST_GO:
            parser.error(f"--clients {count}: must be from 1 to {MOST_GO:,}")
    section = section_for("storm", backend)
    report = Report("storm", options.write, section=section)
    report.head(words)
    storms: dict[int, list[Run]] = {}

    def rows() -> Iterator[tuple[str, ...]]:
        for count in sorted(set(options.clients)):
            storms[count] = []
            for gateway in order(options.rounds):
                run = play(gateway, backend, count, options.spread, options.patience)
                storms[count].append(run)
                if run.status:
                    print(f"{gateway}: {run.status['decisions']} {run.status['refusals']}", file=sys.stderr)
                yield row(run)

    kind = "wireguard-go" if backend == "go" else "kernel WireGuard"
    within = f"within {options.spread:g} s" if options.spread else "at once"
    report.say(f"{kind}, hold; all clients {within}, {options.rounds} rounds.")
    report.table(HEAD, rows())
    report.say(ratios(storms))
    for count, runs in storms.items():
        name = f"{section}-{count}"
        report.plot(name, drawing(count, runs, kind), f"share of {count:,} clients up over time, {kind}")
    found = missed(storms)
    return report.conclude(found)


if __name__ == "__main__":
    sys.exit(main())

"""Connect latency of new clients by hold, with and without an eviction of thousands of peers at the same time.

A round, with the real daemon and the real WireGuard of this kernel:

    residents knock and never complete ── none leaves ─────────── all leave, `unconfirmed` ──┐
                                         │◀── "none evicted" ──▶│◀────── "evicting" ────────▶│
                                         newcomers, so many a second, all the while

Both parts of a round have the same residents, the same newcomers and the same observers. They follow each other, so
that other load on this machine falls on both. "removing" is the part of "evicting" in which peers really left between
two readings of the daemon's count. In the rest of "evicting", the daemon reads the device and waits.

A newcomer is an initiation of a registered key that never knocked. It is sent at its time, whatever happened to earlier
newcomers. The time to WireGuard's response is measured: capture, lookup, proof, install, verdict, and the kernel's own
Diffie-Hellmans. The newcomer then completes the handshake and stays. No initiation is sent twice, so a loss is seen.
"install" is the daemon's own figure in the feed: how long the device took for the install, locks included.

Goals: no newcomer is lost. The 99th percentiles of "evicting" and of "removing" are at most twice that of "none
evicted". If fewer than a hundred newcomers fall into "removing", they are in the table but are not judged.

Run it in a guest that has kernel WireGuard: `./dev bench evict`, some three minutes. On two CPUs, far slower:
`WGJIT_GUEST_BACKEND=tcg ./dev bench evict --residents 300 --rate 10`. On this kernel: with `--backend go`.
"""

from __future__ import annotations

import argparse
import ipaddress
import sys
import threading
import time
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median

from bench.machines import CLIENTS, LOST, Machines, Newcomer, arrive, knock
from bench.plot import bars
from bench.report import Report, add_option, check_above_zero
from lab.gateway import Gateway
from lab.netns import Lab
from lab.registry import LabRegistry
from lab.wireguard import Backend, WireGuard
from wgjit.model import Peer, PrivateKey
from wgjit.wire.noise import Initiator

PORT = 51820
LIMIT_RATIO = 2.0
"""What the 99th percentile may be while others are evicted, as a ratio to that of none evicted."""
ENOUGH = 100
"""Newcomers that a 99th percentile takes."""
CALM = 4.0
"""Seconds of a round at least in which nobody is evicted."""
LONGEST = 60.0
"""Seconds that an eviction of all residents may take."""
POLL = 0.1
"""Seconds between two looks at the daemon's count of departures."""

NONE, EVICTING, REMOVING = "none evicted", "evicting", "removing"


@dataclass
class Round:
    """What one round saw."""

    newcomers: list[Newcomer]
    due: float
    """When the first resident was to leave, monotonic seconds."""
    left: list[tuple[float, int]]
    """Looks at the count of departures: monotonic seconds, how many had left in this round."""

    def removals(self) -> list[tuple[float, float, int]]:
        """The stretches, between two looks, in which some left: from, to, how many."""
        return [(a, b, after - before) for (a, before), (b, after) in pairwise(self.left) if after > before]

    def parts(self) -> dict[str, list[Newcomer]]:
        """The newcomers by what was going on when they knocked; those of REMOVING are among EVICTING, too."""
        removals = self.removals()
        begins, ends = [begin for begin, _, _ in removals], [end for _, end, _ in removals]
        parts: dict[str, list[Newcomer]] = {NONE: [], EVICTING: [], REMOVING: []}
        for newcomer in self.newcomers:
            if not ends or not self.due <= newcomer.sent <= ends[-1]:
                parts[NONE].append(newcomer)
                continue
            parts[EVICTING].append(newcomer)
            if bisect_right(begins, newcomer.sent) > bisect_left(ends, newcomer.sent):
                parts[REMOVING].append(newcomer)
        return parts


@dataclass
class Outcome:
    """All rounds together."""

    parts: dict[str, list[Newcomer]] = field(default_factory=lambda: {NONE: [], EVICTING: [], REMOVING: []})
    evicted: int = 0
    removing: float = 0.0
    """Seconds in which these left."""
    taken: float = 0.0
    """Seconds from the first one's time to the last one's departure, over all rounds."""
    faults: dict[str, int] = field(default_factory=dict)

    def add(self, round_: Round) -> None:
        """Count a round."""
        for name, newcomers in round_.parts().items():
            self.parts[name] += newcomers
        removals = round_.removals()
        self.evicted += sum(count for _, _, count in removals)
        self.removing += sum(end - begin for begin, end, _ in removals)
        self.taken += removals[-1][1] - round_.due

    def missed(self) -> list[str]:
        """The goals that were not reached."""
        missed = [
            f"{name}: {lost} of {len(newcomers)} newcomers were lost"
            for name, newcomers in self.parts.items()
            if (lost := sum(newcomer.seconds is None for newcomer in newcomers))
        ]
        calm = _percentile(_seconds(self.parts[NONE]), 0.99)
        for name, newcomers in self.parts.items():
            busy = _percentile(_seconds(newcomers), 0.99)
            if len(newcomers) >= ENOUGH and busy > LIMIT_RATIO * calm:
                missed.append(f"{name}: p99 {busy / calm:.2f} times that of {NONE}, limit {LIMIT_RATIO:g}")
            elif len(newcomers) < ENOUGH and name != REMOVING:
                missed.append(f"{name}: {len(newcomers)} newcomers tell no 99th percentile: more --rounds")
        return missed + ([f"faults {self.faults}"] if self.faults else [])


def _seconds(newcomers: Iterable[Newcomer]) -> list[float]:
    return [newcomer.seconds for newcomer in newcomers if newcomer.seconds is not None]


def _percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that so large a share of them does not exceed; not a number if there is none."""
    ordered = sorted(values)
    return ordered[max(0, -int(-len(ordered) * share // 1) - 1)] if ordered else float("nan")


class Site:
    """A gateway, and one machine on which all clients are."""

    def __init__(self, lab: Lab, backend: Backend, residents: int) -> None:
        self.lab = lab
        self.gateway, self.machine = lab.namespace("gw"), lab.namespace("c")
        lab.link(self.gateway, self.machine, ["10.9.0.1/24"], ["10.9.0.2/24"])
        # Every client has an address of its own, as sources are limited: all of this network are the machine's.
        self.machine.ip(f"route add local {CLIENTS} dev lo")
        self.gateway.ip(f"route add {CLIENTS} via 10.9.0.2")
        self.server = WireGuard(self.gateway, ["10.8.0.1/16"], listen_port=PORT, backend=backend)
        self.path = lab.folder / "peers.db"
        self._registry = LabRegistry(self.path)
        self._inside = ipaddress.IPv4Network("11.0.0.0/8").subnets(new_prefix=32)
        self.residents = self.register(residents)

    def register(self, count: int) -> list[Initiator]:
        """New clients whom the registry knows."""
        made = [Initiator(PrivateKey.generate(), self.server.public_key) for _ in range(count)]
        self._registry.add(Peer(client.public_key, (next(self._inside),)) for client in made)
        return made

    def machines(self, clients: Sequence[Initiator]) -> Machines:
        """Where these are, ready to knock."""
        return Machines(self.machine.socket(), ("10.9.0.1", PORT), clients)

    def up(self, timeout: float) -> Gateway:
        """The daemon."""
        settings = self.lab.folder / "settings.toml"
        settings.write_text(f"[gateway]\nunconfirmed_timeout = {timeout}\n")
        return Gateway(self.gateway, self.server.name, "--config", settings, store=self.path, delivery="hold")

    def close(self) -> None:
        """Empty the interface, which is then deleted far sooner."""
        self._registry.close()
        self.server.clear()


@contextmanager
def listening(gateway: Gateway) -> Iterator[dict[str, float]]:
    """Follow the feed; gives the seconds of each install by its key."""
    installs: dict[str, float] = {}
    over = threading.Event()

    def listen() -> None:
        with gateway.feed() as feed:
            ready.set()
            while not over.is_set():
                try:
                    record = feed.next(timeout=LOST)
                except TimeoutError:
                    return  # it was over long ago: newcomers come all the time
                if "install" in record["stages"]:
                    installs[record["public_key"]] = record["stages"]["install"] / 1e6

    ready = threading.Event()
    thread = threading.Thread(target=listen)
    thread.start()
    try:
        if not ready.wait(10.0):
            raise RuntimeError("the feed does not open")
        yield installs
    finally:
        over.set()
        thread.join()


@contextmanager
def counting(gateway: Gateway, wanted: int, over: threading.Event) -> Iterator[list[tuple[float, int]]]:
    """Follow how many have left since now, and say when as many have as are `wanted`."""

    def departures() -> int:
        return int(gateway.status()["departures"].get("unconfirmed", 0))

    def follow() -> None:
        while not stop.wait(POLL) and not over.is_set():
            left.append((time.monotonic(), departures() - before))
            if left[-1][1] >= wanted:
                over.set()

    before = departures()
    left = [(time.monotonic(), 0)]
    stop = threading.Event()
    thread = threading.Thread(target=follow)
    thread.start()
    try:
        yield left
    finally:
        stop.set()
        thread.join()


def play(site: Site, gateway: Gateway, rate: float, timeout: float) -> Round:
    """One round. Raises RuntimeError if it cannot be judged."""
    over = threading.Event()
    with (
        site.machines(site.register(int(rate * (timeout + LONGEST)))) as newcomers,
        site.machines(site.residents) as residents,
        counting(gateway, len(site.residents), over) as left,
    ):
        due = knock(residents) + timeout
        if (calm := due - time.monotonic()) < CALM:
            raise RuntimeError(
                f"the residents took {timeout - calm:.1f} s to knock: give a longer --timeout, or fewer --residents"
            )
        with listening(gateway) as installs:
            arrived = arrive(newcomers, rate, over)
        if not over.is_set():
            gone = f"{left[-1][1]} of {len(site.residents)} residents have left within {LONGEST:g} s"
            raise RuntimeError(f"{gone}: give fewer --residents")
    for newcomer in arrived:
        newcomer.install = installs.get(str(newcomer.key))
    return Round(arrived, due, left)


HEAD = (
    "newcomers", "connects", "lost", "median ms", "p99 ms", "worst ms", "p99 ratio",
    "install: median ms", "p99 ms", "worst ms",
)  # fmt: skip


def rows(outcome: Outcome) -> Iterator[tuple[str, ...]]:
    """The lines of the table."""
    calm = _percentile(_seconds(outcome.parts[NONE]), 0.99)
    for name, newcomers in outcome.parts.items():
        times = _seconds(newcomers)
        installs = [newcomer.install for newcomer in newcomers if newcomer.install is not None]
        p99 = _percentile(times, 0.99)
        counts = (str(len(newcomers)), str(len(newcomers) - len(times)))
        yield (name, *counts, *_spread(times), f"{p99 / calm:.2f}", *_spread(installs))


def _spread(seconds: Sequence[float]) -> tuple[str, ...]:
    """Median, 99th percentile and worst, in milliseconds."""
    if not seconds:
        return ("-", "-", "-")
    return tuple(f"{value * 1e3:.2f}" for value in (median(seconds), _percentile(seconds, 0.99), max(seconds)))


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="./dev bench evict", description=__doc__.partition("\n")[0])
    parser.add_argument("--backend", choices=["auto", "kernel", "go"], default="auto")
    parser.add_argument("--residents", type=int, default=5000, help="evicted in each round (default 5000)")
    parser.add_argument("--rate", type=float, default=50.0, help="newcomers per second (default 50)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--timeout", type=float, default=30.0, help="unconfirmed_timeout, seconds (default 30)")
    add_option(parser)
    options = parser.parse_args(words)
    check_above_zero(parser, options, "residents", "rate", "rounds")
    report = Report("evict", options.write)
    report.head(words)
    outcome = Outcome()
    with Lab() as lab:
        site = Site(lab, options.backend, options.residents)
        report.say(
            f"{site.server.backend} WireGuard, hold; {options.residents} residents evicted in each of {options.rounds} "
            f"rounds, {options.rate:g} newcomers a second."
        )
        try:
            with site.up(options.timeout) as gateway:
                for _ in range(options.rounds):
                    outcome.add(play(site, gateway, options.rate, options.timeout))
                outcome.faults = gateway.status()["faults"]
        finally:
            site.close()
    report.table(HEAD, rows(outcome))
    title = "Connect latency of newcomers while others are evicted"
    shown = {name: times for name, newcomers in outcome.parts.items() if (times := _seconds(newcomers))}
    spreads = {
        "median": [1e3 * median(seconds) for seconds in shown.values()],
        "99th percentile": [1e3 * _percentile(seconds, 0.99) for seconds in shown.values()],
    }
    report.plot("evict", bars(title, list(shown), spreads, "milliseconds"), title)
    report.say(
        f"{outcome.evicted:,} peers evicted, {outcome.evicted / outcome.removing:,.0f} a second while any left; "
        f"{outcome.removing:.1f} s of removing in {outcome.taken:.1f} s of evicting"
    )
    return report.conclude(outcome.missed())


if __name__ == "__main__":
    sys.exit(main())

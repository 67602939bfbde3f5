"""Time to first ping by delivery, against a peer that was installed beforehand; all in one run, round by round.

Each delivery has its own site: a namespace with the real daemon, a namespace with a real WireGuard client, and a veth
pair between them. In a round, each site gets one new peer (a new key, its own address) and one packet through it. The
time until that packet's answer is measured. Rounds interleave the sites, so that other load on this machine falls on
all sites alike. `pre-installed` is WireGuard alone, without wgjit.

`none` is the client's own retry after 5 s, without any delivery. (Its median also shows that the daemon does not get
ahead of WireGuard, because a packet that found the peer installed would need no retry.)

Goals: without delay on the link, hold's median is at most 1 ms over pre-installed; with a round trip of 100 ms, it is
at most 1.02 times pre-installed. No delivery loses a packet. flip costs about one round trip more. Ends with status 1
otherwise.

Run it in a guest that has kernel WireGuard and netem: `./dev bench connect`. With `--backend go` it runs on this
kernel, with wireguard-go on both sides. Without netem it only measures without delay.
"""

from __future__ import annotations

import argparse
import ipaddress
import math
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack

from bench.plot import bars
from bench.report import Report, add_option, section_for
from lab.gateway import Gateway
from lab.netns import Lab
from lab.registry import LabRegistry
from lab.wireguard import Backend, Client, WireGuard, peer_section
from wgjit.model import Peer, PrivateKey

PORT = 51820
INSIDE = "10.8.0.1"
CLIENT_PORT = 20000
"""Of the first round."""
SLOW = frozenset({"none"})
"""Deliveries that take seconds by design: a few rounds tell it all."""
OVER = {"hold": 0.001, "replay": 0.003}
"""Seconds that a median may be over the pre-installed peer's, with no delay on the line."""
FAR, RATIO = 0.1, 1.02
"""At this round trip time and beyond, what hold's median may be as a ratio to the pre-installed peer's."""
ROUND_TRIP = 0.05
"""Seconds of round trip from which on one more can be told from noise."""


class Site:
    """A gateway and a client, one veth apart."""

    def __init__(self, stack: ExitStack, lab: Lab, delivery: str, rounds: int, rtt: float, backend: Backend) -> None:
        self.delivery = delivery
        self.gateway, self.machine = lab.namespace(f"{delivery}-gw"), lab.namespace(f"{delivery}-c")
        link = lab.link(self.gateway, self.machine, ["10.9.0.1/24"], ["10.9.0.2/24"])
        self.server = WireGuard(self.gateway, ["10.8.0.1/16"], listen_port=PORT, backend=backend)
        self.hosts = [f"10.8.{1 + number // 250}.{1 + number % 250}" for number in range(rounds)]
        self.keys = [PrivateKey.generate() for _ in range(rounds)]
        self.client = Client(
            self.machine,
            self.server.public_key,
            f"10.9.0.1:{PORT}",
            [f"{host}/32" for host in self.hosts],
            ["10.8.0.0/16"],
            backend=backend,
        )
        self.seconds: list[float | None] = []
        if delivery == "pre-installed":
            peers = zip(self.keys, self.hosts, strict=True)
            self.server.configure("".join(peer_section(key.public(), [f"{host}/32"]) for key, host in peers))
        else:
            store = lab.folder / f"{delivery}.db"
            with_peers = LabRegistry(store)
            with_peers.add(
                Peer(key.public(), (ipaddress.ip_network(host),))
                for key, host in zip(self.keys, self.hosts, strict=True)
            )
            with_peers.close()
            stack.enter_context(Gateway(self.gateway, self.server.name, store=store, delivery=delivery))
        if rtt:
            self.gateway.netem(link.a, delay=rtt / 2)
            self.machine.netem(link.b, delay=rtt / 2)

    def round(self, number: int) -> None:
        """One fresh peer, one packet."""
        self.client.begin_anew(self.keys[number], CLIENT_PORT + number)
        self.seconds.append(self.machine.ping(INSIDE, 20.0, source=self.hosts[number]))


def measure(
    deliveries: Sequence[str], rounds: int, slow_rounds: int, rtt: float, backend: Backend
) -> dict[str, list[float | None]]:
    """Run the rounds; gives each delivery's times, None for a packet that was lost."""
    with Lab() as lab, ExitStack() as stack:
        sites = [
            Site(stack, lab, delivery, slow_rounds if delivery in SLOW else rounds, rtt, backend)
            for delivery in deliveries
        ]
        for number in range(rounds):
            for site in sites:
                if number < len(site.keys):
                    site.round(number)
        return {site.delivery: site.seconds for site in sites}


HEAD = ("delivery", "rounds", "lost", "p50 ms", "p99 ms", "max ms", "p50 over pre-installed ms", "ratio")


def label(delivery: str) -> str:
    """As the tables call it."""
    return "none (retry)" if delivery == "none" else delivery


def table(report: Report, times: dict[str, list[float | None]], rtt: float) -> dict[str, float]:
    """Tell one table; gives the medians in seconds."""
    medians = {
        name: statistics.median([s for s in all_ if s is not None] or [float("nan")]) for name, all_ in times.items()
    }
    base = medians["pre-installed"]
    report.say(f"RTT {rtt * 1000:.0f} ms")
    rows: list[tuple[str, ...]] = []
    for name, all_ in times.items():
        arrived = sorted(s for s in all_ if s is not None)
        counts = (label(name), str(len(all_)), str(len(all_) - len(arrived)))
        if not arrived:
            rows.append((*counts, *["-"] * 5))
            continue
        p99 = arrived[math.ceil(len(arrived) * 0.99) - 1]
        spread = [f"{seconds * 1000:.2f}" for seconds in (medians[name], p99, arrived[-1])]
        rows.append((*counts, *spread, f"{(medians[name] - base) * 1000:+.2f}", f"{medians[name] / base:.3f}"))
    report.table(HEAD, rows)
    return medians


def verdict(medians: dict[str, float], lost: dict[str, int], rtt: float) -> list[str]:
    """What of the goals was missed."""
    at = f"at RTT {rtt * 1000:.0f} ms"
    missed = [f"{label(name)}: {count} packets lost {at}" for name, count in lost.items() if count]
    base = medians["pre-installed"]
    over = {name: seconds - base for name, seconds in medians.items()}
    if not rtt:
        missed += [
            f"{name}: p50 {over[name] * 1000:+.2f} ms over pre-installed, goal {limit * 1000:.0f}"
            for name, limit in OVER.items()
            if name in over and not over[name] <= limit
        ]
    if rtt >= FAR and "hold" in medians and not medians["hold"] <= RATIO * base:
        missed.append(f"hold: {medians['hold'] / base:.3f} of pre-installed {at}, goal {RATIO}")
    if rtt >= ROUND_TRIP and "flip" in medians and not 0.8 * rtt <= over["flip"] <= 1.3 * rtt:
        missed.append(f"flip: {over['flip'] * 1000:+.1f} ms {at}, expected one RTT more")
    return missed


def plot(medians: dict[float, dict[str, float]]) -> str:
    """The medians of all but the retry, which would dwarf them."""
    names = [name for name in next(iter(medians.values())) if name not in SLOW]
    series = {name: [each[name] * 1000 for each in medians.values()] for name in names}
    return bars("First ping, p50", [f"RTT {rtt:.0f} ms" for rtt in medians], series, "ms")


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev bench connect", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=120)
    parser.add_argument("--slow-rounds", type=int, default=3, help="rounds of the client's own retry")
    parser.add_argument("--rtt", type=float, nargs="*", help="milliseconds (default 0 20 100; with --backend go 0)")
    parser.add_argument("--deliveries", nargs="*", default=["hold", "replay", "flip", "none"])
    parser.add_argument("--backend", choices=("kernel", "go"), default="kernel", help="go: on this kernel")
    add_option(parser)
    options = parser.parse_args()
    section = section_for("connect", options.backend)
    report = Report("connect", options.write, section=section)
    report.head()
    missed = []
    medians: dict[float, dict[str, float]] = {}
    deliveries = ["pre-installed", *options.deliveries]
    began = time.monotonic()
    for rtt in options.rtt or ([0.0] if options.backend == "go" else [0.0, 20.0, 100.0]):
        times = measure(deliveries, options.rounds, options.slow_rounds, rtt / 1000, options.backend)
        medians[rtt] = table(report, times, rtt / 1000)
        lost = {name: sum(s is None for s in all_) for name, all_ in times.items()}
        missed += verdict(medians[rtt], lost, rtt / 1000)
    report.plot(section, plot(medians), "Median time to the first ping's answer, by delivery and round trip time")
    print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)
    return report.conclude(missed)


if __name__ == "__main__":
    sys.exit(main())

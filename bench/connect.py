"""Time to first ping by delivery, against a peer that was installed beforehand; all in one run, round by round.

For each delivery a site of its own: a gateway's namespace with the real daemon, a client's namespace with a real
WireGuard client, a veth between them. In a round every site gets one fresh peer (a new key, an address of its own)
and one packet through it; what is measured is the time until that packet's answer is back. Rounds interleave the
sites, so that whatever else this machine does falls on all alike. `pre-installed` is WireGuard alone, without wgjit.

A copy is captured while the packet itself is on its way to WireGuard's worker. On one CPU the daemon often wins that
race, and the kernel finds the peer in time, whatever the delivery. So for replay, flip and none a firewall rule behind
the tap drops the first packet of each round: their figures are those of a lost race, which is what they are for.

Run it in a guest that has kernel WireGuard and netem: `./dev bench connect`.
"""

from __future__ import annotations

import argparse
import ipaddress
import statistics
import sys
from contextlib import ExitStack

from bench.report import Report, add_option
from lab.gateway import Gateway
from lab.netns import Lab
from lab.wireguard import Client, WireGuard
from wgjit.model import Peer, PrivateKey
from wgjit.stores.sqlite import SqliteRegistry

PORT = 51820
INSIDE = "10.8.0.1"
SLOW = frozenset({"none"})
"""Deliveries that take seconds by design: a few rounds tell it all."""
COPIES = frozenset({"replay", "flip", "none"})
"""Deliveries that work on a copy, while the packet itself goes on."""
LIMIT_OVER = 0.003
"""Seconds that the median of hold and of replay may be over the pre-installed peer's, with no delay on the line."""
LIMIT_RATIO = 1.05
"""What hold may cost with a real round trip time, as a ratio to the pre-installed peer's."""


class Site:
    """A gateway and a client, one veth apart."""

    def __init__(self, stack: ExitStack, lab: Lab, delivery: str, rounds: int, rtt: float) -> None:
        self.delivery = delivery
        self.gateway, self.machine = lab.namespace(f"{delivery}-gw"), lab.namespace(f"{delivery}-c")
        link = lab.link(self.gateway, self.machine, ["10.9.0.1/24"], ["10.9.0.2/24"])
        self.server = WireGuard(self.gateway, ["10.8.0.1/16"], listen_port=PORT)
        self.hosts = [f"10.8.{1 + number // 250}.{1 + number % 250}" for number in range(rounds)]
        self.keys = [PrivateKey.generate() for _ in range(rounds)]
        self.client = Client(
            self.machine,
            self.server.public_key,
            f"10.9.0.1:{PORT}",
            [f"{host}/32" for host in self.hosts],
            ["10.8.0.0/16"],
        )
        self.seconds: list[float | None] = []
        if delivery != "pre-installed":
            store = lab.folder / f"{delivery}.db"
            with_peers = SqliteRegistry(store)
            with_peers.add(
                Peer(key.public(), (ipaddress.ip_network(host),))
                for key, host in zip(self.keys, self.hosts, strict=True)
            )
            with_peers.close()
            stack.enter_context(Gateway(self.gateway, self.server.name, store=store, delivery=delivery))
        if delivery in COPIES:
            self.lose_again = self.gateway.lose_first_knocks(PORT)
        if rtt:
            self.gateway.netem(link.a, delay=rtt / 2)
            self.machine.netem(link.b, delay=rtt / 2)

    def round(self, number: int) -> None:
        """One fresh peer, one packet."""
        key, host = self.keys[number], self.hosts[number]
        if self.delivery == "pre-installed":
            self.server.add_peer(key.public(), [f"{host}/32"])
        self.client.remove_peer(self.server.public_key)
        self.client._wg("set", self.client.name, "private-key", "/proc/self/fd/0", input=key.reveal_base64())
        self.client.connect()
        if self.delivery in COPIES:
            self.lose_again()
        self.seconds.append(self.machine.ping(INSIDE, 20.0, source=host))


def measure(deliveries: list[str], rounds: int, slow_rounds: int, rtt: float) -> dict[str, list[float | None]]:
    """Run the rounds; gives each delivery's times, None for a packet that was lost."""
    with Lab() as lab, ExitStack() as stack:
        sites = [
            Site(stack, lab, delivery, slow_rounds if delivery in SLOW else rounds, rtt) for delivery in deliveries
        ]
        for number in range(rounds):
            for site in sites:
                if number < len(site.keys):
                    site.round(number)
        return {site.delivery: site.seconds for site in sites}


HEAD = ("delivery", "rounds", "lost", "median ms", "p95 ms", "max ms", "over pre-installed ms", "ratio")


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
        counts = (name, str(len(all_)), str(len(all_) - len(arrived)))
        if not arrived:
            rows.append((*counts, *["-"] * 5))
            continue
        p95 = arrived[min(len(arrived) - 1, int(len(arrived) * 0.95))]
        spread = [f"{seconds * 1000:.2f}" for seconds in (medians[name], p95, arrived[-1])]
        rows.append((*counts, *spread, f"{(medians[name] - base) * 1000:+.2f}", f"{medians[name] / base:.3f}"))
    report.table(HEAD, rows)
    return medians


def verdict(medians: dict[str, float], lost: int, rtt: float) -> list[str]:
    """What of the goals was missed."""
    missed = [f"{lost} packets lost with hold or replay"] if lost else []
    base = medians["pre-installed"]
    if not rtt:
        missed += [
            f"{name}: median {(medians[name] - base) * 1000:+.2f} ms over pre-installed, goal {LIMIT_OVER * 1000:.0f}"
            for name in ("hold", "replay")
            if name in medians and not medians[name] - base <= LIMIT_OVER
        ]
    else:
        if "hold" in medians and not medians["hold"] <= LIMIT_RATIO * base:
            missed.append(f"hold: {medians['hold'] / base:.3f} of pre-installed at RTT {rtt * 1000:.0f} ms")
        if "flip" in medians and not 0.8 * rtt <= medians["flip"] - base <= 1.3 * rtt:
            missed.append(
                f"flip: {(medians['flip'] - base) * 1000:+.1f} ms, expected one RTT ({rtt * 1000:.0f} ms) more"
            )
    return missed


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev bench connect", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--slow-rounds", type=int, default=3, help="rounds of the client's own retry")
    parser.add_argument("--rtt", type=float, nargs="*", default=[0.0, 50.0], help="milliseconds")
    parser.add_argument("--deliveries", nargs="*", default=["hold", "replay", "flip", "none"])
    add_option(parser)
    options = parser.parse_args()
    report = Report("connect", options.write)
    report.head()
    missed = []
    for rtt in options.rtt:
        times = measure(["pre-installed", *options.deliveries], options.rounds, options.slow_rounds, rtt / 1000)
        medians = table(report, times, rtt / 1000)
        lost = sum(s is None for name in ("hold", "replay") for s in times.get(name, []))
        missed += verdict(medians, lost, rtt / 1000)
    report.say("\n".join(f"MISSED {line}" for line in missed) or "all goals reached")
    report.finish()
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())

"""What a fleet's registry of record costs: the copy for a new gateway, following it, and clients that move.

Replicas with their followers and a PostgreSQL server, all on this machine, without WireGuard. Three parts:

copy       one new replica of --peers peers
rest       --gateways replicas, and nothing happens
takeovers  --rate peers a second go from one gateway to the next, each with a claim and a holding. Every other gateway
           gets every holding, so what one costs is paid by all of them.

CPU time is counted by process, so it does not depend on what else this machine does. The last table multiplies it for
fleets that are larger than this machine.

Goals: the copy makes 150,000 peers a second; 1,000 takeovers a second reach all gateways within 1 s (p99). Ends with
status 1 otherwise.
"""

from __future__ import annotations

import argparse
import ipaddress
import math
import secrets
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from bench.processes import Process
from bench.report import ROOT, Report, add_option, check_above_zero
from lab.postgresql import Cluster
from lab.registry import LabPostgres
from wgjit.core.residents.holders import REFRESH
from wgjit.database_url import DatabaseUrl
from wgjit.errors import StoreBusy
from wgjit.model import Claim, Endpoint, Holding, Peer, PublicKey, Tai64n
from wgjit.stores.postgresql.database import schema
from wgjit.stores.replica.messages import Description, Terms
from wgjit.stores.replica.store import ReplicaStore

PAGE = ROOT / "docs" / "SCALING.md"
COPY = 150_000
"""Peers a second."""
WITHIN = 1.0
"""Seconds (p99) from saying a holding until another gateway's replica has it."""
BATCH = 0.05
"""Seconds between two batches of takeovers."""
PATIENCE = 600.0
FLEETS = ((500_000, 5, 140), (2_500_000, 25, 700), (10_000_000, 100, 2_800))
"""Residents, gateways, takeovers a second."""


@dataclass(frozen=True)
class Costs:
    """CPU seconds, bytes."""

    follower: float
    """Of a follower, each second at rest."""
    server: float
    """Of the database, each second, for each gateway at rest."""
    said: float
    """Of the database, for each takeover, without its readers."""
    heard: float
    """Of a follower, for each takeover of any gateway."""
    told: float
    """Of the database, for each takeover and gateway that reads it."""


class Server:
    """The CPU time of a database server, all processes together."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._seen: dict[int, float] = {}

    def cpu(self) -> float:
        """Seconds since the first call, of all processes that are alive at a call."""
        for pid in self._cluster.processes():
            try:
                self._seen[pid] = Process(pid).cpu()
            except OSError:
                continue
        return sum(self._seen.values())


def peers(count: int) -> Iterator[Peer]:
    """Peers with one address each. Their keys are random bytes."""
    first = int(ipaddress.IPv4Address("10.0.0.0"))
    for number in range(count):
        yield Peer(PublicKey(secrets.token_bytes(32)), (ipaddress.IPv4Network((first + number, 32)),))


class Site:
    """A registry of record with some peers, and replicas of it."""

    def __init__(self, stack: ExitStack, cluster: Cluster, count: int) -> None:
        self._stack, self.cluster = stack, cluster
        self._url = cluster.url(stack.enter_context(cluster.database()))
        schema.init(DatabaseUrl(self._url))
        self.registry = stack.enter_context(closing(LabPostgres(DatabaseUrl(self._url))))
        self.registry.fill(peers(count))
        self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wgjit-bench-")))

    def replica(self, number: int) -> ReplicaStore:
        """A new replica, which is being made."""
        key = PublicKey(bytes([1]) * 32)
        about = Description(f"g{number}", int(time.time() * 1000), key, "wg0", "bench")
        store = ReplicaStore(self._folder / f"g{number}.db", Terms(self._url, about))
        self._stack.callback(store.close)
        store.fleet.start()
        return store


def follower(store: ReplicaStore) -> Process:
    """A replica's follower."""
    return Process(int(store.figures()["pid"]))


def whole(store: ReplicaStore) -> None:
    """Wait until a replica has all."""
    if not store.fleet.wait_for(lambda state: state.get("stage") == "following", PATIENCE):
        raise TimeoutError(f"a replica is not made after {PATIENCE:g} s: {store.figures()}")


def copy(report: Report, cluster: Cluster, count: int) -> list[str]:
    """The first part; gives what was missed."""
    with ExitStack() as stack:
        site, server = Site(stack, cluster, count), Server(cluster)
        before, began = server.cpu(), time.monotonic()
        store = site.replica(0)
        ready = time.monotonic() - began
        whole(store)
        seconds = time.monotonic() - began
        there = server.cpu() - before
        here = follower(store)
        cpu, memory = here.cpu(), here.memory()
        size = store.path.stat().st_size
    rate = count / seconds
    rows = [
        ("peers", f"{count:,}"),
        ("the gateway could serve after", f"{ready:.2f} s"),
        ("the copy was whole after", f"{seconds:.1f} s"),
        ("peers a second", f"{rate:,.0f}"),
        ("CPU time of the follower, a peer", f"{cpu / count * 1e6:.2f} µs"),
        ("CPU time of the database, a peer", f"{there / count * 1e6:.2f} µs"),
        ("the replica, a peer", f"{size / count:.0f} bytes"),
        ("memory of the follower after the copy", f"{memory / 1e6:.0f} MB"),
    ]
    report.table(("copy", "result"), rows)
    return [] if rate >= COPY else [f"copy: {rate:,.0f} peers a second, goal {COPY:,}"]


def rest(stores: list[ReplicaStore], server: Server, seconds: float) -> tuple[float, float]:
    """CPU seconds a second of a follower, and of the database for each, while nothing happens."""
    followers = [follower(store) for store in stores]
    here, there, began = sum(f.cpu() for f in followers), server.cpu(), time.monotonic()
    time.sleep(seconds)
    took = time.monotonic() - began
    spent = sum(f.cpu() for f in followers) - here
    return spent / took / len(stores), (server.cpu() - there) / took / len(stores)


class Listener:
    """Hears what a replica gets of other gateways' holdings, and notes when."""

    def __init__(self, store: ReplicaStore) -> None:
        self.heard: dict[tuple[PublicKey, Tai64n], float] = {}
        self._store = store
        self._place = store.fleet.hear(0, 0)[1]
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._done.wait(0.01):
            holdings, place = self._store.fleet.hear(self._place)
            now = time.monotonic()
            self._place = place
            for holding in holdings:
                self.heard[holding.public_key, holding.timestamp] = now

    def close(self) -> None:
        """Stop listening."""
        self._done.set()
        self._thread.join()


def say(store: ReplicaStore, claims: list[Claim], holdings: list[Holding]) -> None:
    """Say it, and again while the follower writes, as a gateway does in its next round."""
    while True:
        try:
            return store.fleet.say(claims, holdings)
        except StoreBusy:
            continue


def percentile(times: list[float], share: float) -> float:
    """Of times in order."""
    return times[math.ceil(len(times) * share) - 1] if times else math.nan


def takeovers(
    stores: list[ReplicaStore], server: Server, keys: list[PublicKey], rate: float, seconds: float
) -> tuple[list[float], float, float, int]:
    """Let peers go from gateway to gateway. Gives the latencies, CPU seconds of all followers and of the server, and
    the number of takeovers."""
    followers = [follower(store) for store in stores]
    here, there = sum(f.cpu() for f in followers), server.cpu()
    listener = Listener(stores[0])
    said: dict[tuple[PublicKey, Tai64n], float] = {}
    endpoint = Endpoint.parse("192.0.2.1:5000")
    began, count = time.monotonic(), 0
    while (passed := time.monotonic() - began) < seconds:
        wanted = int(passed * rate) - count
        for number, store in enumerate(stores[1:]):
            some = range(count + number, count + wanted, len(stores) - 1)
            now = time.time()
            turns = [(keys[turn % len(keys)], Tai64n.from_unix_ns(time.time_ns() + turn)) for turn in some]
            name = f"g{number + 1}"
            claims = [Claim(key, stamp, name, endpoint, now) for key, stamp in turns]
            holdings = [Holding(key, stamp, 0, name, 1, endpoint, now) for key, stamp in turns]
            say(store, claims, holdings)
            said.update(dict.fromkeys(turns, time.monotonic()))
        count += wanted
        time.sleep(BATCH)
    deadline = time.monotonic() + PATIENCE
    while len(listener.heard) < len(said) and time.monotonic() < deadline:
        if time.monotonic() > began + seconds + 5:  # a peer that went on at once was heard of only once
            break
        time.sleep(0.05)
    listener.close()
    spent = sum(f.cpu() for f in followers) - here
    latencies = sorted(at - said[what] for what, at in listener.heard.items() if what in said)
    return latencies, spent, server.cpu() - there, count


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev bench replicas", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--peers", type=int, default=1_000_000, help="of the copy (1,000,000)")
    parser.add_argument("--gateways", type=int, default=6, help="that follow (6)")
    parser.add_argument("--rate", type=float, default=1000.0, help="takeovers a second (1,000)")
    parser.add_argument("--seconds", type=float, default=20.0, help="for each measurement (20)")
    add_option(parser)
    options = parser.parse_args()
    check_above_zero(parser, options, "peers", "gateways", "rate", "seconds")
    if options.gateways < 3:
        parser.error(f"--gateways {options.gateways}: at least 3")
    report = Report("replicas", options.write, page=PAGE)
    report.head()
    with Cluster({"shared_buffers": "256MB"}) as cluster:
        missed = copy(report, cluster, options.peers)
        with ExitStack() as stack:
            site, server = Site(stack, cluster, 100_000), Server(cluster)
            stores = [site.replica(number) for number in range(options.gateways)]
            for store in stores:
                whole(store)
            keys = [peer.public_key for peer, _ in zip(site.registry.peers.every(), range(50_000), strict=False)]
            resting, watched = rest(stores, server, options.seconds)
            few = takeovers(stores[:2], server, keys, options.rate, options.seconds)
            many = takeovers(stores, server, keys, options.rate, options.seconds)
            memory = follower(stores[0]).memory()
    costs = unit_costs(resting, watched, few, many, options)
    latencies = many[0]
    p99 = percentile(latencies, 0.99)
    rows = [
        ("a follower at rest, of one CPU", f"{resting:.2%}"),
        ("the database for a gateway at rest, of one CPU", f"{watched:.2%}"),
        ("memory of a follower", f"{memory / 1e6:.0f} MB"),
        ("takeovers a second", f"{many[3] / options.seconds:,.0f}"),
        ("said until heard elsewhere, p50", f"{percentile(latencies, 0.5) * 1000:.0f} ms"),
        ("said until heard elsewhere, p99", f"{p99 * 1000:.0f} ms"),
        ("the database, a takeover", f"{costs.said * 1e6:.0f} µs"),
        ("the database, a takeover and each gateway that reads it", f"{costs.told * 1e6:.1f} µs"),
        ("a follower, a takeover of any gateway", f"{costs.heard * 1e6:.0f} µs"),
    ]
    report.table((f"{options.gateways} gateways", "result"), rows)
    report.say("Computed for fleets whose residents are all in use:")
    report.table(
        ("residents", "gateways", "takeovers/s", "rows written/s", "database, CPUs", "a follower, CPUs"),
        [fleet(costs, *each) for each in FLEETS],
    )
    if not p99 <= WITHIN:
        missed.append(f"takeovers: heard after {p99:.2f} s (p99), goal {WITHIN:g} s")
    return report.conclude(missed)


def unit_costs(
    resting: float,
    watched: float,
    few: tuple[list[float], float, float, int],
    many: tuple[list[float], float, float, int],
    options: argparse.Namespace,
) -> Costs:
    """From one run in which one other gateway reads each takeover, and one in which all others do."""
    more = options.gateways - 2
    small, large = few[2] / few[3], many[2] / many[3]
    told = max(0.0, (large - small) / more)
    heard = many[1] / many[3] / options.gateways
    return Costs(resting, watched, max(0.0, small - told), heard, told)


def fleet(costs: Costs, residents: int, gateways: int, moves: float) -> tuple[str, ...]:
    """A row of the last table."""
    written = moves + residents / REFRESH  # a takeover, and a refresh of each resident's holding each hour
    server = gateways * costs.server + written * (costs.said + gateways * costs.told)
    here = costs.follower + written * costs.heard
    return (f"{residents:,}", str(gateways), f"{moves:,}", f"{written:,.0f}", f"{server:.2f}", f"{here:.2f}")


if __name__ == "__main__":
    sys.exit(main())

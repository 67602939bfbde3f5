"""A registry in a file and the same in PostgreSQL, one after the other: `./dev bench registry --store postgresql`.

Plain peers are imported by `wgjit peer import` in its own process, all in one transaction. Then both registries get
the same queries and additions through the interface that commands and API use, one by one on one thread.

An addition takes an address out of a pool that holds the imported addresses, too. Processes of their own add from one
registry at the same time; each address that they get is compared with all others, and with those of the import.

CPU time is counted by process: that of the client's side, and that of all of the server's processes.
"""

from __future__ import annotations

import contextlib
import ipaddress
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier as BarrierType
from pathlib import Path
from random import Random
from statistics import median, quantiles
from typing import Protocol

from bench.figures import Figure, timed
from bench.plain_peers import MOST, address, import_, public_key
from bench.server import Server
from lab.registry import LAB
from wgjit.model import Peer, PublicKey
from wgjit.stores.base import Registry
from wgjit.stores.entries import EVERY, Pool
from wgjit.stores.opening import Where, open_registry

PASSES = 5
"""The median of their figures counts."""
SAMPLE = 4_000
"""Keys looked up in a pass."""
PAGES = 400
"""First pages in a pass."""
ADDED = 250
"""Peers that a process adds in a pass."""
WRITERS = 8

POOL = Pool(ipaddress.ip_network("10.0.0.0/7"), quarantine=0)
"""Of 33 million addresses, the first ones of which are imported."""

PATIENCE = 60.0
"""Seconds that a writer waits for others."""


class Place(Protocol):
    """A registry that is to be measured."""

    @property
    def store(self) -> str:
        """As the option --store takes it."""

    def size(self) -> float:
        """Bytes on disk."""

    def cpu(self) -> float:
        """Seconds of CPU time that its server has had; 0 without a server."""

    def settle(self) -> None:
        """Have it do what it would do by itself some time after an import."""


@dataclass
class FilePlace:
    """A registry in a file."""

    path: Path

    @property
    def store(self) -> str:
        return str(self.path)

    def size(self) -> float:
        return self.path.stat().st_size

    def cpu(self) -> float:
        return 0.0

    def settle(self) -> None:
        """Nothing: a file is left as it is."""


@dataclass
class DatabasePlace:
    """A registry in a database of a server that runs."""

    server: Server
    url: str

    @property
    def store(self) -> str:
        return self.url

    def size(self) -> float:
        with self.server.shell(self.url) as shell:
            row = shell.execute("SELECT pg_database_size(current_database())").fetchone()
        assert row is not None
        return float(str(row[0]))

    def cpu(self) -> float:
        return self.server.cpu().total

    def settle(self) -> None:
        """As autovacuum and the checkpointer do, within a minute or a quarter of an hour."""
        with self.server.shell(self.url) as shell:
            shell.execute("VACUUM ANALYZE")
            shell.execute("CHECKPOINT")


def measure(text: Path, place: Place, peers: int) -> Iterator[Figure]:
    """Import the peers and ask for them. The targets are those of a registry in PostgreSQL."""
    before, size = place.cpu(), 0.0 if isinstance(place, FilePlace) else place.size()
    took = import_(text, place.store, peers)
    yield Figure("import, from start to end of the command", peers / took.seconds, "peers/s", least=60_000)
    yield Figure("import, CPU time of the command", 1e6 * took.cpu / peers, "µs/peer")
    yield Figure("import, CPU time of the server", 1e6 * (place.cpu() - before) / peers, "µs/peer")
    yield Figure("memory of the import, greatest", took.memory, "MiB")
    place.settle()
    yield Figure("size on disk, with all indexes", (place.size() - size) / peers, "bytes/peer")
    with contextlib.closing(opened(place.store)) as registry:
        yield from asked(registry, peers, Random(peers))
    yield from added(place, peers)
    with contextlib.closing(opened(place.store)) as registry:
        yield from changed(registry)


def opened(store: str) -> Registry:
    """The registry, opened as the API opens it."""
    return open_registry(Where(store), pools=[POOL], timeout=PATIENCE, patience=2 * PATIENCE)


def asked(registry: Registry, peers: int, random: Random) -> Iterator[Figure]:
    """Lookups and pages."""
    keys = [public_key(random.randrange(peers)) for _ in range(SAMPLE)]
    for key in keys:
        registration = registry.lookup(key)
        if registration is None or registration.peer.public_key != key:
            sys.exit(f"bench registry: peer {key} was imported and is not there")
    yield from passes(
        f"lookup among {SAMPLE:,} keys",
        [[timed(lambda k=key: registry.lookup(k)) for key in keys] for _ in range(PASSES)],  # type: ignore[misc]
    )
    pages = [[timed(lambda: registry.peers.page(EVERY, 100)) for _ in range(PAGES)] for _ in range(PASSES)]
    yield from passes("first page of 100", pages)
    after = [str(public_key(random.randrange(peers))) for _ in range(50)]
    later = median(timed(lambda k=key: registry.peers.page(EVERY, 1000, k)) for key in after)  # type: ignore[misc]
    yield Figure("a page of 1,000 after any key, median", later / 1e3, "ms")
    if (count := registry.peers.count()) != peers:
        sys.exit(f"bench registry: count says {count} of {peers}")
    yield Figure("count, median", median(timed(registry.peers.count) for _ in range(50)) / 1e3, "ms")


def passes(what: str, times: Sequence[Sequence[float]]) -> Iterator[Figure]:
    """Median and 99th percentile of calls, in passes."""
    cuts = [quantiles(some, n=100) for some in times]
    yield Figure(f"{what}, p50", median(cut[49] for cut in cuts) / 1e3, "ms")
    yield Figure("the same, p99", median(cut[98] for cut in cuts) / 1e3, "ms", most=2)


@dataclass
class Written:
    """What a writer did."""

    addresses: list[str]
    seconds: list[float]
    """Of each addition."""
    cpu: float


def added(place: Place, peers: int) -> Iterator[Figure]:
    """Additions with an address out of the pool, by one process and by eight."""
    with contextlib.closing(opened(place.store)) as registry:
        first = timed(lambda: add(registry))
        yield Figure("the first address of the pool, found behind all that were imported without it", first / 1e6, "s")
    given: list[str] = []
    for writers in (1, WRITERS):
        rates, ends, cpu, served = [], [], [], []
        for _ in range(PASSES):
            before, (elapsed, written) = place.cpu(), at_once(place.store, writers)
            served.append(1e6 * (place.cpu() - before) / (writers * ADDED))
            rates.append(writers * ADDED / elapsed)
            ends.append([1e6 * second for each in written for second in each.seconds])
            cpu.append(1e6 * sum(each.cpu for each in written) / (writers * ADDED))
            given += [each for one in written for each in one.addresses]
        who = "one process" if writers == 1 else f"{writers} processes at once"
        yield Figure(f"add from a pool, {who}", median(rates), "peers/s", least=1000 if writers > 1 else 0)
        yield Figure("the same, best of the passes", max(rates), "peers/s")
        cuts = [quantiles(some, n=100) for some in ends]
        yield Figure("the same, p50 of an addition", median(cut[49] for cut in cuts) / 1e3, "ms")
        yield Figure("the same, p99", median(cut[98] for cut in cuts) / 1e3, "ms")
        yield Figure("the same, CPU time of the clients", median(cpu), "µs/peer")
        yield Figure("the same, CPU time of the server", median(served), "µs/peer")
    check_given(given, peers)


def at_once(store: str, writers: int) -> tuple[float, list[Written]]:
    """Have some processes add peers at the same time. Returns the seconds from the first to the last addition."""
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(writers + 1)
    results = context.Queue()
    processes = [context.Process(target=write, args=(store, ADDED, start, results)) for _ in range(writers)]
    for process in processes:
        process.start()
    try:
        start.wait(PATIENCE)
        began = time.perf_counter()
        written = [results.get(timeout=10 * PATIENCE) for _ in processes]
        return time.perf_counter() - began, written
    finally:
        for process in processes:
            process.join(PATIENCE)
            process.kill()


def write(store: str, count: int, start: BarrierType, results: multiprocessing.Queue[Written]) -> None:
    """Add peers: the body of a process."""
    with contextlib.closing(opened(store)) as registry:
        registry.peers.count()  # connects
        start.wait(PATIENCE)
        began, addresses, seconds = time.process_time(), [], []
        for _ in range(count):
            before = time.perf_counter()
            addresses.append(add(registry))
            seconds.append(time.perf_counter() - before)
        results.put(Written(addresses, seconds, time.process_time() - began))


def add(registry: Registry) -> str:
    """Register a peer with a random key. Returns its address."""
    return str(registry.peers.hand_out(Peer(PublicKey(os.urandom(32))), {}, [POOL], by=LAB).allowed_ips[0])


def check_given(given: Sequence[str], peers: int) -> None:
    """End this process if an address was given out twice, or belongs to an imported peer."""
    begins, ends = int(ipaddress.ip_address(address(0, peers))), int(ipaddress.ip_address(address(0, peers))) + peers
    numbers = [int(ipaddress.ip_network(each).network_address) for each in given]
    if len(set(numbers)) != len(numbers) or any(begins <= number < ends for number in numbers):
        sys.exit("bench registry: an address was given out twice")
    assert peers <= MOST


def changed(registry: Registry) -> Iterator[Figure]:
    """Names, and removals."""
    named = [Peer(PublicKey(os.urandom(32)), name=f"user-{number}") for number in range(100)]
    for peer in named:
        registry.peers.hand_out(peer, {"team": "bench"}, by=LAB)
    times = [timed(lambda n=peer.name: registry.peers.registration(n)) for peer in named]  # type: ignore[misc]
    yield Figure("find by name, median", median(times) / 1e3, "ms")
    times = [timed(lambda k=peer.public_key: registry.peers.remove_all([k], by=LAB)) for peer in named]  # type: ignore[misc]
    yield Figure("remove a peer, median", median(times) / 1e3, "ms")

"""The registry at scale: `python -m bench.registry --peers 1000000 50000000` (`./dev bench registry`).

Plain peers (a key, one IPv4 address) with keys and addresses in random order are written as CSV and imported by
`wgjit peer import` in its own process. Then the registry file gets the queries that gateways and operators make. Peer
number n is computed from n, so no number of peers fills the memory.

"Cold" means a new connection after the kernel was told to drop the file from its cache (posix_fadvise,
POSIX_FADV_DONTNEED, which drops all that is written back). This is the cost of a lookup after a boot. On a virtual
machine, the host may still have the file in memory. Ends with status 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from math import inf
from pathlib import Path
from random import Random
from socket import inet_ntoa
from statistics import median, quantiles
from time import perf_counter
from typing import NamedTuple

from bench.plot import lines
from bench.report import Report, add_option
from lab.registry import LabRegistry
from wgjit.management.peer_readers import Format
from wgjit.model import Peer, PublicKey, parse_allowed_ip

MOST = 1 << 24
"""Addresses in 10.0.0.0/8; beyond, those from 11.0.0.0 on follow."""

PASSES = 5
"""Over the same keys; the median of their figures counts."""
SAMPLE = 20_000
"""Keys looked up."""
COLD = 20
"""Lookups after the file was forgotten."""
NAMED = 100
"""Peers with a name, added one by one."""
ROUND = 10_000
"""Lines written at a time."""
STRIDE = 2_654_435_761
"""Prime, so that n * STRIDE modulo the number of peers visits each address once, in no order."""

IMPORT = "import, from start to end of the command"
LOOKUP = f"lookup among {SAMPLE:,} keys, warm, p50"
LOOKUP_WORST = "the same, p99"
"""Figures that are plotted, too."""


class Figure(NamedTuple):
    what: str
    value: float
    unit: str
    least: float = 0.0
    most: float = inf

    @property
    def is_met(self) -> bool:
        return self.least <= self.value <= self.most


def public_key(number: int) -> PublicKey:
    return PublicKey(hashlib.blake2s(number.to_bytes(8, "big")).digest())


def address(number: int, peers: int) -> str:
    return inet_ntoa(((10 << 24) + number * STRIDE % peers).to_bytes(4, "big"))


def write(path: Path, peers: int) -> None:
    """The file to import, as `wgjit peer export` writes it."""
    encode, digest = base64.b64encode, hashlib.blake2s
    with open(path, "wb") as file:
        file.write(b"public_key,name,allowed_ips,has_preshared_key,keepalive,enabled,expires_at,idle_timeout,labels\n")
        for start in range(0, peers, ROUND):
            numbers = range(start, min(peers, start + ROUND))
            file.write(
                b"".join(
                    b"%b,,%b/32,false,0,true,,,\n"
                    % (
                        encode(digest(number.to_bytes(8, "big")).digest()),
                        address(number, peers).encode(),
                    )
                    for number in numbers
                )
            )


def import_(text: Path, store: Path, peers: int) -> Iterator[Figure]:
    command = [
        sys.executable,
        "-m",
        "wgjit",
        "peer",
        "import",
        "--format",
        Format.CSV,
        str(text),
        "--store",
        str(store),
    ]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), perf_counter()
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    elapsed, after = perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if printed != f"imported {peers} peers\n":
        sys.exit(f"bench registry: the import says {printed!r}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    yield Figure(IMPORT, peers / elapsed, "peers/s", least=150_000)
    yield Figure("import, CPU time of one core", 1e6 * cpu / peers, "µs/peer")
    yield Figure("memory of the import, greatest", after.ru_maxrss / 1024, "MiB")
    yield Figure("file, with the address index", store.stat().st_size / peers, "bytes/peer", most=120)


def forget(store: Path) -> None:
    """Have the kernel drop the file's pages."""
    with open(store, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def timed(action: Callable[[], object]) -> float:
    """Microseconds."""
    began = perf_counter()
    action()
    return 1e6 * (perf_counter() - began)


def found(registry: LabRegistry, number: int) -> None:
    registration = registry.lookup(public_key(number))
    if registration is None or registration.peer.public_key != public_key(number):
        sys.exit(f"bench registry: peer {number} was imported and is not there")


def cold(store: Path, peers: int, random: Random) -> Iterator[Figure]:
    openings, lookups = [], []
    for _ in range(COLD):
        forget(store)
        began = perf_counter()
        registry = LabRegistry(store, create=False)
        registry.last_change()
        openings.append(1e3 * (perf_counter() - began))
        lookups.append(timed(lambda: found(registry, random.randrange(peers))) / 1e3)  # noqa: B023 - called at once
        registry.close()
    yield Figure("open the registry and read its last change, cold, median", median(openings), "ms")
    yield Figure("the same, worst", max(openings), "ms", most=1000)
    yield Figure("first lookup, cold, median", median(lookups), "ms")
    yield Figure("the same, worst", max(lookups), "ms", most=20)


def warm(registry: LabRegistry, peers: int, random: Random) -> Iterator[Figure]:
    numbers = [random.randrange(peers) for _ in range(SAMPLE)]
    keys = [public_key(number) for number in numbers]
    for number in numbers:
        found(registry, number)
    # One pass takes a third of a second, which anything else on the machine may spoil.
    passes = [
        quantiles((timed(lambda key=key: registry.lookup(key)) for key in keys), n=100)  # type: ignore[misc]
        for _ in range(PASSES)
    ]
    yield Figure(LOOKUP, median(cuts[49] for cuts in passes), "µs")
    yield Figure(LOOKUP_WORST, median(cuts[98] for cuts in passes), "µs", most=50)


def verbs(registry: LabRegistry, peers: int, random: Random) -> Iterator[Figure]:
    named = [
        Peer(public_key(-1 % (1 << 64) - n), (parse_allowed_ip(f"192.0.2.{n}"),), name=f"user-{n}")
        for n in range(NAMED)
    ]
    yield Figure("add one peer, median", median(timed(lambda p=p: registry.add([p])) for p in named), "µs")  # type: ignore[misc]
    yield Figure("find by name, median", median(timed(lambda p=p: registry.find(p.name or "")) for p in named), "µs")  # type: ignore[misc]
    starts = [public_key(random.randrange(peers)) for _ in range(20)]
    pages = [timed(lambda k=k: list(islice(registry.peers.every(after=k), 1000))) for k in starts]  # type: ignore[misc]
    yield Figure("list a page of 1,000 from any key on, median", median(pages) / 1e3, "ms")
    yield Figure("count, median", median(timed(registry.count) for _ in range(20)), "µs")
    if registry.peers.count() != peers + NAMED:
        sys.exit(f"bench registry: count says {registry.peers.count()} of {peers + NAMED}")
    yield Figure("remove a peer, median", median(timed(lambda p=p: registry.remove(p.public_key)) for p in named), "µs")  # type: ignore[misc]


def measure(peers: int, folder: Path) -> Iterator[Figure]:
    text, store, random = folder / "peers.csv", folder / "registry.db", Random(peers)
    print(f"writing {peers:,} peers to import", file=sys.stderr)
    write(text, peers)
    yield from import_(text, store, peers)
    text.unlink()
    yield from cold(store, peers, random)
    with contextlib.closing(LabRegistry(store, create=False)) as registry:
        yield from warm(registry, peers, random)
        yield from verbs(registry, peers, random)


def number(figure: Figure) -> str:
    return f"{figure.value:,.{0 if figure.value >= 1000 else 1 if figure.value >= 10 else 2}f}"


def target(figure: Figure) -> str:
    if figure.least:
        return f"at least {figure.least:,.0f}"
    return f"at most {figure.most:,.0f}" if figure.most < inf else ""


def rows(measured: Sequence[Sequence[Figure]]) -> Iterator[tuple[str, ...]]:
    """A line of the table for each figure, a column for each number of peers."""
    for same in zip(*measured, strict=True):
        yield (f"{same[0].what}, {same[0].unit}", *map(number, same), target(same[0]))


def plots(report: Report, sizes: Sequence[int], measured: Sequence[Sequence[Figure]]) -> None:
    """How the figures that have a target grow with the number of peers; one size is no line."""
    if len(sizes) < 2:
        return

    def over(what: str) -> list[tuple[float, float]]:
        values = [figure.value for figures in measured for figure in figures if figure.what == what]
        return [(float(size), value) for size, value in zip(sizes, values, strict=True)]

    both = {"median": over(LOOKUP), "99th percentile": over(LOOKUP_WORST)}
    lookups = lines("Lookup, warm", both, "peers", "µs", log_x=True)
    report.plot("registry-lookup", lookups, "time of a lookup over the number of peers: median and 99th percentile")
    rates = lines("Import", {"from start to end of the command": over(IMPORT)}, "peers", "peers/s", log_x=True)
    report.plot("registry-import", rates, "rate of an import over the number of peers")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench.registry", description="The registry at scale.")
    parser.add_argument(
        "--peers",
        type=int,
        nargs="+",
        default=[1_000_000],
        metavar="N",
        help="how many, one registry each (default: a million; at most 800 million)",
    )
    parser.add_argument(
        "--folder", type=Path, help="where to write some 350 bytes a peer (default: a temporary folder)"
    )
    parser.add_argument("--json", action="store_true", help="one object a line")
    add_option(parser)
    options = parser.parse_args(arguments)
    sizes = sorted(set(options.peers))
    if not 1000 <= sizes[0] <= sizes[-1] <= 50 * MOST:
        parser.error("--peers: must be 1,000 to some 800 million")
    if options.json and options.write:
        parser.error("--json: not with --write")
    report = Report("registry", options.write)
    measured: list[list[Figure]] = []
    for peers in sizes:
        with tempfile.TemporaryDirectory(prefix="wgjit-bench-", dir=options.folder) as folder:
            measured.append([])
            for figure in measure(peers, Path(folder)):
                measured[-1].append(figure)
                if options.json:
                    print(json.dumps({"peers": peers} | figure._asdict() | {"is_met": figure.is_met}), flush=True)
                else:
                    print(f"{peers:,}: {figure.what}: {number(figure)} {figure.unit}", file=sys.stderr)
    if not options.json:
        report.head(arguments)
        report.table(("plain peers", *(f"{peers:,}" for peers in sizes), "target"), rows(measured))
        plots(report, sizes, measured)
        report.finish()
    missed = [
        f"{figure.what} ({peers:,} peers)"
        for peers, figures in zip(sizes, measured, strict=True)
        for figure in figures
        if not figure.is_met
    ]
    if missed:
        print(f"bench registry: missed: {', '.join(missed)}", file=sys.stderr)
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())

"""The registry at scale: `python -m bench.registry --peers 1000000 50000000` (`./dev bench registry`).

With `--store postgresql`, a registry in PostgreSQL beside one in a file: see `bench.registry_both`.

Plain peers (a key, one IPv4 address) with keys and addresses in random order are written as CSV and imported by
`wgjit peer import` in its own process. Then the registry file gets the queries that gateways and operators make.

"Cold" means a new connection after the kernel was told to drop the file from its cache (posix_fadvise,
POSIX_FADV_DONTNEED, which drops all that is written back). This is the cost of a lookup after a boot. On a virtual
machine, the host may still have the file in memory. Ends with status 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from random import Random
from statistics import median, quantiles
from time import perf_counter

from bench import registry_both
from bench.figures import Figure, number, target, timed
from bench.plain_peers import MOST, import_, public_key, write
from bench.plot import lines
from bench.report import Report, add_option
from bench.server import Server
from lab.registry import LabRegistry
from wgjit.model import Peer, parse_allowed_ip

PASSES = 5
"""Over the same keys; the median of their figures counts."""
SAMPLE = 20_000
"""Keys looked up."""
COLD = 20
"""Lookups after the file was forgotten."""
NAMED = 100
"""Peers with a name, added one by one."""
IMPORT = "import, from start to end of the command"
LOOKUP = f"lookup among {SAMPLE:,} keys, warm, p50"
LOOKUP_WORST = "the same, p99"
"""Figures that are plotted, too."""


def imported(text: Path, store: Path, peers: int) -> Iterator[Figure]:
    took = import_(text, str(store), peers)
    yield Figure(IMPORT, peers / took.seconds, "peers/s", least=150_000)
    yield Figure("import, CPU time of one core", 1e6 * took.cpu / peers, "µs/peer")
    yield Figure("memory of the import, greatest", took.memory, "MiB")
    yield Figure("file, with the address index", store.stat().st_size / peers, "bytes/peer", most=120)


def forget(store: Path) -> None:
    """Have the kernel drop the file's pages."""
    with open(store, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


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
    chosen = [random.randrange(peers) for _ in range(SAMPLE)]
    keys = [public_key(each) for each in chosen]
    for each in chosen:
        found(registry, each)
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
    yield from imported(text, store, peers)
    text.unlink()
    yield from cold(store, peers, random)
    with contextlib.closing(LabRegistry(store, create=False)) as registry:
        yield from warm(registry, peers, random)
        yield from verbs(registry, peers, random)


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
        "--store",
        choices=("file", "postgresql"),
        default="file",
        help="where the registry is; postgresql: one in a file and one in PostgreSQL, with figures of both",
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
    both = options.store == "postgresql"
    if both and sizes[-1] > MOST:
        parser.error(f"--peers: must be {MOST:,} at most with --store postgresql")
    report = Report("registry", options.write, section="registry-postgresql" if both else None)
    columns: list[str] = []
    measured: list[list[Figure]] = []
    said = ""

    def take(column: str, figures: Iterator[Figure]) -> None:
        columns.append(column)
        measured.append([])
        for figure in figures:
            measured[-1].append(figure)
            if options.json:
                print(json.dumps({"peers": column} | figure._asdict() | {"is_met": figure.is_met}), flush=True)
            else:
                print(f"{column}: {figure.what}: {number(figure)} {figure.unit}", file=sys.stderr)

    for peers in sizes:
        with tempfile.TemporaryDirectory(prefix="wgjit-bench-", dir=options.folder) as name:
            folder = Path(name)
            if not both:
                take(f"{peers:,}", measure(peers, folder))
                continue
            write(folder / "peers.csv", peers)
            file = registry_both.FilePlace(folder / "registry.db")
            take(f"{peers:,} in a file", registry_both.measure(folder / "peers.csv", file, peers))
            with Server() as server, server.database() as url:
                said = str(server)
                place = registry_both.DatabasePlace(server, url)
                take(f"{peers:,} in PostgreSQL", registry_both.measure(folder / "peers.csv", place, peers))
    if not options.json:
        report.head(arguments)
        if said:
            report.say(f"{said}.")
        report.table(("plain peers", *columns, "target"), rows(measured))
        if not both:
            plots(report, sizes, measured)
        report.finish()
    missed = [
        f"{figure.what} ({column} peers)"
        for column, figures in zip(columns, measured, strict=True)
        for figure in figures
        if not figure.is_met and not column.endswith("file")
    ]
    if missed:
        print(f"bench registry: missed: {', '.join(missed)}", file=sys.stderr)
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())

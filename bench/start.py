"""A gateway's start with N registered peers: `wg setconf` of all peers, compared with `wgjit up` on their registry.

    impatient clients ── 192.0.2.2 │ 192.0.2.1 ── gateway, UDP port 51820

Before each start, two registered clients begin to knock every 50 ms. They go on until they get a response that their
keys open (`knocker`). So "first handshake" is the moment when a gateway begins to answer, to within 50 ms. A usual
client, which retries after 5 s, may notice it later. Times count from just before the start of the command. For
`wgjit up` they include `ip netns exec` and the start of Python.

`wg setconf` installs peers in the order of the file, and an installed peer is answered while the rest still waits. One
client is the first in the file, the other client the last. A registry has no such order, so the later client counts.

Plain WireGuard is started once for each N. `wgjit up` is started several times, in rounds over all N, so that other
load on this machine falls on all alike; medians count. Registry and file are made beforehand. Memory is the growth of
the kernel's slab and per-CPU memory, and the decrease of the memory available to processes.

Goals: with the most peers registered, "ready" and "first handshake" come at most 1.2 times plus 50 ms as late as with
the fewest peers. The median first handshake comes within a second of the process's start.

    ./dev bench start                 kernel WireGuard in the guest; a million peers take 5 GiB of memory, which the
                                      guest gets if `--peers` is so high, and some five minutes of `wg setconf`
    ./dev bench start --backend go    wireguard-go on this kernel, which takes 65,536 peers at most; memory is that of
                                      its process, which keeps it when peers leave
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from bench.knocker import Knocker
from bench.load.client import Identity
from bench.load.site import GATEWAY, PORT, Site
from bench.plot import lines
from bench.processes import Process, kernel_memory
from bench.report import Report, add_option, section_for
from lab.gateway import WGJIT, Gateway
from lab.netns import Lab
from lab.wireguard import Backend

SIZES: dict[str, tuple[int, ...]] = {"kernel": (1_000, 10_000, 100_000), "go": (1_000, 10_000, 60_000)}
"""Peers registered, by whose WireGuard it is."""
LIMIT_RATIO, LIMIT_MORE = 1.2, 0.05
"""What a start may take with the most peers registered: so many times that with the fewest, and so many seconds."""
LIMIT_FIRST = 1.0
"""Seconds from the start of the process to the first handshake."""
PATIENCE = 1800.0
MIB = 1 << 20


@dataclass(frozen=True)
class Plain:
    """WireGuard with all peers installed. Seconds and bytes."""

    command: float
    """Until `wg setconf` had ended."""
    first: float
    """Until the first peer of the file was answered."""
    last: float
    """Until the last one was."""
    kernel: int
    available: int
    """How much less memory was available."""
    dump: float


@dataclass(frozen=True)
class Started:
    """One start of `wgjit up`."""

    ready: float
    """Until it said that it was."""
    answered: float
    """Until both clients were answered."""
    kernel: int
    available: int
    rss: int
    dump: float


@dataclass
class Size:
    """What was seen with so many peers registered."""

    peers: int
    plain: Plain | None = None
    starts: list[Started] = field(default_factory=list)

    def ready(self) -> float:
        """The median, seconds."""
        return median(start.ready for start in self.starts)

    def answered(self) -> float:
        """The median, seconds."""
        return median(start.answered for start in self.starts)


def missed(sizes: Sequence[Size]) -> list[str]:
    """The goals that were not reached; sizes in ascending order."""
    least, most = sizes[0], sizes[-1]
    found = []
    for name, few, many in (
        ("ready", least.ready(), most.ready()),
        ("first handshake", least.answered(), most.answered()),
    ):
        if many > (limit := LIMIT_RATIO * few + LIMIT_MORE):
            found.append(f"{name}: {many:.2f} s with {most.peers:,} peers, limit {limit:.2f} s")
    found += [
        f"first handshake: {size.answered():.2f} s with {size.peers:,} peers, limit {LIMIT_FIRST:g} s"
        for size in sizes
        if size.answered() >= LIMIT_FIRST
    ]
    return found


def write_peers(path: Path, peers: int, ends: tuple[Identity, Identity], interface: str) -> None:
    """What `wg setconf` and `wgjit peer import` read: `interface`, then so many peers, these two first and last."""
    first, last = ends
    with open(path, "w", encoding="ascii") as file:
        file.write(interface)
        for number in range(peers):
            known = {0: first, peers - 1: last}.get(number)
            key = (
                base64.b64encode(hashlib.blake2s(number.to_bytes(8, "big")).digest()).decode()
                if known is None
                else str(known.private_key.public())
            )
            value = (10 << 24) + 2 + number
            address = f"{value >> 24}.{value >> 16 & 255}.{value >> 8 & 255}.{value & 255}"
            file.write(f"[Peer]\nPublicKey = {key}\nAllowedIPs = {address}/32\n")


class Bench:
    """The network, and a registry and a file for each number of peers."""

    def __init__(self, lab: Lab, sizes: Sequence[int], backend: Backend) -> None:
        self.site = Site(lab, backend)
        one, other = self.site.identities(2)
        self.clients = (one, other)
        self.sizes = [Size(peers) for peers in sizes]
        for peers in sizes:
            self._prepare(peers)

    def _file(self, peers: int) -> Path:
        return self.site.lab.folder / f"{peers}.conf"

    def _store(self, peers: int) -> Path:
        return self.site.lab.folder / f"{peers}.db"

    def _prepare(self, peers: int) -> None:
        server, path = self.site.server, self._file(peers)
        path.touch(mode=0o600)
        key = server.private_key.reveal_base64()
        write_peers(path, peers, self.clients, f"[Interface]\nPrivateKey = {key}\nListenPort = {PORT}\n")
        words = ["peer", "import", str(path), "--format", "conf", "--store", str(self._store(peers))]
        subprocess.run([*WGJIT, *words], check=True, stdout=subprocess.DEVNULL)

    def _knockers(self, stack: ExitStack) -> list[Knocker]:
        return [
            stack.enter_context(
                Knocker(self.site.machine.socket(), (GATEWAY[4], PORT), self.site.server.public_key, client)
            )
            for client in self.clients
        ]

    def _memory(self) -> tuple[int, int]:
        """Bytes that WireGuard takes, in the kernel or as a process, and that are available to others."""
        kernel, available = kernel_memory(Path("/proc/meminfo").read_text())
        pid = self.site.server.pid
        return (kernel if pid is None else Process(pid).memory()), available

    def _dump(self) -> float:
        """Seconds that one `wg show dump` takes."""
        began = time.monotonic()
        self.site.gateway.run("sh", "-c", f"wg show {self.site.server.name} dump >/dev/null", timeout=PATIENCE)
        return time.monotonic() - began

    def plain(self, size: Size) -> Plain:
        """Install all peers into an interface that has none, and take them out again."""
        kernel, available = self._memory()
        with ExitStack() as stack:
            first, last = self._knockers(stack)
            began = time.monotonic()
            self.site.gateway.run("wg", "setconf", self.site.server.name, self._file(size.peers), timeout=PATIENCE)
            ended = time.monotonic()
            times = [knocker.wait(PATIENCE) - began for knocker in (first, last)]
        now, left = self._memory()
        dump = self._dump()
        self.site.server.clear()
        return Plain(ended - began, *times, now - kernel, available - left, dump)

    def start(self, size: Size) -> Started:
        """Start a gateway on an interface without peers, and end it again."""
        kernel, available = self._memory()
        with ExitStack() as stack:
            knockers = self._knockers(stack)
            began = time.monotonic()
            gateway = stack.enter_context(
                Gateway(self.site.gateway, self.site.server.name, store=self._store(size.peers))
            )
            ready = time.monotonic() - began
            answered = max(knocker.wait(60.0) for knocker in knockers) - began
            now, left = self._memory()
            rss = Process(gateway.process.pid).memory()
            dump = self._dump()
        self.site.server.clear()
        return Started(ready, answered, now - kernel, available - left, rss, dump)


PLAIN_HEAD = (
    "registered", "wg setconf, s", "first in file answered, s", "last in file answered, s", "WireGuard's memory, MiB",
    "less available, MiB", "wg show dump, s",
)  # fmt: skip
WGJIT_HEAD = (
    "registered", "starts", "ready, s", "worst", "first handshake, s", "worst", "WireGuard's memory, MiB",
    "less available, MiB", "of it the daemon (RSS), MiB", "wg show dump, s",
)  # fmt: skip


def plain_rows(sizes: Sequence[Size]) -> Iterator[tuple[str, ...]]:
    """The lines of WireGuard alone."""
    for size in sizes:
        if (one := size.plain) is not None:
            seconds = [f"{value:.2f}" for value in (one.command, one.first, one.last)]
            yield (f"{size.peers:,}", *seconds, *_mib(one.kernel, one.available), f"{one.dump:.2f}")


def wgjit_rows(sizes: Sequence[Size]) -> Iterator[tuple[str, ...]]:
    """The lines of the daemon: medians but for the worst."""
    for size in sizes:
        starts = size.starts
        ready, answered = [one.ready for one in starts], [one.answered for one in starts]
        seconds = [f"{value:.2f}" for value in (median(ready), max(ready), median(answered), max(answered))]
        memory = (median(values) for values in zip(*((s.kernel, s.available, s.rss) for s in starts), strict=True))
        dump = median(one.dump for one in starts)
        yield (f"{size.peers:,}", str(len(starts)), *seconds, *_mib(*memory), f"{dump:.2f}")


def _mib(*values: float) -> tuple[str, ...]:
    return tuple(f"{value / MIB:,.1f}" for value in values)


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="./dev bench start", description=__doc__.partition("\n")[0])
    parser.add_argument("--backend", choices=list(SIZES), default="kernel")
    parser.add_argument(
        "--peers", type=int, nargs="+", help="registered (default 1000 to 100000, of wireguard-go 60000)"
    )
    parser.add_argument("--starts", type=int, default=5, help="of wgjit up for each number of peers (default 5)")
    add_option(parser)
    options = parser.parse_args(words)
    options.peers = options.peers or SIZES[options.backend]
    if min(options.peers) < 2 or len(set(options.peers)) < 2:
        parser.error("--peers: give at least two numbers, each at least 2")
    if options.starts < 1:
        parser.error(f"--starts {options.starts}: must be at least 1")
    section = section_for("start", options.backend)
    report = Report("start", options.write, section=section)
    report.head(words)
    with Lab() as lab:
        bench = Bench(lab, sorted(set(options.peers)), options.backend)
        sizes = bench.sizes
        for _ in range(options.starts):
            for size in sizes:
                size.starts.append(bench.start(size))
        report.say("`wgjit up`, medians:")
        report.table(WGJIT_HEAD, wgjit_rows(sizes))
        for size in sizes:
            size.plain = bench.plain(size)
        report.say("WireGuard alone, all of them installed by `wg setconf`:")
        report.table(PLAIN_HEAD, plain_rows(sizes))
    wrong = missed(sizes)
    report.say("\n".join(f"MISSED {line}" for line in wrong) or "all goals reached")
    series = {
        "wg setconf, last in file": [(size.peers, size.plain.last) for size in sizes if size.plain],
        "wgjit up": [(size.peers, size.answered()) for size in sizes],
    }
    title = "From a start to the first handshake"
    report.plot(section, lines(title, series, "peers registered", "seconds", log_x=True), title)
    report.finish()
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

"""What it costs to notice the first packet of an awaited peer, by the product's way and by its rivals.

| part      | what is measured                                                                                        |
| --------- | ------------------------------------------------------------------------------------------------------- |
| packet    | nanoseconds that a way adds to each packet of others on the interface, for so many awaited addresses    |
| await     | microseconds on the gateway's loop to await one peer more, alone or 16 together                         |
| latency   | microseconds from a packet on the interface until another process, which slept, has the peer's key      |
| firewall  | how long a firewall is listed and loaded while peers are awaited, and how long an await waits then      |
| wireguard | packets a second that come out of a real WireGuard, with the product's way and without                  |

All parts but the last use TUN interfaces and write packets to them. So beside the ways, only the kernel's way up from
the interface takes time. Packets go in turns of a few to two interfaces, one with the way and one without, each in a
network namespace of its own. The last part uses this kernel's WireGuard, or with `--backend go` wireguard-go, which
decrypts data of a session. There the way comes and goes. A figure is the median over all turns, so what else runs on
the machine falls on both.

Goals, for the product: to await peers that are installed together (16) takes at most 60 µs each, with up to 100
awaited, and the real WireGuard keeps at least 0.95 of its packets a second with 10 awaited.

`./dev bench confirm` runs in a guest that has kernel WireGuard, and with `--backend go` on this kernel.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import fcntl
import itertools
import multiprocessing
import os
import select
import struct
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event
from statistics import median

from bench.confirm_ways import MapSocket, Nft, Socket, Way
from bench.load.spoken import SpokenClient
from bench.report import Report, add_option, check_above_zero, section_for
from lab.netns import CLONE_NEWNET, Lab, run
from lab.wireguard import Backend, WireGuard
from wgjit.model import Endpoint
from wgjit.wire.packets import build

TUN = "confirm0"
INSIDE = bytes([10, 99, 0, 1])
OTHER = 0x0A140001
"""The source of packets that nobody awaits."""
AWAITED = 0x0A090000
"""The first of the awaited addresses."""
LIMIT_AWAIT = 60.0
"""Microseconds."""
LIMIT_RATIO = 0.95
PORT = 51820
TURN, TURNS = 100, 40
"""Packets that are written together, and turns of a case in a round."""
LOADS, RATE = 3, 100
"""Times that the firewall is loaded; peers that are awaited a second meanwhile."""
LIST_PATIENCE = 30.0
"""Seconds."""
WINDOW = 64
"""Messages that are on their way to a real WireGuard at once, of the 1,024 that its queue holds."""
PATIENCE = 10.0
"""Seconds until they are lost."""

WAYS: dict[str, Callable[[str], Way]] = {
    "packet socket": Socket,
    "nft, prerouting": lambda interface: Nft(interface, "inet"),
    "nft, ingress": lambda interface: Nft(interface, "netdev"),
    "eBPF map": MapSocket,
}
"""The product's way is the first."""

_libc = ctypes.CDLL(None, use_errno=True)


def packet(source: int, length: int = 100) -> bytes:
    """A UDP packet that nobody listens for, and that this host has no route for: the kernel drops it early."""
    ends = Endpoint(source.to_bytes(4, "big"), 9), Endpoint(bytes([198, 51, 100, 1]), 9)
    return build(*ends, bytes(length - 28))


def tun() -> int:
    """Move this thread into a network namespace of its own, with a TUN interface; gives its descriptor."""
    if _libc.unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    descriptor = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(descriptor, 0x400454CA, struct.pack("16sH22x", TUN.encode(), 0x1001))  # TUNSETIFF: IFF_TUN, IFF_NO_PI
    subprocess.run(["ip", "address", "add", "10.99.0.1/24", "dev", TUN], check=True)
    subprocess.run(["ip", "link", "set", TUN, "up"], check=True)
    return descriptor


@contextlib.contextmanager
def opened(name: str, awaited: int) -> Iterator[Way]:
    way = WAYS[name](TUN)
    try:
        way.prepared(range(AWAITED, AWAITED + awaited))()
        yield way
    finally:
        way.close()


def nanoseconds(descriptor: int) -> float:
    """Of a packet that is written."""
    data, write = packet(OTHER), os.write
    began = time.perf_counter_ns()
    for _ in itertools.repeat(None, TURN):
        write(descriptor, data)
    return (time.perf_counter_ns() - began) / TURN


def packets(report: Report, bare: int, descriptor: int, awaited: Sequence[int], rounds: int) -> None:
    """`bare` is an interface in another namespace, on which there is no way."""
    cases = [(name, number) for name in WAYS for number in awaited]
    times: dict[tuple[str, int], list[tuple[float, float]]] = defaultdict(list)
    for turn in range(rounds):
        for case in cases if turn % 2 else reversed(cases):
            with opened(*case):
                times[case] += [(nanoseconds(bare), nanoseconds(descriptor)) for _ in range(TURNS)]
    without = median(before for found in times.values() for before, _ in found)
    more = {case: median(with_it - before for before, with_it in found) for case, found in times.items()}
    report.say(f"A packet that is written to the interface takes {without:,.0f} ns. Each way adds, in ns a packet:")
    report.table(
        ("way", *(f"{number:,} awaited" for number in awaited)),
        [(name, *(f"{more[name, number]:,.0f}" for number in awaited)) for name in WAYS],
    )


def awaiting(report: Report, awaited: Sequence[int], rounds: int) -> list[str]:
    dual = "packet socket, IPv4 and IPv6"
    ways: dict[str, Callable[[str], Way]] = {dual: lambda interface: Socket(interface, both=True), **WAYS}
    cases = [(name, together, number) for name in ways for together in (1, 16) for number in awaited]
    taken: dict[tuple[str, int, int], list[float]] = defaultdict(list)
    for _ in range(rounds):
        for case in cases:
            name, together, number = case
            with contextlib.closing(ways[name](TUN)) as way:
                way.prepared(range(AWAITED, AWAITED + number))()
                for turn in range(3):
                    first = OTHER + turn * together
                    watch = way.prepared(range(first, first + together))
                    began = time.perf_counter_ns()
                    watch()
                    if turn:  # the first one makes what is made once
                        taken[case].append((time.perf_counter_ns() - began) / together / 1000)
    report.say("To await one peer more takes the gateway's loop, in µs a peer:")
    report.table(
        ("way", "together", *(f"{number:,} awaited" for number in awaited)),
        [
            (name, str(together), *(f"{median(taken[name, together, number]):,.1f}" for number in awaited))
            for name in ways
            for together in (1, 16)
        ],
    )
    slowest = max(median(taken[dual, 16, number]) for number in awaited if number <= 100)
    return [] if slowest <= LIMIT_AWAIT else [f"to await a peer: {slowest:.0f} µs, goal {LIMIT_AWAIT:.0f} µs"]


def latency(report: Report, descriptor: int, rounds: int) -> None:
    rows = []
    for name in WAYS:
        ours, theirs = multiprocessing.Pipe()
        reader = multiprocessing.Process(target=_read, args=(name, rounds, theirs))
        reader.start()
        taken = []
        for number in range(rounds):
            ours.recv()  # it is watching
            time.sleep(0.002)  # and asleep
            sent = time.monotonic_ns()
            os.write(descriptor, packet(AWAITED + number))
            taken.append((ours.recv() - sent) / 1000)
        reader.join()
        taken.sort()
        rows.append((name, f"{median(taken):,.0f}", f"{taken[len(taken) * 99 // 100]:,.0f}"))
    report.say("From the packet on the interface until a process that slept has the peer's key, in µs:")
    report.table(("way", "median", "p99"), rows)


def firewall(report: Report, count: int) -> None:
    """Beside a firewall of many rules that is listed, and loaded, while peers are awaited."""
    rules = "".join(f"ip saddr 10.{n >> 8}.{n & 255}.1 tcp dport {n + 1} accept;" for n in range(count))
    script = f"table inet fire; delete table inet fire; table inet fire {{ chain c {{ {rules} }}; }}"
    rows = []
    for name in ("nothing", *WAYS):
        stop, slowest = multiprocessing.Event(), multiprocessing.Value("d", 0.0)
        awaiter = multiprocessing.Process(target=_await, args=(name, stop, slowest))
        awaiter.start()
        began = time.monotonic()
        for _ in range(LOADS):
            run("nft", "-f", "-", input=script)
        loaded = time.monotonic()
        listing = subprocess.Popen(["nft", "list", "ruleset"], stdout=subprocess.DEVNULL)
        try:
            listing.wait(LIST_PATIENCE)
            listed = f"{time.monotonic() - loaded:.2f} s"
        except subprocess.TimeoutExpired:
            listing.kill()
            listing.wait()
            listed = f"not within {LIST_PATIENCE:.0f} s"
        stop.set()
        awaiter.join()
        rows.append((name, f"{(loaded - began) / LOADS:.2f} s", f"{slowest.value * 1000:.1f} ms", listed))
    report.say(
        f"While {RATE} peers a second are awaited, one by one, a firewall of {count:,} rules is loaded and listed:"
    )
    report.table(("way", "loading", "longest await", "`nft list ruleset`"), rows)


def _await(name: str, stop: Event, slowest: Synchronized[float]) -> None:
    with contextlib.nullcontext() if name == "nothing" else opened(name, 0) as way:
        for number in itertools.count():
            if stop.wait(1 / RATE):
                return
            if way is not None:
                watch = way.prepared([AWAITED + number % 50_000])
                began = time.perf_counter()
                watch()
                slowest.value = max(slowest.value, time.perf_counter() - began)


def _read(name: str, rounds: int, answers: Connection) -> None:
    with opened(name, 0) as way:
        for number in range(rounds):
            way.prepared([AWAITED + number])()
            answers.send(None)
            found: list[int] = []
            while not found:
                select.select([way], [], [])
                found = way.read()
            now = time.monotonic_ns()
            assert found == [AWAITED + number]
            answers.send(now)


class Session:
    """A session with a real WireGuard in the namespace of this thread, and others' data that come out of it."""

    def __init__(self, server: WireGuard) -> None:
        self._client = SpokenClient(server.public_key, PORT)
        server.add_peer(self._client.public_key, ["10.20.0.0/16"])
        self._client.shake_hands()
        self._counter = itertools.count()
        self._name = server.name
        # of the thread that opens it, whoever reads it
        self._table = open("/proc/thread-self/net/dev")  # noqa: SIM115

    def received(self) -> int:
        """Packets that came out of the interface."""
        self._table.seek(0)
        row = next(line for line in self._table.read().splitlines() if line.strip().startswith(self._name))
        return int(row.partition(":")[2].split()[1])

    def microseconds(self) -> float:
        """Of a packet, from when a few are sent together until they have all come out: the median of some turns."""
        self._turn()  # warms up
        return median(self._turn() for _ in range(8))

    def _turn(self) -> float:
        session, send = self._client.session, self._client.socket.send
        assert session is not None
        data = packet(OTHER)
        messages = [session.seal(next(self._counter), data) for _ in range(WINDOW)]
        wanted = self.received() + WINDOW
        began = time.perf_counter()
        for message in messages:
            send(message)
        while self.received() < wanted:
            if time.perf_counter() > began + PATIENCE:
                raise TimeoutError(f"{self._name}: {wanted - self.received()} of {WINDOW} packets were lost")
        return (time.perf_counter() - began) / WINDOW * 1e6


def real(report: Report, backend: Backend, rounds: int) -> list[str]:
    cases = (0, 10, 300)
    ratios: dict[int, list[float]] = defaultdict(list)
    usual = []
    with Lab() as lab:
        namespace = lab.namespace("gw")
        server = WireGuard(namespace, ["10.99.0.1/24"], listen_port=PORT, backend=backend)
        session = namespace.call(Session, server)
        for _ in range(rounds * TURNS // 4):
            for number in cases:
                before = session.microseconds()
                with contextlib.closing(namespace.call(Socket, server.name, True)) as way:
                    way.prepared(range(AWAITED, AWAITED + number))()
                    during = session.microseconds()
                ratios[number].append((before + session.microseconds()) / 2 / during)
                usual.append(before)
    shares = {number: median(found) for number, found in ratios.items()}
    report.say(
        f"{WINDOW} packets of 100 bytes that are sent to this WireGuard together come out within {median(usual):,.1f} "
        "µs each. With the product's way:"
    )
    report.table(
        ("", *(f"{number} awaited" for number in cases)),
        [("packets a second, of those without", *(f"{shares[number]:.3f}" for number in cases))],
    )
    return [] if shares[10] >= LIMIT_RATIO else [f"with 10 awaited {shares[10]:.3f} of the packets, goal {LIMIT_RATIO}"]


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev bench confirm", description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--rules", type=int, default=5000, help="of the firewall (default 5000)")
    parser.add_argument("--backend", choices=("kernel", "go"), default="kernel")
    add_option(parser)
    options = parser.parse_args()
    check_above_zero(parser, options, "rounds", "rules")
    report = Report("confirm", options.write, section=section_for("confirm", options.backend))
    report.head()
    missed = real(report, options.backend, options.rounds)
    bare, descriptor = tun(), tun()
    packets(report, bare, descriptor, (0, 10, 300, 1000, 10_000), options.rounds)
    missed += awaiting(report, (0, 10, 100, 300, 10_000), options.rounds)
    latency(report, descriptor, 20 * options.rounds)
    firewall(report, options.rules)
    return report.conclude(missed)


if __name__ == "__main__":
    sys.exit(main())
